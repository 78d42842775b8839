"""Stores that users might write, good ones and others."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from crucible_telemetry import QueryError
from crucible_telemetry.stores import MemoryStore, Page, StoreUnavailable, following, matches, taken


def example(name):
    """A module of ../examples."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = spec_from_file_location(f"examples_{name}", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LogStore = example("custom_store").LogStore


class PlainStore:
    """A list of batches, gone through for every question: written from `stores.base` alone."""

    def __init__(self, experiment_id, reader):
        self._reader, self._parts = reader, ()
        self._closed = False

    @property
    def last_seq(self):
        return self._parts[-1].last_seq if self._parts else 0

    def append(self, columns):
        fresh = following(columns, self.last_seq, closed=self._closed)
        if fresh is not None:
            self._parts = (*self._parts, fresh)

    async def commit(self):
        """Nothing lasts."""

    async def page(self, query, after, limit):
        if type(limit) is not int or limit < 1:
            raise QueryError("limit", f"want a whole number above zero, not {limit!r}")
        place = _by_seq if query.after_seq is not None else _by_time
        found = sorted(self._events(query), key=place)[-(query.last_n or 0) :]
        rest = [
            e
            for e in found
            if after is None or place(e) > (after if place is _by_time else after[1])
        ]
        events = rest[:limit]
        return Page(events, _by_time(events[-1]) if events else None)

    async def count(self, query):
        found = len(self._events(query))
        return found if query.last_n is None else min(found, query.last_n)

    async def columns(self, query):
        for part in self._parts:
            at = np.array([e.seq - part.first_seq for e in self._events(query, (part,))], np.intp)
            if len(at):
                yield taken(part, at)

    async def close(self, *, delete=False):
        self._closed = True
        if delete:
            self._parts = ()

    def _events(self, query, parts=None):
        low_us, high_us = query.bounds_us()
        return [
            event
            for part in (self._parts if parts is None else parts)
            for event in self._reader.events(part, range(len(part)))
            if low_us <= event.timestamp_us <= high_us
            and (query.after_seq or 0)
            < event.seq
            <= (self.last_seq if query.upto_seq is None else query.upto_seq)
            and (query.where is None or matches(query.where, event))
        ]


def _by_time(event):
    return (event.timestamp_us, event.seq)


def _by_seq(event):
    return event.seq


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
