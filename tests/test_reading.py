"""Reading one experiment: events, windows, figures, flushes, files; and what privacy keeps out of all."""

import asyncio
import gzip
import json
from datetime import timedelta

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio

T0 = 1_700_000_000_000_000
SECOND = 1_000_000


@pytest_asyncio.fixture
async def exp(lab):
    async with lab.experiment("a", condition="control", tags=["t"]) as exp:
        yield exp


async def calls(n, *, every_us=SECOND):
    """`n` ends of calls a second apart; every tenth a timeout; two models in turn."""
    for i in range(n):
        await ct.execute(
            "llm.request.stop",
            {"i": i, "duration_ms": 10 + i, "cost_usd": 0.5, "input_tokens": 4},
            {"model": f"m{i % 2}", "status": "timeout" if i % 10 == 9 else "ok", "run": {"no": i}},
            at_us=T0 + i * every_us,
        )


def numbers(events):
    return [e.measurements["i"] for e in events]


async def test_reads_see_what_was_emitted_before_them(exp):
    for i in range(20):
        ct.execute_nowait("n", {"i": i})
        assert await exp.count_events() == i + 1
    assert numbers(await exp.events()) == list(range(20))


async def test_pages_hold_together_what_events_holds_and_are_of_one_moment(exp):
    await calls(25)
    pages = []
    async for page in exp.pages(size=10):
        pages.append(numbers(page))
        await calls(1)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [i for page in pages for i in page] == list(range(25))
    with pytest.raises(ct.QueryError):
        [page async for page in exp.pages(size=0)]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ct.Where(success=False), [9, 19]),
        (ct.Where(outcome="timeout"), [9, 19]),
        (ct.Where(model="m1", success=True), [1, 3, 5, 7, 11, 13, 15, 17]),
        (ct.Where(event="llm.*", since=T0 + 18 * SECOND), [18, 19]),
        (ct.Where(until=T0 + SECOND), [0, 1]),
        (ct.Where(measurement={"i": ct.Ge(18)}), [18, 19]),
        (ct.Where(metadata={"run.no": ct.OneOf([3, 4])}), [3, 4]),
        (ct.Where(predicate=lambda e: e.measurements["i"] % 7 == 6), [6, 13]),
        (ct.Where(tags=["t"], condition="control", until=T0), [0]),
        (ct.Where(condition="treatment"), []),
        (ct.Where(event="nope"), []),
    ],
)
async def test_a_filter_means_the_same_in_every_read(exp, where, expected):
    await calls(20)
    assert numbers(await exp.events(where)) == expected
    assert await exp.count_events(where) == len(expected)
    assert numbers(await exp.window(ct.LastN(100), where)) == expected
    assert [i async for page in exp.pages(where, 2) for i in numbers(page)] == expected
    assert (await exp.metrics(where)).summary.total_events == len(expected)
    assert sum(r.event_count for r in await exp.windowed_metrics(5, where=where)) == len(expected)


async def test_windows_are_the_last_n_the_last_time_and_between(exp):
    await calls(20)
    assert numbers(await exp.window(ct.LastN(3))) == [17, 18, 19]
    last_ok = await exp.window(ct.LastN(2), ct.Where(success=True))
    assert numbers(last_ok) == [17, 18]  # the filter applies before it counts
    between = await exp.window(ct.Between(T0 + 2 * SECOND, T0 + 4 * SECOND))
    assert numbers(between) == [2, 3, 4]
    fixed = await exp.window(ct.Last(seconds=2, now=T0 + 10 * SECOND))
    assert numbers(fixed) == [8, 9, 10]
    # Events with their own time: the window ends at the newest.
    assert numbers(await exp.window(ct.Last(seconds=2))) == [17, 18, 19]


async def test_the_last_minutes_end_now_while_it_runs(exp):
    ct.execute_nowait("n", {"i": 0})
    assert numbers(await exp.window(ct.Last(minutes=1))) == [0]


async def test_windowed_metrics_are_half_open_and_leave_empty_ones_out(exp):
    await calls(10)
    await ct.execute("n", at_us=T0 + 100 * SECOND)
    rows = await exp.windowed_metrics(timedelta(seconds=5))
    assert rows == await exp.windowed_metrics(5, 5.0)
    shown = [((r.window_start - T0) // SECOND, r.event_count) for r in rows]
    assert shown == [(0, 5), (5, 5), (100, 1)]
    first, second, third = rows
    assert first.window_end - first.window_start == 5 * SECOND
    assert (first.mean_latency, first.total_cost) == (12.0, 2.5)
    assert (second.success_count, second.failure_count) == (4, 1)
    assert (third.mean_latency, third.total_cost) == (None, None)
    sliding = await exp.windowed_metrics(5, 2.5)
    assert sliding[0].event_count == 5
    with pytest.raises(ct.QueryError):
        await exp.windowed_metrics(0)


async def test_live_and_at_rest_agree_and_say_how_far_they_reach(exp):
    await calls(200)
    live, rest = exp.live(by="event"), await exp.metrics(by="event")
    assert (live.upto_seq, rest.upto_seq) == (200, 200)
    assert (live.exact, rest.exact) == (False, True)
    for part in ("cost", "reliability", "tokens", "summary"):
        a, b = getattr(live, part), getattr(rest, part)
        skipped = {"active_seconds", "median_per_request", "mtbf"}
        for field in set(a.__struct_fields__) - skipped:
            assert getattr(a, field) == getattr(b, field), (part, field)
    assert (live.latency.count, live.latency.mean) == (rest.latency.count, rest.latency.mean)
    assert live.latency.std_dev == rest.latency.std_dev
    assert live.latency.p95 == pytest.approx(rest.latency.p95, rel=live.quantile_error * 1.0001)
    assert set(live.events.by_event) == set(rest.events.by_event) == {"llm.request.stop"}
    assert json.dumps(rest.to_dict())
    with pytest.raises(ct.QueryError):
        exp.live(by="model")


async def test_live_counts_all_that_waits_however_much(exp):
    for i in range(7000):
        ct.execute_nowait("n", {"i": i})
    assert exp.live().upto_seq == 7000


async def test_reset_live_begins_anew_and_metrics_ignore_it(exp):
    await calls(10)
    exp.reset_live()
    assert exp.live().latency.count == 0
    assert exp.live().since_seq == 10
    await calls(5)
    assert (exp.live().summary.total_events, exp.live().upto_seq) == (5, 15)
    assert (await exp.metrics()).summary.total_events == 15
    assert (await exp.metrics()).since_seq == 0


async def test_flush_says_what_it_did(exp):
    for i in range(30):
        ct.execute_nowait("n", {"i": i})
    result = await exp.flush()
    assert (result.flushed, result.failed, result.timed_out) == (30, 0, False)
    assert result.complete
    assert (await exp.flush()).flushed == 0


async def test_flush_gives_up_after_its_time_and_says_so(exp, monkeypatch):
    collector = exp._collector
    monkeypatch.setattr(collector, "drain_now", lambda target: False)
    monkeypatch.setattr(collector, "_drain_as_actor", lambda: None)
    ct.execute_nowait("n")
    result = await exp.flush(timeout_s=0.02)
    assert result.timed_out
    assert not result.complete
    monkeypatch.undo()
    assert (await exp.flush()).complete


async def test_health_shows_how_collecting_goes(lab):
    def filters(event, measurements, metadata):
        raise KeyError("oops")

    async with lab.experiment("a", mailbox_size=16, event_filter=filters) as exp:
        for i in range(100):
            ct.execute_nowait("n", {"x": float("nan")}, {"odd": object(), "i": i})
        await exp.flush()
        health = exp.health()
    assert (health.state, health.in_flight, health.mailbox_capacity) == ("running", 0, 16)
    assert health.mailbox_peak >= 16
    assert health.batches >= 6
    assert health.drained_by_emitters > 0
    assert health.drain_ms_max >= health.drain_ms_last > 0
    assert health.restarts == health.scope_leaks == 0
    assert health.marks["repr"] == health.marks["filter"] == 100
    assert health.errors["filter"].startswith("KeyError")
    assert exp.counts.stored == 100


@pytest.mark.parametrize("name", ["a.jsonl", "deeper/a.jsonl.gz"])
async def test_a_file_holds_every_event_and_nothing_torn_is_left(exp, tmp_path, name):
    await calls(3000)
    await ct.execute("n", {"i": float("inf")}, {"note": "ä\u2028\n"}, at_us=T0 * 2)
    path = await exp.export(tmp_path / name)
    assert path == tmp_path / name
    raw = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    lines = [json.loads(line) for line in raw.decode().split("\n") if line]
    assert [line["seq"] for line in lines] == list(range(1, 3002))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for line, event in zip(lines[:-1], await exp.events(), strict=False):
        assert line["measurements"] == event.measurements
        assert line["metadata"] == event.metadata
        assert line["latency_ms"] == event.latency_ms
    assert lines[-1]["measurements"] == {"i": "Infinity"}
    assert lines[-1]["metadata"] == {"note": "ä\u2028\n"}


async def test_an_empty_experiment_reads_and_exports_as_empty(exp, tmp_path):
    assert await exp.events() == []
    assert await exp.window(ct.Last(minutes=5)) == []
    assert await exp.windowed_metrics(60) == []
    assert (await exp.metrics()).latency.mean is None
    assert exp.live().summary.total_events == 0
    assert (await exp.export(tmp_path / "e.jsonl")).read_bytes() == b""


async def test_active_and_paused_seconds_add_up(exp):
    await exp.pause()
    await asyncio.sleep(0.02)
    await exp.resume()
    summary = (await exp.metrics()).summary
    assert 0.02 <= summary.paused_seconds < 10
    assert summary.paused_seconds == exp.paused_seconds
    assert exp.active_seconds >= summary.active_seconds > 0
    assert exp.pause_count == 1


# -- custom metrics ---------------------------------------------------------------------------------


async def test_custom_metrics_are_in_the_summary_and_a_failing_one_is_dropped(lab):
    class Streams:
        total = 0

        def add(self, event):
            self.total += event.measurements["i"]

        def result(self):
            return self.total

    class Counts:
        def calculate(self, events):
            return len(events)

    class Fails(Streams):
        def add(self, event):
            raise ValueError("no")

    metrics = {"sum": Streams(), "count": Counts(), "bad": Fails()}
    async with lab.experiment("a", custom_metrics=metrics) as exp:
        for i in range(10):
            ct.execute_nowait("n", {"i": i})
        assert exp.live().custom == {"sum": 45, "bad": None}
        assert (await exp.metrics()).custom == {"sum": 45, "count": 10, "bad": None}
    assert exp.counts.stored == 10
    assert exp.health().errors["bad"].startswith("ValueError")
