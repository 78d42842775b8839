"""F17: what several threads change at once, and what waits for whom while they do."""

import asyncio
import logging
import sys
import threading

import pytest
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.events.mailbox import Attendant, Mailbox
from crucible_telemetry.events.routes import ROUTES
from crucible_telemetry.runtime.loops import Signal, _Waiter

LOG = logging.getLogger("tests.together")


@pytest.fixture
def fast_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*work):
    threads = [threading.Thread(target=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.usefixtures("fast_switches")
def test_f17_handlers_attached_at_once_are_all_heard_and_all_gone():
    missing = []

    def work(number):
        for i in range(2000):
            name = f"{number}-{i}"
            ct.attach(name, "a.*", print)
            if not any(entry.handler_id == name for entry in ROUTES.handlers):
                missing.append(name)
            ct.detach(name)

    for thread in in_threads(*(lambda k=k: work(k) for k in range(4))):
        thread.join()
    assert (missing, ct.list_handlers(), ROUTES.wide) == ([], [], False)


def test_f17_what_was_accepted_never_seems_less_while_a_batch_leaves():
    """Else `flush` returned, and `stop` counted as late, before what was emitted had been collected."""
    box = Mailbox(Attendant(), capacity=8)

    class Raced(list):
        """Another thread lets a batch go between the look at the count and the look at the length."""

        def __len__(self):
            if self[0] == 0:
                list.__setitem__(self, slice(0, 4), [3])
            return super().__len__()

    box.rows = Raced([0, b"a", b"b", b"c", b"d"])
    assert box.accepted == 4


@pytest.mark.asyncio
async def test_f13_an_interrupt_while_a_flag_wakes_its_waiters_leaves_them_to_the_next(monkeypatch):
    flag = Signal()
    waiting = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)

    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Waiter, "wake", interrupted)
        with pytest.raises(KeyboardInterrupt):
            flag.set()
    flag.set()
    await asyncio.wait_for(waiting, 10)


@pytest.mark.asyncio
async def test_f17_an_emitter_under_a_lock_and_users_code_that_wants_it_do_not_wait_for_ever():
    """A logging handler that emits (under its lock), and an enricher that logs (in a drain)."""
    scopes = []

    class Emits(logging.Handler):
        def emit(self, record):
            with scopes[0].scope():
                ct.execute_nowait("log.record", {"n": 1})

    def logs(name, measurements, metadata):
        if name != "log.record":
            LOG.warning("enriching")
        return {}

    handler = Emits()
    LOG.addHandler(handler)
    LOG.propagate = False
    try:
        async with ct.Lab() as lab:
            exp = await lab.start_experiment(
                "x", capture="scope", mailbox_size=16, enrichers=[logs]
            )
            scopes.append(exp)

            def emits():
                with exp.scope():
                    for _ in range(300):
                        ct.execute_nowait("work")

            threads = in_threads(emits, lambda: [LOG.warning("hi") for _ in range(300)])
            await comes(lambda: not any(thread.is_alive() for thread in threads))
            await exp.flush()
            assert exp.counts.emitted == exp.counts.accounted >= 600
    finally:
        LOG.removeHandler(handler)


@pytest.mark.asyncio
async def test_f17_the_loop_goes_on_while_a_thread_drains():
    """The filter that waits for the loop is the shortest proof: a loop that waited would never answer."""
    loop, ready = asyncio.get_running_loop(), threading.Event()
    outside = threading.get_ident()

    async def answer():
        return True

    def asks(*_):
        if threading.get_ident() == outside:
            return True
        ready.set()
        return asyncio.run_coroutine_threadsafe(answer(), loop).result(10)

    async with ct.Lab() as lab:
        exp = await lab.start_experiment("x", capture="scope", mailbox_size=4, event_filter=asks)

        def emits():
            with exp.scope():
                for _ in range(100):
                    ct.execute_nowait("work")

        await asyncio.to_thread(emits)
        await exp.flush()
        assert exp.counts.stored == 100
        assert not exp.health().errors


@pytest.mark.asyncio
async def test_f05_a_logging_handler_that_emits_into_nothing_raises_nowhere():
    class Emits(logging.Handler):
        def emit(self, record):
            ct.execute_nowait("log.record")

    log, handler = logging.getLogger("crucible_telemetry"), Emits()
    log.addHandler(handler)
    try:
        async with ct.Lab() as lab:
            await lab.start_experiment("x", capture="scope")
            ct.execute_nowait("nobody")
            assert lab.unheard == {"nobody": 1, "log.record": 1}
    finally:
        log.removeHandler(handler)


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(14))
async def test_f14_a_lab_closed_while_an_experiment_starts_leaves_no_listener(turns):
    lab = await ct.Lab().open()
    starting = asyncio.create_task(lab.start_experiment("x"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await lab.close()
    await asyncio.wait([starting])
    assert starting.exception() is None or isinstance(starting.exception(), ct.CrucibleError)
    assert ROUTES.quiet


@pytest.mark.asyncio
async def test_f05_a_metric_that_meets_a_cancelled_task_is_dropped_and_nothing_else():
    class Cancelled:
        def add(self, event):
            raise asyncio.CancelledError

        def merge(self, other):
            """Nothing to merge."""

        def result(self):
            return 0

    async with ct.Lab() as lab:
        exp = await lab.start_experiment(
            "x", capture="scope", custom_metrics={"a": Cancelled(), "b": Cancelled()}
        )
        with exp.scope():
            for number in range(1, 9):
                ct.execute_nowait("work")
                await comes(lambda number=number: exp.counts.stored == number)
        assert (exp.state, exp.counts.stored, exp.health().restarts) == ("running", 8, 0)
        assert set(exp.health().errors) == {"a", "b"}


@pytest.mark.asyncio
async def test_f18_a_store_that_fails_for_a_while_costs_no_event_however_often_it_is_tried(
    monkeypatch,
):
    """Drains of emitters and of `flush` spend no restart budget, so they must not judge an event either."""
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("x", capture="scope", mailbox_size=64)
        store, left = exp._collector.store, list(range(40))
        real = store.append

        def append(columns):
            if left:
                raise OSError(f"disk, {left.pop()}")
            real(columns)

        monkeypatch.setattr(store, "append", append)
        with exp.scope():
            for _ in range(200):
                ct.execute_nowait("work")
        await exp.flush(10)
        assert (exp.state, exp.counts.stored, exp.counts.quarantined) == ("running", 200, 0)


@pytest.mark.asyncio
async def test_f08_a_slow_enricher_makes_the_batches_smaller_not_the_pauses_longer(monkeypatch):
    """Time as the drain reads it is turned by the enricher: 1 ms an event."""
    now = [0]
    monkeypatch.setattr("crucible_telemetry.collect.collector.monotonic_ns", lambda: now[0])

    def slow(name, measurements, metadata):
        now[0] += 1_000_000

    async with ct.Lab() as lab, lab.experiment("slow", enrichers=[slow]) as exp:
        for number in range(3000):
            ct.execute_nowait("x", {"n": number})
        await exp.flush()
        assert exp.counts.stored == 3000
        # The first batch is small, and those after it fit 20 ms (or twice that, when trying more).
        assert exp.health().drain_ms_max <= 256
        assert exp.health().drain_ms_last <= 40
        assert exp.health().batches > 50
