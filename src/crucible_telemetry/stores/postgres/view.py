"""A PostgreSQL keep that is read only, as it was when it was opened; others may go on writing it."""

from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.keeping import Change, KeptExperiment
from crucible_telemetry.stores.postgres.keep import PostgresKeep


class PostgresView(PostgresKeep):
    """A `Keep` that only reads: it makes no tables, and takes nobody's place."""

    async def open(self) -> list[KeptExperiment]:
        """See `Keep.open`; `StoreRefused` where no lab is."""
        self._loop.start()
        return await self._loop.call(lambda: self._reading.first_use(self._viewed))

    async def claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        """Refused."""
        raise self._refused()

    async def write(self, change: Change) -> list[list[BlockInfo]]:
        """Refused; but nothing to be written is."""
        if change:
            raise self._refused()
        return []

    async def forget(self, experiment_id: str) -> None:
        """Refused."""
        raise self._refused()

    def _refused(self) -> StoreRefused:
        return StoreRefused(self.url, "is open to be read only")
