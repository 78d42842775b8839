"""F5, F6: handlers, filters, strategies, enrichers, redaction and metrics that raise stop nothing."""

import asyncio
import logging

import pytest
from faults.ledger import NAME, emit, lawful, numbers, whole

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


class Unspeakable(Exception):
    """An error whose own words raise."""

    def __init__(self, *_):
        super().__init__()

    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def raises(error):
    def fn(*_):
        raise error("no")

    return fn


class Metric:
    def __init__(self, error=None):
        self.error, self.count = error, 0

    def add(self, event):
        self.count += 1
        if self.error is not None and self.count == 3:
            raise self.error("no")

    def result(self):
        return self.count


class Calculator:
    def __init__(self, error=None):
        self.error = error

    def calculate(self, events):
        if self.error is not None:
            raise self.error("no")
        return len(events)


@pytest.fixture(autouse=True)
def handlers():
    yield
    for entry in ct.list_handlers():
        ct.detach(entry.handler_id)


ERRORS = [ValueError, Unspeakable, StopIteration, RecursionError, MemoryError]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize(
    "option", ["event_filter", "sampling_strategy", "redact", "enrichers"], ids=str
)
async def test_f05_an_event_is_kept_and_marked_whatever_users_code_raises(option, error):
    def picky(name, measurements, metadata):
        if measurements["n"] % 10 == 7:
            raise error("no")
        return (measurements, metadata) if option == "redact" else True

    def enrich(name, measurements, metadata):
        return {"odd": measurements["n"] % 2} if picky(name, measurements, metadata) else None

    value = {"enrichers": [enrich], "redact": picky}.get(option, picky)
    async with ct.Lab() as lab, lab.experiment("user", **{option: value}) as exp:
        for number in range(100):
            emit(number)
        await exp.flush()
        counts = lawful(exp)
        assert counts.in_flight == 0
        assert counts.stored == 100
        assert set(numbers(await exp.events())) == set(range(100))
        assert exp.state == "running"
        assert exp.health().restarts == 0
        assert sum(exp.health().marks.values()) >= 10
        assert exp.health().errors


async def test_f05_what_redact_should_have_hidden_is_not_kept_when_it_raises():
    async with (
        ct.Lab() as lab,
        lab.experiment("secret", privacy="full", redact=raises(ValueError)) as exp,
    ):
        emit(1, secret="hunter2")
        (event,) = await exp.events()
        assert "hunter2" not in repr(event)
        assert event.measurements["n"] == 1


@pytest.mark.parametrize("error", ERRORS[:4], ids=lambda error: error.__name__)
async def test_f05_a_custom_metric_that_raises_is_dropped_and_the_others_go_on(error):
    metrics = {
        "good": Metric(),
        "bad": Metric(error),
        "sums": Calculator(),
        "fails": Calculator(error),
    }
    async with ct.Lab() as lab, lab.experiment("metrics", custom_metrics=metrics) as exp:
        for number in range(10):
            emit(number)
        summary = await exp.metrics()
        assert summary.custom["good"] == 10
        assert summary.custom["sums"] == 10
        await whole(exp, range(10))
        assert set(exp.health().errors) == {"bad", "fails"}
        assert exp.health().restarts == 0


@pytest.mark.parametrize("error", ERRORS[:4], ids=lambda error: error.__name__)
async def test_f06_a_thousand_handlers_that_raise_are_each_detached_at_their_first(error, caplog):
    caplog.set_level(logging.CRITICAL)
    calls, heard, failures = [0] * 1000, [], []

    def bad(number):
        def handler(*_):
            calls[number] += 1
            raise error("no")

        return handler

    ct.attach("good", "*", lambda name, m, *_: heard.append(m.get("n")) if name == NAME else None)
    ct.attach(
        "failures", "telemetry.handler.failure", lambda _, __, meta, ___: failures.append(meta)
    )
    for number in range(1000):
        ct.attach(f"bad-{number}", NAME, bad(number))
    async with (
        ct.Lab() as lab,
        lab.experiment("meta", capture="process", events=["telemetry.*"]) as told,
        lab.experiment("handlers") as exp,
    ):
        for number in range(20):
            emit(number)
        await whole(exp, range(20))
        assert heard == list(range(20))
        assert calls == [1] * 1000
        assert sorted(f["handler_id"] for f in failures) == sorted(
            f"bad-{number}" for number in range(1000)
        )
        assert {f["kind"] for f in failures} == {error.__name__}
        assert len(ct.list_handlers()) == 2
        assert lawful(told).emitted == await told.count_events() == 1000


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_f06_an_interrupt_passes_through_a_handler_and_the_event_stays(error):
    async with ct.Lab() as lab, lab.experiment("interrupted") as exp:
        ct.attach("stop", NAME, raises(error))
        with pytest.raises(error):
            emit(0)
        with pytest.raises(error):
            await ct.execute(NAME, {"n": 1})
        assert len(ct.list_handlers()) == 1
        ct.detach("stop")
        emit(2)
        await whole(exp, range(3))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_f05_an_interrupt_in_a_filter_during_an_emitters_drain_loses_no_event(error):
    left = [error("no")]

    def choose(*_):
        if left:
            raise left.pop()
        return True

    async with (
        ct.Lab() as lab,
        lab.experiment("interrupted", event_filter=choose, mailbox_size=4) as exp,
    ):
        for number in range(3):
            emit(number)
        with pytest.raises(error):
            emit(3)
        for number in range(4, 9):
            emit(number)
        await whole(exp, range(9))


async def test_f05_a_cancelled_error_of_a_filter_reaches_no_emitter_and_loses_no_event():
    async with (
        ct.Lab() as lab,
        lab.experiment("c", event_filter=raises(asyncio.CancelledError), mailbox_size=4) as exp,
    ):
        for number in range(10):
            emit(number)
        await asyncio.wait_for(exp.flush(), 60)
        assert (lawful(exp).stored, exp.health().restarts) == (10, 0)
        emit(10)
    assert (lawful(exp).stored, lawful(exp).quarantined, lawful(exp).late) == (11, 0, 0)
    assert exp.health().marks["filter"] == 11


async def test_f05_a_filter_that_meets_a_cancelled_task_does_not_end_the_collector():
    """`task.result()` of a cancelled task raises CancelledError, which is no Exception."""
    task = asyncio.create_task(asyncio.sleep(0))
    task.cancel()
    await asyncio.sleep(0)

    def choose(name, measurements, metadata):
        return measurements["n"] != 3 or task.result()

    async with (
        ct.Lab() as lab,
        lab.experiment("cancelled", event_filter=choose, mailbox_size=4) as exp,
    ):
        for number in range(20):
            await asyncio.wait_for(ct.execute(NAME, {"n": number}), 60)
        await asyncio.sleep(60)
        assert lawful(exp).in_flight == 0
        assert exp.state == "running"
        assert set(numbers(await exp.events())) == set(range(20))


async def test_f05_an_error_without_words_leaves_a_span_as_itself():
    async with ct.Lab() as lab, lab.experiment("span") as exp:
        with pytest.raises(Unspeakable), ct.span("work"):
            raise Unspeakable
        start, end = await exp.events()
        assert (start.event_name, end.event_name) == ("work.start", "work.exception")
        assert end.metadata["kind"] == "Unspeakable"


async def test_f07_a_slow_collector_makes_execute_wait_and_nothing_else():
    async with ct.Lab() as lab:
        slow = await lab.start_experiment("slow", capture="scope", mailbox_size=8)
        quick = await lab.start_experiment("quick", capture="scope", mailbox_size=8)
        held = slow._collector._lock
        slow._collector._busy = True  # as if another thread were in the middle of a drain
        done = []

        async def caller(number):
            with slow.scope():
                await ct.execute(NAME, {"n": number})
            done.append(number)

        tasks = [asyncio.create_task(caller(number)) for number in range(12)]
        with quick.scope():
            for number in range(100):
                await asyncio.wait_for(ct.execute(NAME, {"n": number}), 5)
        await asyncio.sleep(0)
        assert done == list(range(7)), "the eighth has filled the mailbox and waits"
        counts = lawful(slow)
        assert (counts.emitted, counts.in_flight) == (12, 12), "accepted before the wait"
        slow._collector._busy = False
        assert held is slow._collector._lock
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert sorted(done) == list(range(12))
        await whole(slow, range(12))
        await whole(quick, range(100))
