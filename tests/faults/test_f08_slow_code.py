"""F8: users' code that is slow keeps the loop a moment at a time, whoever drains."""

import asyncio
import threading
import time

import pytest
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.experiment import questions

pytestmark = pytest.mark.asyncio

SLOW_S = 0.002
COUNT = 400


def slowly(event, measurements, metadata):
    time.sleep(SLOW_S)


async def longest_gap_s(work):
    """How long the loop stood still at most while `work` ran."""
    gaps, last = [], time.perf_counter()

    async def ticks():
        nonlocal last
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticking = asyncio.ensure_future(ticks())
    await asyncio.sleep(0)
    await work
    ticking.cancel()
    return max(gaps)


async def test_f08_a_stop_with_a_slow_enricher_lets_the_loop_go_on_and_takes_nothing_new(lab):
    exp = await lab.start_experiment("a", capture="scope", enrichers=[slowly])
    with exp.scope():
        for i in range(COUNT):
            ct.execute_nowait("n", {"i": i})

        async def stops():
            stopping = asyncio.ensure_future(exp.stop())
            await comes(lambda: exp.counts.stored)
            assert not stopping.done()
            ct.execute_nowait("late")
            await stopping

        gap_s = await longest_gap_s(stops())
    assert gap_s < COUNT * SLOW_S / 2
    assert (exp.counts.stored, exp.counts.late, exp.counts.in_flight) == (COUNT, 1, 0)


async def test_f08_a_stop_that_is_cancelled_half_way_has_stopped_and_kept_all(lab):
    exp = await lab.start_experiment("a", capture="scope", enrichers=[slowly])
    with exp.scope():
        for i in range(COUNT):
            ct.execute_nowait("n", {"i": i})
    stopping = asyncio.ensure_future(exp.stop())
    await comes(lambda: exp.counts.stored)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (exp.state.value, exp.counts.stored) == ("stopped", COUNT)


async def test_f08_live_shows_what_a_moment_allows_and_says_how_far_it_reaches(lab, monkeypatch):
    monkeypatch.setattr(questions, "LIVE_DRAIN_NS", 50_000_000)
    async with lab.experiment("a", enrichers=[slowly]) as exp:
        for i in range(COUNT):
            ct.execute_nowait("n", {"i": i})
        began = time.perf_counter()
        live = exp.live()
        assert time.perf_counter() - began < COUNT * SLOW_S / 2
        assert 0 < live.upto_seq == live.summary.total_events < COUNT
        assert (await exp.metrics()).upto_seq == COUNT
        assert exp.live().upto_seq == COUNT


async def test_a_flush_waits_for_another_threads_drain_without_asking_all_the_time(exp):
    collector, asked = exp._collector, 0
    drain_now = collector.drain_now

    def counting(target):
        nonlocal asked
        asked += 1
        return drain_now(target)

    collector.drain_now = counting
    ct.execute_nowait("n")
    held, may_go = threading.Event(), threading.Event()

    def drains():
        with collector._lock:
            held.set()
            may_go.wait(5)

    thread = threading.Thread(target=drains)
    thread.start()
    held.wait(5)
    flushing = asyncio.ensure_future(exp.flush())
    await asyncio.sleep(0.3)
    assert not flushing.done()
    assert asked < 30
    may_go.set()
    assert (await flushing).complete
    thread.join()


async def test_subscribers_made_in_many_threads_all_hear(exp):
    made = []

    def makes():
        made.extend(exp.subscribe() for _ in range(200))

    threads = [threading.Thread(target=makes) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ct.execute_nowait("n")
    heard = [await anext(subscription) for subscription in made]
    assert [event.event_name for event in heard] == ["n"] * 1600
    assert len(exp._collector.followers) == 1600
    for subscription in made:
        subscription.close()
    assert not exp._collector.followers
