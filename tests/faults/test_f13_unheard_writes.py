"""F13: a write whose end nobody heard (cancelled, a connection lost behind the commit) is made again, and counts once."""

from contextlib import asynccontextmanager

import anyio
import pytest
from faults.crashing import rollups_agree
from make import PlainReader, columns, plain_shapes

from crucible_telemetry.errors import StoreUnavailable
from crucible_telemetry.stores.base import Query
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import Writer

pytestmark = pytest.mark.asyncio


class LostAnswers(SqliteKeep):
    """Some writes are committed, and then the answer is lost."""

    losing = 0

    async def write(self, change):
        infos = await super().write(change)
        if self.losing:
            self.losing -= 1
            raise StoreUnavailable(self.url, "the answer was lost")
        return infos


class SlowWrites(SqliteKeep):
    """Says when a write has begun."""

    def __init__(self, path):
        super().__init__(path)
        self.begun = anyio.Event()

    async def write(self, change):
        self.begun.set()
        return await super().write(change)


@asynccontextmanager
async def opened(keep):
    await keep.open()
    kept = KeptExperiment(id="e", record=b"", words=[], trials=[], blocks=[])
    writer = Writer(keep)
    store = KeptStore(kept, PlainReader(), keep, writer, 64, plain_shapes())
    writer.members[store.id] = store
    try:
        yield store, writer
    finally:
        await keep.close()


async def once(store, n):
    """Every event is there once, and so it is in the roll-ups."""
    parts = [part async for part in store.columns(Query())]
    assert sum(map(len, parts)) == n == store.last_seq
    await rollups_agree(store, demanded=True)


async def test_f13_a_write_whose_answer_is_lost_is_made_again_and_counts_once(tmp_path):
    keep = LostAnswers(tmp_path / "runs.db")
    async with opened(keep) as (store, writer):
        for turn in range(12):
            store.append(columns(10, 1 + 10 * turn))
            keep.losing = turn % 3
            while store.written_seq < store.last_seq:
                await writer.commit()
        await once(store, 120)


async def test_f13_a_write_that_was_cancelled_is_made_again_and_counts_once(tmp_path):
    import asyncio

    keep = SlowWrites(tmp_path / "runs.db")
    async with opened(keep) as (store, writer):
        for turn in range(12):
            store.append(columns(10, 1 + 10 * turn))
            keep.begun = anyio.Event()
            committing = asyncio.ensure_future(writer.commit())
            await keep.begun.wait()
            committing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await committing
        assert await writer.commit() is None
        await once(store, 120)
