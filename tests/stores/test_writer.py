"""The writer of a lab asks those who have something to write."""

import anyio
import pytest
from make import PlainReader, columns, plain_shapes

from crucible_telemetry.errors import StoreUnavailable
from crucible_telemetry.events.columns import Payload
from crucible_telemetry.stores import kept, lasting, writer as writing
from crucible_telemetry.stores.base import Query
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import Writer


class Counting(KeptStore):
    gathered = 0

    async def gather(self):
        self.gathered += 1
        return await super().gather()


@pytest.fixture
def clock(monkeypatch):
    now = [0]
    monkeypatch.setattr(writing, "monotonic_ns", lambda: now[0])
    return now


async def opened(path, n):
    keep = SqliteKeep(path)
    await keep.open()
    writer = Writer(keep)
    stores = []
    for i in range(n):
        nothing = KeptExperiment(id=f"e{i}", record=b"", words=[], trials=[], blocks=[])
        stores.append(Counting(nothing, PlainReader(), keep, writer, 8, plain_shapes()))
        await stores[-1].resume()
    return keep, stores


@pytest.mark.asyncio
async def test_a_commit_asks_who_was_touched_and_everybody_once_in_a_while(tmp_path, clock):
    keep, stores = await opened(tmp_path / "runs.db", 5)
    await stores[0].settled()
    assert [store.gathered for store in stores] == [1] * 5
    for seq in range(1, 4):
        stores[2].append(columns(1, seq))
        await stores[2].commit()
    assert [store.gathered for store in stores] == [1, 1, 4, 1, 1]
    clock[0] += writing.SWEEP_NS + 1
    stores[2].append(columns(1, 4))
    await stores[2].commit()
    assert [store.gathered for store in stores] == [2, 2, 5, 2, 2]
    await keep.close()


@pytest.mark.asyncio
async def test_who_was_touched_is_asked_again_after_a_commit_that_failed(
    tmp_path, clock, monkeypatch
):
    keep, stores = await opened(tmp_path / "runs.db", 3)
    await stores[0].settled()

    async def away(_change):
        raise StoreUnavailable(keep.url, "away")

    stores[1].append(columns(4))
    with monkeypatch.context() as patch:
        patch.setattr(keep, "write", away)
        with pytest.raises(StoreUnavailable):
            await stores[1].commit()
    assert stores[1].written_seq == 0
    stores[2].append(columns(2))
    await stores[2].commit()
    assert (stores[1].written_seq, stores[2].written_seq) == (4, 2)
    await keep.close()


def large(first_seq, rows=4, size=1_000):
    found = columns(rows, first_seq)
    found.payload = Payload.of([b"x" * size] * rows)
    return found


@pytest.fixture
def bounds(monkeypatch):
    monkeypatch.setattr(lasting, "FULL_BYTES", 30_000)
    monkeypatch.setattr(kept, "SPILL_BYTES", 60_000)
    monkeypatch.setattr(kept, "GATHER_BYTES", 30_000)


@pytest.mark.asyncio
async def test_what_waits_is_bounded_by_its_bytes_too(tmp_path, bounds):
    """Of large events a few are as much as memory is to hold, however many more rows might wait."""
    keep, (store,) = await opened(tmp_path / "runs.db", 1)
    for first_seq in range(1, 29, 4):
        store.append(large(first_seq))
    assert (store.full, store.waiting_bytes) == (False, 28_000)
    for first_seq in range(29, 401, 4):
        store.append(large(first_seq))
        assert store.waiting_bytes - store._spilled_bytes <= 60_000
    assert store.full
    assert store.health().spilled > 300
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.has_room)
        await store.commit()
    assert (store.waiting_bytes, store.spilled_rows, store._spilled_bytes) == (0, 0, 0)
    assert not store.full
    rows = [row async for part in store.columns(Query()) for row in part.payload.rows()]
    assert rows == [b"x" * 1_000] * 400
    await keep.close()


@pytest.mark.asyncio
async def test_much_is_written_in_pieces(tmp_path, bounds, monkeypatch):
    keep, (store,) = await opened(tmp_path / "runs.db", 1)
    left = []

    async def seen(change, write=keep.write):
        assert sum(len(part.payload.blob) for one in change for part in one.parts) <= 38_000
        left.append(store.waiting_bytes)
        return await write(change)

    monkeypatch.setattr(keep, "write", seen)
    for first_seq in range(1, 105, 4):
        store.append(large(first_seq))
    await store.commit()
    assert left == [104_000, 72_000, 40_000, 8_000]
    await keep.close()
