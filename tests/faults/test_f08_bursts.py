"""F7, F8, F17: bursts from a loop, from tasks and from threads arrive whole, in bounded memory."""

import asyncio
import threading

import numpy as np
import pytest
from faults.ledger import NAME, agreeing, emit, lawful, wait_until, whole
from faults.resident import forget_peak, peak_bytes

import crucible_telemetry as ct
from crucible_telemetry.collect import collector
from crucible_telemetry.stores.base import Query

pytestmark = pytest.mark.asyncio

CAPACITY = 2048
CALLERS = 100
THREADS = 16


@pytest.fixture
def burst(request):
    """How many events: 200,000, and the million (or more) with --deep."""
    return max(200_000, request.config.getoption("--deep"))


async def numbered(exp):
    """The numbers of all events by seq, read from the stored rows in bulk."""
    found = []
    async for part in exp._collector.store.columns(Query()):
        events = exp._reader.events(part, range(len(part)))
        found.append(np.array([event.measurements["n"] for event in events], np.int64))
    return np.concatenate(found)


async def arrived(exp, count):
    """All numbers below `count`, once each; the law; the board. Returns them by seq."""
    await exp.flush()
    counts = lawful(exp)
    assert counts.emitted == counts.stored == count
    found = await numbered(exp)
    assert len(found) == count
    assert np.array_equal(np.sort(found), np.arange(count))
    await agreeing(exp, count)
    return found


async def test_f08_a_burst_from_a_sync_loop_arrives_whole_and_never_fills_memory(burst):
    forget_peak()
    before = peak_bytes()
    async with ct.Lab() as lab, lab.experiment("burst") as exp:
        for number in range(burst):
            emit(number)
        assert exp.health().mailbox_peak <= CAPACITY
        assert exp.health().drained_by_emitters > 0
        found = await arrived(exp, burst)
    assert np.array_equal(found, np.arange(burst)), "the order of acceptance is kept"
    assert peak_bytes() - before < 100 * 2**20 + 300 * burst


async def test_f08_a_burst_from_a_hundred_tasks_arrives_whole_and_in_each_tasks_order(burst):
    async def caller(start):
        for number in range(start, burst, CALLERS):
            await ct.execute(NAME, {"n": number})

    async with ct.Lab() as lab, lab.experiment("burst") as exp:
        async with asyncio.TaskGroup() as tasks:
            for start in range(CALLERS):
                tasks.create_task(caller(start))
        # Each task may have one event beyond the room there is: it is accepted before the wait.
        assert exp.health().mailbox_peak <= CAPACITY + CALLERS
        found = await arrived(exp, burst)
        assert exp.health().drained_by_emitters == 0
    for start in range(CALLERS):
        assert np.array_equal(found[found % CALLERS == start], np.arange(start, burst, CALLERS))


async def test_f17_a_burst_from_sixteen_threads_and_the_loop_arrives_whole_and_in_each_ones_order(
    burst,
):
    def caller(start):
        for number in range(start, burst, THREADS):
            emit(number)

    async with ct.Lab() as lab, lab.experiment("burst") as exp:
        threads = [
            threading.Thread(target=ct.bind(caller), args=(start,)) for start in range(1, THREADS)
        ]
        for thread in threads:
            thread.start()
        for number in range(0, burst, THREADS):
            await ct.execute(NAME, {"n": number})
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert exp.health().mailbox_peak <= CAPACITY + THREADS
        found = await arrived(exp, burst)
    for start in range(THREADS):
        assert np.array_equal(found[found % THREADS == start], np.arange(start, burst, THREADS))


async def test_f17_no_wake_up_is_lost_between_a_sleeping_collector_and_threads(
    request, monkeypatch
):
    """Each round begins with a collector that sleeps and ends with an event that must wake it."""
    monkeypatch.setattr(collector, "LINGER_S", 0)
    rounds = max(1000, request.config.getoption("--deep") // 1000)
    async with ct.Lab() as lab, lab.experiment("wake") as exp:
        barrier = threading.Barrier(3)

        def caller(which):
            for number in range(rounds):
                barrier.wait(20)
                emit(2 * number + which)

        threads = [threading.Thread(target=ct.bind(caller), args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()

        def turns():
            for number in range(rounds):
                barrier.wait(20)
                # Nobody flushes: only the collector, woken, can bring them in.
                wait_until(lambda number=number: exp.counts.stored == 2 * (number + 1), 5)

        await asyncio.to_thread(turns)
        for thread in threads:
            thread.join()
        await whole(exp, range(2 * rounds))


async def test_f07_a_flood_that_may_drop_is_bounded_and_counted_exactly():
    async with (
        ct.Lab() as lab,
        lab.experiment("drop", overflow="drop_newest", mailbox_size=100) as exp,
    ):
        for number in range(10_000):
            emit(number)
        assert exp.health().mailbox_peak <= 100
        assert exp.counts.dropped == 9_900
        await whole(exp, range(100))
        await ct.execute(NAME, {"n": 100})
        counts = await whole(exp, range(101))
        assert (counts.emitted, counts.dropped) == (10_001, 9_900)


async def test_f07_dropping_is_announced_once(caplog):
    async with (
        ct.Lab() as lab,
        lab.experiment("drop", overflow="drop_newest", mailbox_size=10) as exp,
    ):
        for number in range(100):
            emit(number)
        await exp.flush()
        for number in range(100):
            emit(number)
    said = [record for record in caplog.records if "drop" in record.getMessage()]
    assert len(said) == 1


async def test_f07_large_events_are_bounded_by_their_bytes_not_only_by_their_number():
    text = "x" * 100_000
    async with ct.Lab() as lab, lab.experiment("large", mailbox_size=100_000) as exp:
        for number in range(1000):
            emit(number, note=text)
            assert exp._collector.box.large_bytes <= 64 * 2**20 + 2**20
        assert exp.health().mailbox_peak < 700
        await whole(exp, range(1000))
