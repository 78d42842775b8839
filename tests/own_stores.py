"""Stores that users might write, good ones and others."""

from crucible_telemetry.errors import StoreUnavailable
from crucible_telemetry.stores.memory import MemoryStore


class Noting(MemoryStore):
    """A store in memory that counts its commits, and fails them while `failing` is set."""

    made = []  # noqa: RUF012 - the newest last, for the test that asked for it

    def __init__(self, experiment_id, reader):
        super().__init__(reader)
        self.experiment_id = experiment_id
        self.commits, self.failing, self.closed = 0, None, 0
        self.made.append(self)

    async def commit(self):
        if self.failing is not None:
            raise self.failing
        self.commits += 1

    async def close(self, *, delete=False):
        self.closed += 1
        await super().close(delete=delete)


class WithoutColumns:
    """Lacks a verb and its count of events."""

    def __init__(self, experiment_id, reader):
        """Take what every store takes."""

    def append(self, columns):
        """Forget it."""

    async def commit(self):
        """Nothing."""

    async def page(self, query, after, limit):
        """Nothing."""

    async def count(self, query):
        """Nothing."""

    async def close(self, *, delete=False):
        """Nothing."""


class Impatient(Noting):
    """Its append waits for the disk."""

    async def append(self, columns):
        super().append(columns)


class Hasty(Noting):
    """Its commit does not wait."""

    def commit(self):
        self.commits += 1


class Lonely(Noting):
    """Wants nobody."""

    def __init__(self):
        super().__init__("e", None)


class Unopened(Noting):
    """Its disk is away when it is opened."""

    def __init__(self, experiment_id, reader):
        raise OSError("no such disk")


class Away(Noting):
    """Its server is away when it is opened."""

    def __init__(self, experiment_id, reader):
        raise StoreUnavailable("redis://x", "connection refused")


def full_disk():
    """What a write raises then."""
    return OSError(28, "No space left on device")
