"""F15, F19: commands that race with emits; loops, threads and signal handlers; emits out of season."""

import asyncio
import gc
import itertools
import random
import signal
import threading
import time

import pytest
from faults.ledger import NAME, agreeing, emit, lawful, stored_numbers, whole

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


class Noise:
    """Threads that emit numbers of their own until told to stop; `emitted` says how many each did."""

    def __init__(self, threads=4):
        self.stopping = threading.Event()
        self.emitted = [0] * threads
        self.threads = [
            threading.Thread(target=ct.bind(self._emit), args=(i,)) for i in range(threads)
        ]

    def _emit(self, which):
        count = len(self.emitted)
        while not self.stopping.is_set():
            emit(self.emitted[which] * count + which)
            self.emitted[which] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


async def test_f19_pausing_resuming_and_resetting_race_with_threads_and_every_event_is_counted():
    async with ct.Lab() as lab, lab.experiment("race", mailbox_size=256) as exp:
        chance = random.Random(19)
        with Noise() as noise:
            for _ in range(25):
                await exp.pause()
                await asyncio.sleep(chance.random() * 0.004)
                before = exp.counts.stored
                await exp.flush()
                settled = exp.counts.stored
                await asyncio.sleep(0.002)
                # What an emit had in hand when the pause came may still arrive: one for each thread.
                assert exp.counts.stored <= settled + 4, "nothing is collected while paused"
                assert settled >= before
                await exp.resume()
                exp.reset_live()
                await asyncio.sleep(chance.random() * 0.004)
                exp.live()
        await exp.flush()
        counts = lawful(exp)
        assert counts.in_flight == 0
        assert counts.emitted == sum(noise.emitted) == counts.stored + counts.skipped
        assert min(counts.stored, counts.skipped) > 0
        found = await stored_numbers(exp)
        assert len(found) == len(set(found)) == counts.stored
        assert exp.pause_count == 25
        live = exp.live()
        assert live.since_seq + live.summary.total_events == counts.stored


@pytest.mark.parametrize("round_", range(20))
async def test_f19_stopping_races_with_threads_and_nothing_is_added_afterwards(round_):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("stop", capture="scope", mailbox_size=64)
        with exp.scope(), Noise() as noise:
            await asyncio.sleep(0.003)
            await exp.stop()
            stored = exp.counts.stored
            await asyncio.sleep(0.003)
        counts = lawful(exp)
        assert counts.stored == stored, "stopped is frozen"
        assert counts.in_flight == 0
        assert counts.emitted == sum(noise.emitted) == counts.stored + counts.late
        assert counts.late > 0
        found = await stored_numbers(exp)
        assert len(found) == len(set(found)) == stored
        await agreeing(exp, stored)
        # In each thread's order, and from its first on.
        for which in range(4):
            mine = [number for number in found if number % 4 == which]
            assert mine == [which + 4 * i for i in range(len(mine))]


async def test_f19_a_flush_is_not_delayed_by_emits_after_it():
    async with ct.Lab() as lab, lab.experiment("flush", mailbox_size=256) as exp:
        with Noise(2):
            for number in range(20):
                await ct.execute("marker", {"i": number})
                await asyncio.wait_for(exp.flush(), 5)
                assert await exp.count_events(ct.Where(event="marker")) == number + 1


async def test_f15_an_emit_on_another_loop_waits_there_and_arrives_once():
    async with ct.Lab() as lab, lab.experiment("loops", mailbox_size=16) as exp:

        async def other(start):
            for number in range(start, 2000, 2):
                await ct.execute(NAME, {"n": number})

        threads = [
            threading.Thread(target=ct.bind(lambda start=start: asyncio.run(other(start))))
            for start in (0, 1)
        ]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join(20) for thread in threads])
        assert not any(thread.is_alive() for thread in threads)
        assert exp.health().mailbox_peak <= 18
        await whole(exp, range(2000))


async def test_f15_two_labs_on_two_loops_keep_to_themselves():
    results = {}

    async def program(name):
        async with ct.Lab() as lab, lab.experiment(name, mailbox_size=16) as exp:
            for number in range(500):
                await ct.execute(NAME, {"n": number, "who": name == "a"})
            events = await exp.events()
            results[name] = {event.measurements["who"] for event in events}, lawful(exp).stored

    threads = [threading.Thread(target=lambda n=n: asyncio.run(program(n))) for n in "ab"]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join(20) for thread in threads])
    assert results == {"a": ({True}, 500), "b": ({False}, 500)}


async def test_f15_an_emit_after_the_stop_is_late_and_neither_waits_nor_raises():
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("late", capture="scope", mailbox_size=2)
        with exp.scope():
            await exp.stop()
            for number in range(10):
                emit(number)
                await asyncio.wait_for(ct.execute(NAME, {"n": number}), 1)
            async with ct.span("late"):
                pass
    with exp.scope():
        emit(0)
    assert (lawful(exp).late, exp.counts.stored) == (23, 0)


async def test_f15_a_signal_handler_that_emits_between_any_two_instructions_loses_nothing():
    own, handled = itertools.count(1), []

    def handler(*_):
        number = -next(own)  # one call: a handler may be interrupted by the next
        emit(number)
        handled.append(number)

    former = signal.signal(signal.SIGALRM, handler)
    try:
        async with ct.Lab() as lab, lab.experiment("signals", mailbox_size=32) as exp:
            scoped = ct.bind(handler)
            signal.signal(signal.SIGALRM, lambda *_: scoped())
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0003)
            number, end = 0, time.monotonic() + 1.0
            while time.monotonic() < end:
                emit(number)
                await ct.execute(NAME, {"n": number + 1})
                number += 2
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert len(handled) > 100
            await whole(exp, [*range(number), *handled])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


class Alarm(Exception):
    pass


async def emit_under_alarms(alarms):
    """Emit 1, 2, 3 … while a handler raises out of whatever runs; the last number.

    An alarm that goes off inside a drain is taken for a failure of the drain: it ends there.
    """
    raised = number = 0
    while raised < alarms:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001)
            for _ in range(1000):
                number += 1
                emit(number)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Alarm:
            raised += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    return number


async def test_f15_a_signal_handler_that_raises_out_of_an_emit_breaks_no_law():
    """A timeout by SIGALRM lands anywhere in an emit: what it hits is stored or was never offered."""

    def handler(*_):
        raise Alarm

    former = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # what an alarm raises inside a collection's callback is nobody's to catch
    try:
        async with ct.Lab() as lab, lab.experiment("alarm", mailbox_size=32) as exp:
            last = await emit_under_alarms(alarms := 11)
            await exp.flush()
            found = await stored_numbers(exp)
            assert len(found) == len(set(found))
            assert set(found) <= set(range(1, last + 1))
            assert last - len(found) <= alarms
            counts = lawful(exp)
            assert (counts.in_flight, counts.stored) == (0, len(found))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, former)


async def test_f19_a_sample_that_is_complete_admits_no_more_operations():
    async with (
        ct.Lab() as lab,
        lab.experiment("sample", sample_size=10, stop_at_sample_size=True) as exp,
    ):
        for number in range(25):
            async with ct.span("llm.request", {"number": number}):
                pass
        counts = lawful(exp)
        summary = await exp.metrics()
        assert summary.reliability.total_requests == 10
        assert counts.emitted == 50
        assert counts.late == 30


async def test_f19_those_in_flight_when_the_sample_is_complete_end_in_it():
    async with (
        ct.Lab() as lab,
        lab.experiment("sample", sample_size=3, stop_at_sample_size=True) as exp,
    ):

        async def call(gate):
            async with ct.span("llm.request"):
                await gate.wait()

        gate = asyncio.Event()
        calls = [asyncio.create_task(call(gate)) for _ in range(6)]
        await asyncio.sleep(0)
        assert exp.counts.late == 3, "the starts of the fourth to the sixth"
        gate.set()
        await asyncio.gather(*calls)
        assert (await exp.metrics()).reliability.total_requests == 3
        lawful(exp)


async def test_f19_trials_beyond_the_sample_are_not_taken():
    async with (
        ct.Lab() as lab,
        lab.experiment("sample", sample_size=3, stop_at_sample_size=True) as exp,
    ):

        async def run(item):
            async with exp.trial(item=item):
                await ct.execute(NAME, {"n": item})
                await asyncio.sleep(0)
                await ct.execute(NAME, {"n": 100 + item})

        await asyncio.gather(*(run(item) for item in range(8)))
        await exp.flush()
        counts = lawful(exp)
        assert (counts.stored, counts.late) == (6, 10)
        assert sorted(await stored_numbers(exp)) == [0, 1, 2, 100, 101, 102]
