"""What a thread or a signal handler may do between any two lines, done between each two lines in turn.

Random threads meet a race once in many runs; a line tracer meets each of them every time.
"""

import asyncio
import contextvars
import sys

import pytest

import crucible_telemetry as ct
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.events import bus, mailbox
from crucible_telemetry.events.mailbox import Mailbox

EMITTING = {bus.__file__, mailbox.__file__}
COLLECTING = {mailbox.__file__, sys.modules[Collector.__module__].__file__, __file__}
MOST_LINES = 400


class Interrupt:
    """Calls `act` once, before the `at`-th line that runs in `files`."""

    def __init__(self, at, files, act):
        self.at, self.files, self.act, self.lines = at, files, act, 0

    @property
    def struck(self):
        return self.lines >= self.at

    def __enter__(self):
        self.former = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(self.former)

    def _trace(self, frame, event, _):
        if frame.f_code.co_filename not in self.files or frame.f_code.co_name.startswith("test_"):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                sys.settrace(None)
                self.act()
                sys.settrace(self._trace)
        return self._trace


async def stop_during_an_emit(lab, at):
    """(whether the stop came inside the emit, what is wrong)."""
    exp = await lab.start_experiment("e", capture="scope")
    with exp.scope():
        ct.execute_nowait("a", {"n": 0})
        with Interrupt(at, EMITTING, exp._freeze) as interrupt:
            ct.execute_nowait("a", {"n": 1})
    if not interrupt.struck:
        exp._freeze()
    counts, events = exp.counts, await exp.events()
    kept = [event.measurements["n"] for event in events]
    right = (counts.emitted, counts.stored, counts.in_flight) == (2, len(kept), 0)
    right = right and counts.stored + counts.late == 2 and kept in ([0], [0, 1])
    return interrupt.struck, None if right else f"line {at}: {counts}, stored {kept}"


async def emit_during_a_drain(lab, at):
    """(whether the emit came while the collector was at work, what is wrong); nobody flushes."""
    exp = await lab.start_experiment("e", capture="scope")
    await asyncio.sleep(1)
    with exp.scope():
        inside = contextvars.copy_context()
    ct_emit = ct.execute_nowait
    inside.run(ct_emit, "a", {"n": 0})
    interrupt = Interrupt(at, COLLECTING, lambda: inside.run(ct_emit, "a", {"n": 1}))
    with interrupt:
        await asyncio.sleep(1)
    if not interrupt.struck:
        inside.run(ct_emit, "a", {"n": 1})
    await asyncio.sleep(1)
    counts = exp.counts
    kept = [event.measurements["n"] for event in await exp.events()]
    await exp.stop()
    right = kept == [0, 1] and counts.emitted == counts.stored == 2
    return interrupt.struck, None if right else f"line {at}: {counts}, stored {kept}"


async def at_each_line(scenario):
    """What goes wrong, and how many lines were tried."""
    wrong = []
    async with ct.Lab() as lab:
        for at in range(1, MOST_LINES):
            struck, problem = await scenario(lab, at)
            wrong += [problem] if problem else []
            if not struck:
                return wrong, at - 1
    raise AssertionError(f"more than {MOST_LINES} lines")


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_f19_a_stop_between_any_two_lines_of_an_emit_loses_and_doubles_nothing():
    wrong, lines = await at_each_line(stop_during_an_emit)
    assert wrong == []
    assert lines > 10


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_f17_an_emit_between_any_two_lines_of_the_collector_is_collected_without_a_flush():
    wrong, lines = await at_each_line(emit_during_a_drain)
    assert wrong == []
    assert lines > 40


def looks_before_it_lowers_the_mark(self):
    empty = len(self.rows) == 1
    self.mark = 1
    return empty


def sweeps_without_counting(self):
    with self._lock:
        self.box.remove(self.box.accepted)


@pytest.mark.asyncio
@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("scenario", "target", "name", "fault"),
    [
        (emit_during_a_drain, Mailbox, "sleep", looks_before_it_lowers_the_mark),
        (stop_during_an_emit, Collector, "sweep", sweeps_without_counting),
    ],
    ids=["the mark is lowered after looking", "a sweep that does not count"],
)
async def test_the_interrupts_find(scenario, target, name, fault, monkeypatch):
    monkeypatch.setattr(target, name, fault)
    wrong, _ = await at_each_line(scenario)
    assert wrong
