"""The stores every contract test runs against: a factory per back-end."""

from contextlib import asynccontextmanager

import pytest_asyncio
import servers
from make import PlainReader, plain_shapes
from own_stores import LogStore, PlainStore

from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.memory import MemoryStore
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import Writer

NOTHING = KeptExperiment(id="e1", record=b"", words=[], trials=[], blocks=[])


@asynccontextmanager
async def memory(_folder, segment_rows=8):
    yield MemoryStore(PlainReader(), segment_rows=segment_rows)


@asynccontextmanager
async def sqlite(folder, segment_rows=8):
    async with kept_in(SqliteKeep(folder / "runs.db"), segment_rows) as store:
        yield store


@asynccontextmanager
async def postgres(_folder, segment_rows=8):
    async with kept_in(PostgresKeep(servers.postgres().url()), segment_rows) as store:
        yield store


@asynccontextmanager
async def kept_in(keep, segment_rows):
    """Written behind each append, so that reads fetch blocks."""
    await keep.open()
    writer = Writer(keep)
    store = Committing(NOTHING, PlainReader(), keep, writer, segment_rows, plain_shapes())
    writer.members[store.id] = store
    try:
        yield store
    finally:
        await keep.close()


class Committing(KeptStore):
    """Lets go of what it holds before each read: what is read comes from the disk."""

    async def _in_hand(self, place):
        if not self._closed:
            await self.commit()
        self._hands.clear()
        return await super()._in_hand(place)


@asynccontextmanager
async def log_file(folder, segment_rows=8):
    """The store of ../../examples."""
    del segment_rows
    yield LogStore(folder / "runs.log", "e1", PlainReader())


@asynccontextmanager
async def plain(_folder, segment_rows=8):
    """A store that was written from the port alone."""
    del segment_rows
    yield PlainStore("e1", PlainReader())


STORES = {"memory": memory, "sqlite": sqlite, "postgres": postgres, "log": log_file, "plain": plain}


@pytest_asyncio.fixture(params=STORES)
async def store(request, tmp_path):
    async with STORES[request.param](tmp_path) as made:
        yield made
