"""F18: the collector crashes, at whatever line; its supervisor answers; nothing is lost or doubled."""

import asyncio
import inspect
import logging
import sys

import pytest
from faults.ledger import NAME, emit, lawful, numbers, stored_numbers, whole

import crucible_telemetry as ct
from crucible_telemetry.collect.careful import Careful
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.followers import Followers
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.progress import advanced
from crucible_telemetry.errors import ExperimentFailed
from crucible_telemetry.events.mailbox import Mailbox
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.stores.memory import MemoryStore
from crucible_telemetry.stores.segments import State

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]

STEPS = (
    Collector._drain_as_actor,
    Collector._drain_as_guest,
    Collector._drain,
    Collector._batch,
    Careful.prepare,
    Collector._commit,
    advanced,
    Followers.tell,
    Collector._measure,
    Collector.release,
    Mailbox.remove,
    MemoryStore.append,
    State.plus,
    Board.plus,
    inspect.unwrap(Preparer.prepare),
)
CODES = frozenset(step.__code__ for step in STEPS)


class Crash(Exception):
    pass


class CrashAt:
    """Raises at the `at`-th line executed in the codes watched, once."""

    def __init__(self, at, error=Crash):
        self.left, self.error, self.place = at, error, None

    def __enter__(self):
        sys.settrace(self._called)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _called(self, frame, event, _):
        return self._line if frame.f_code in CODES and self.place is None else None

    def _line(self, frame, event, _):
        if event == "line" and self.place is None:
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                raise self.error(self.place)
        return self._line


class Count:
    """A streaming metric: which numbers it was told."""

    def __init__(self):
        self.seen = []

    def add(self, event):
        self.seen.append(event.measurements["n"])

    def result(self):
        return len(self.seen)


@pytest.mark.parametrize("kind", ["plain", "choosing"])
async def test_f18_a_collector_that_crashes_at_any_line_loses_and_doubles_nothing(kind, caplog):
    caplog.set_level(logging.CRITICAL)
    options = {"event_filter": lambda *_: True} if kind == "choosing" else {}
    places, restarts = set(), 0
    async with ct.Lab() as lab:
        for at in range(1, 10_000):
            told = Count()
            options["custom_metrics"] = {"told": told}
            async with lab.experiment("crash", **options) as exp:
                with CrashAt(at) as crash:
                    for number in range(6):
                        emit(number)
                    await asyncio.sleep(0.1)  # lets the actor, not a flush, do the work
                    emit(6)
                    await asyncio.sleep(20)
                assert exp.state == "running", crash.place
                assert lawful(exp).in_flight == 0, crash.place
                await whole(exp, range(7))
                assert sorted(told.seen) == list(range(7)), crash.place
                restarts += exp.health().restarts
            if crash.place is None:
                break
            places.add(crash.place)
            await exp.cleanup()
    assert len(places) > 70
    assert restarts > 50


async def test_f18_an_interrupt_at_any_line_of_an_emitters_drain_reaches_it_and_harms_nothing(
    caplog,
):
    caplog.set_level(logging.CRITICAL)
    places = set()
    async with ct.Lab() as lab:
        for at in range(1, 10_000):
            async with lab.experiment("interrupt", mailbox_size=4) as exp:
                with CrashAt(at, KeyboardInterrupt) as crash:
                    interrupted = 0
                    for number in range(6):
                        try:
                            emit(number)
                        except KeyboardInterrupt:
                            interrupted += 1
                if crash.place is None:
                    break
                assert interrupted == 1, crash.place
                for number in range(6, 20):
                    emit(number)
                await asyncio.wait_for(ct.execute(NAME, {"n": 20}), 1)
                await asyncio.wait_for(whole(exp, range(21)), 1)
                assert exp.health().drained_by_emitters > 2, crash.place
                assert exp.health().restarts == 0
            places.add(crash.place)
            await exp.cleanup()
    assert len(places) > 50


async def test_f18_who_waits_for_room_is_woken_when_the_collector_crashed_after_making_it(caplog):
    caplog.set_level(logging.CRITICAL)
    async with ct.Lab() as lab:
        for at in range(1, 10_000):
            async with lab.experiment("room", mailbox_size=4) as exp:
                tasks = [asyncio.create_task(ct.execute(NAME, {"n": n})) for n in range(9)]
                with CrashAt(at) as crash:
                    await asyncio.wait_for(asyncio.gather(*tasks), 30)
                await whole(exp, range(9))
            await exp.cleanup()
            if crash.place is None:
                break
    assert at > 60


async def test_f18_an_event_that_crashes_the_collector_twice_is_quarantined(monkeypatch):
    append = MemoryStore.append

    def poisoned(store, columns):
        if any(b"poison" in columns.payload[i] for i in range(len(columns))):
            raise Crash("this one")
        append(store, columns)

    monkeypatch.setattr(MemoryStore, "append", poisoned)
    async with ct.Lab() as lab, lab.experiment("poison") as exp:
        for number in range(20):
            emit(number, **({"kind": "poison"} if number == 7 else {}))
        await asyncio.sleep(20)
        assert exp.state == "running"
        counts = await whole(exp, set(range(20)) - {7})
        assert (counts.quarantined, counts.emitted) == (1, 20)
        (entry,) = exp.health().quarantine
        assert (entry.event_name, entry.position) == (NAME, 7)
        assert entry.error.startswith("Crash at ")
        assert any(frame.startswith("poisoned:") for frame in entry.frames)
        assert exp.health().restarts == 2


async def test_f18_what_was_accepted_before_a_stop_is_kept_although_the_collector_crashes_then(
    monkeypatch,
):
    append = MemoryStore.append
    crashes = iter([True])

    def shaky(store, columns):
        if next(crashes, False):
            raise Crash("just now")
        append(store, columns)

    monkeypatch.setattr(MemoryStore, "append", shaky)
    async with ct.Lab() as lab:
        async with lab.experiment("stop") as exp:
            for number in range(10):
                emit(number)
        assert exp.state == "stopped"
        await whole(exp, range(10))


@pytest.fixture
def broken(monkeypatch):
    """Ids of experiments whose collector crashes at every batch."""
    drain, ids = Collector._batch, set()

    def crash(collector, limit):
        if collector.reader.experiment_id in ids:
            raise Crash("for good")
        return drain(collector, limit)

    monkeypatch.setattr(Collector, "_batch", crash)
    return ids


async def failing(lab, broken):
    """An experiment that stored 0, 1, 2, then crashed for good while six tasks waited for room."""
    exp = await lab.start_experiment("failing", capture="scope", mailbox_size=4)
    with exp.scope():
        for number in range(3):
            emit(number)
        await exp.flush()
        broken.add(exp.id)
        emit(3)
        waiting = [asyncio.create_task(ct.execute(NAME, {"n": n})) for n in range(4, 10)]
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
    return exp


async def test_f18_more_crashes_than_the_budget_fail_the_experiment_and_emits_go_on(broken):
    async with ct.Lab() as lab:
        exp = await failing(lab, broken)
        assert exp.state == "failed"
        assert isinstance(exp.failure, Exception)
        with exp.scope():
            for number in range(10, 20):
                emit(number)
            await asyncio.wait_for(ct.execute(NAME, {"n": 20}), 1)
        counts = lawful(exp)
        assert (counts.emitted, counts.stored, counts.refused) == (21, 3, 18)
        with pytest.raises(ExperimentFailed, match=r"failed \(Crash at crash:\d+\)$"):
            await exp.flush()
    assert exp.state == "failed"


async def test_f18_a_failed_experiments_data_is_read_and_exported(broken, tmp_path):
    async with ct.Lab() as lab:
        exp = await failing(lab, broken)
        assert await stored_numbers(exp) == [0, 1, 2]
        assert (await exp.metrics()).summary.total_events == 3
        path = await exp.export(tmp_path / "failed.jsonl")
        assert len(path.read_text().splitlines()) == 3


async def test_f18_siblings_of_a_failed_experiment_go_on(broken):
    async with ct.Lab() as lab:
        sibling = await lab.start_experiment("sibling", capture="scope")
        await failing(lab, broken)
        with sibling.scope():
            emit(0)
            await ct.execute(NAME, {"n": 1})
        await whole(sibling, range(2))
        assert sibling.state == "running"
    assert numbers(await sibling.events()) == [0, 1]
