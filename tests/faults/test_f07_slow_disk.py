"""F7: a disk a hundred times slower than what is emitted: what waits is bounded, nothing is lost unless someone chose it."""

import asyncio
import time

import pytest

import crucible_telemetry as ct
from crucible_telemetry.stores import kept, lasting
from crucible_telemetry.stores.sqlite import SqliteKeep

pytestmark = pytest.mark.asyncio
NAME = "fault.numbered"
FULL, BOX, GATHER = 2_000, 512, 1_000
COMMIT_S = 0.15
BOUND = FULL + 2 * BOX
"""What may wait: the store's share, a batch that was under way when it became full, and the mailbox."""


@pytest.fixture
def slow(monkeypatch):
    """Each write takes long, and takes little."""
    monkeypatch.setattr(lasting, "FULL_ROWS", FULL)
    monkeypatch.setattr(kept, "SPILL_ROWS", 10**9)
    monkeypatch.setattr(kept, "GATHER_ROWS", GATHER)
    plain = SqliteKeep._write

    def write(self, change):
        time.sleep(COMMIT_S)
        return plain(self, change)

    monkeypatch.setattr(SqliteKeep, "_write", write)


async def emitted(exp, seconds, peaks):
    """As fast as it goes for a while; returns how many, and notes the most that waited."""
    number, end = 0, time.monotonic() + seconds
    with exp.scope():
        while time.monotonic() < end:
            await ct.execute(NAME, {"n": number})
            number += 1
            if number % 100 == 0:
                await asyncio.sleep(0)
                peaks.append(exp.health().store.waiting + exp.counts.in_flight)
    return number


async def stored(exp):
    return [event.measurements["n"] async for page in exp.pages(size=4096) for event in page]


async def test_f07_who_waits_for_a_slow_disk_loses_nothing_and_what_waits_is_bounded(
    slow, tmp_path
):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("wait", capture="scope", mailbox_size=BOX)
        peaks = []
        number = await emitted(exp, 2.0, peaks)
        assert number > 2 * FULL  # it had to wait
        assert FULL // 2 < max(peaks) <= BOUND
        assert exp.counts.dropped == 0
        assert exp.counts.emitted == exp.counts.accounted == number
        assert (await exp.flush()).complete
        assert exp.health().store.state == "ok"  # slow is no trouble
    async with ct.Lab(tmp_path / "runs.db") as lab:
        assert await stored(lab.list_experiments()[0]) == list(range(number))


async def test_f07_who_drops_at_a_slow_disk_drops_exactly_what_is_counted(slow, tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment(
            "drop", capture="scope", mailbox_size=BOX, overflow="drop_newest"
        )
        peaks = []
        number = await emitted(exp, 1.0, peaks)
        assert max(peaks) <= BOUND
        assert (await exp.flush()).complete
        counts = exp.counts
        assert counts.dropped > 0
        assert counts.emitted == counts.accounted == number
        assert counts.stored == number - counts.dropped
    async with ct.Lab(tmp_path / "runs.db") as lab:
        found = await stored(lab.list_experiments()[0])
        assert len(found) == counts.stored
        assert found == sorted(set(found))


async def test_f07_a_slow_disk_keeps_no_other_experiment_of_a_lab_in_memory_waiting(slow, tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab, ct.Lab() as memory:
        slowly = await lab.start_experiment("slow", capture="scope", mailbox_size=BOX)
        other = await memory.start_experiment("other", capture="scope", mailbox_size=BOX)
        loading = asyncio.create_task(emitted(slowly, 1.0, []))
        number = 0
        with other.scope():
            while not loading.done():
                await ct.execute(NAME, {"n": number})
                number += 1
                await asyncio.sleep(0.001)
        await loading
        assert number > 10 / COMMIT_S  # had each waited for a commit, it were one a commit
        assert await stored(other) == list(range(number))
