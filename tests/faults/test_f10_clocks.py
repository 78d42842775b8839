"""F10: clocks that step back, leap and jump: no negative duration, order kept, windows complete."""

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.analysis import reading
from crucible_telemetry.events import bus
from crucible_telemetry.experiment import handle

pytestmark = pytest.mark.asyncio

T0_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
TEN_YEARS_US = 10 * 365 * 24 * HOUR_US
STEPS_US = st.sampled_from(
    # Time goes on; summer time moves no UTC clock, but people, leap seconds and NTP do.
    (0, 1, SECOND_US, 60 * SECOND_US, HOUR_US, -HOUR_US, -SECOND_US, TEN_YEARS_US, -TEN_YEARS_US)
)


class Clock:
    """A wall clock that is turned by hand."""

    def __init__(self):
        self.now_us = T0_US

    def ns(self):
        return self.now_us * 1000

    def us(self):
        return self.now_us


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bus, "wall_ns", clock.ns)
    monkeypatch.setattr(handle, "wall_us", clock.us)
    monkeypatch.setattr(reading, "wall_us", clock.us)
    return clock


def windows_by_hand(times, size, step):
    """(start, events) of every window that holds any, up to the one that covers the last event."""
    first, last = min(times), max(times)
    starts = {
        first + k * step
        for at in times
        for k in range(max((at - first - size) // step + 1, 0), (at - first) // step + 1)
    }
    covering = min((s for s in starts if s + size > last), default=last)
    counts = [(s, sum(s <= at < s + size for at in times)) for s in sorted(starts) if s <= covering]
    return [(start, count) for start, count in counts if count]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps=st.lists(STEPS_US, min_size=1, max_size=25), overlap=st.integers(1, 3))
async def test_f10_whatever_the_clock_does_events_are_in_order_and_in_every_window_once(
    lab, clock, steps, overlap
):
    clock.now_us = T0_US
    async with lab.experiment("a") as exp:
        for step in steps:
            with ct.span("work"):
                clock.now_us += step
    events = await exp.events()
    places = [(event.timestamp_us, event.seq) for event in events]
    assert places == sorted(places)
    assert sorted(seq for _, seq in places) == list(range(1, 2 * len(steps) + 1))
    assert all(e.latency_ms >= 0 for e in events if e.event_name == "work.stop")
    assert [e async for page in exp.pages(size=3) for e in page] == events
    size = HOUR_US
    rows = await exp.windowed_metrics(size / SECOND_US, size / SECOND_US / overlap)
    expected = windows_by_hand([at for at, _ in places], size, size // overlap)
    assert [(row.window_start, row.event_count) for row in rows] == expected
    if overlap == 1:
        assert sum(row.event_count for row in rows) == len(events)
    assert len(await exp.window(ct.LastN(1))) == 1


@pytest.mark.parametrize("step_us", [-HOUR_US, TEN_YEARS_US, 0])
async def test_f10_paused_and_active_time_are_those_of_a_clock_that_does_not_step(
    lab, clock, step_us
):
    async with lab.experiment("a") as exp:
        ct.execute_nowait("n")
        await exp.pause()
        clock.now_us += step_us
        await exp.resume()
        ct.execute_nowait("n")
    summary = (await exp.metrics()).summary
    assert 0 <= summary.paused_seconds < 60
    assert 0 < summary.active_seconds < 60
    assert summary.duration_seconds >= 0
    rows = await exp.windowed_metrics(60)
    assert sum(row.event_count for row in rows) == 2
    assert all(0 <= row.active_seconds <= 60 for row in rows)


async def test_f10_the_last_minutes_end_at_the_newest_event_when_the_clock_stepped_back(lab, clock):
    async with lab.experiment("a") as exp:
        ct.execute_nowait("before")
        clock.now_us -= HOUR_US
        ct.execute_nowait("after")
        found = await exp.window(ct.Last(minutes=5))
        assert [event.event_name for event in found] == ["before"]
        both = await exp.window(ct.Last(hours=1))
        assert [event.event_name for event in both] == ["after", "before"]
