"""The writer of a lab asks those who have something to write."""

import pytest
from make import PlainReader, columns, plain_shapes

from crucible_telemetry.stores import writer as writing
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
    from crucible_telemetry.errors import StoreUnavailable

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
