"""The demo: what it replays, at which pace, and what it says about it."""

import io
import itertools
import math

import msgspec
import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from crucible_telemetry.collect.progress import Counts
from crucible_telemetry.demo import figures, replay, run, screen, traces
from crucible_telemetry.errors import ExportError
from crucible_telemetry.metrics.figures import (
    Cost,
    Events,
    Latency,
    Overview,
    Reliability,
    Streaming,
    Summary,
    Tokens,
)
from crucible_telemetry.stats import Moments, welch_t


def call(**given):
    recorded = {
        "ttft_s": 0.5,
        "end_to_end_latency_s": 2.5,
        "number_input_tokens": 550,
        "number_output_tokens": 151,
    }
    return traces.Call(**{**recorded, **given})


def summary(latency=None, ttft=None):
    return Summary(
        summary=Overview(total_events=4),
        latency=latency or Latency(),
        cost=Cost(),
        reliability=Reliability(total_requests=2, successful=2, success_rate=1.0),
        tokens=Tokens(total_completion=302),
        streaming=Streaming(ttft=ttft or Latency()),
        events=Events(),
        custom={},
        pool="llm operations",
        billed="operations that wrap no counted one",
        upto_seq=4,
        since_seq=0,
        exact=True,
        quantile_error=0.0,
    )


def on_virtual_time(work):
    return trio.run(work, clock=MockClock(autojump_threshold=0))


def test_the_shipped_traces_give_the_means_their_publishers_report():
    for trace in traces.shipped():
        latencies = [made.end_to_end_latency_s for made in trace.calls]
        first = [made.ttft_s for made in trace.calls]
        assert len(trace.calls) == 150
        assert trace.published.concurrency == 5
        assert trace.published.mean_s == pytest.approx(math.fsum(latencies) / 150)
        assert trace.published.ttft_mean_s == pytest.approx(math.fsum(first) / 150)


@pytest.mark.parametrize("speed", [1, 6, 20, 1000])
def test_every_token_is_replayed_between_the_first_and_the_end(speed):
    chunks = list(replay.chunk_times(call(), speed))
    times = [offset for offset, _ in chunks]
    assert sum(tokens for _, tokens in chunks) == 151
    assert (0.5 / speed, 1) == chunks[0]
    assert 2.5 / speed == pytest.approx(times[-1])
    assert sorted(set(times)) == times


def test_tokens_travel_together_where_the_loop_could_not_keep_up():
    one_by_one = list(replay.chunk_times(call(), 1))
    compressed = list(replay.chunk_times(call(), 20))
    assert {1} == {tokens for _, tokens in one_by_one}
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(compressed)]
    assert min(gaps) + 1e-12 >= replay.MIN_GAP_S
    assert len(compressed) == 26


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_call_of_hardly_any_token_is_replayed_too(tokens):
    chunks = list(replay.chunk_times(call(number_output_tokens=tokens), 6))
    assert [1] * tokens == [count for _, count in chunks]


class Heard:
    """Stands in for the span: notes when each chunk came."""

    def __init__(self):
        self.chunks = []

    def chunk(self, tokens):
        self.chunks.append((trio.current_time(), tokens))


def test_chunks_are_marked_exactly_when_they_are_due():
    heard = Heard()

    async def work():
        start = trio.current_time()
        await replay.stream(call(), heard, 4)
        return start, trio.current_time()

    start, end = on_virtual_time(work)
    assert pytest.approx(end - start) == 0.625
    due = [start + offset for offset, _ in replay.chunk_times(call(), 4)]
    assert due == pytest.approx([at for at, _ in heard.chunks])


def test_a_failure_in_the_trace_is_raised_when_the_recorded_call_ended():
    heard = Heard()

    async def work():
        start = trio.current_time()
        with pytest.raises(replay.ReplayedFailure, match="overloaded"):
            await replay.stream(call(error_code=503, error_msg="overloaded"), heard, 5)
        return trio.current_time() - start

    assert pytest.approx(on_virtual_time(work)) == 0.5
    assert heard.chunks == []


def test_a_seed_shuffles_the_calls_the_same_way_each_time():
    trace = traces.shipped()[0]
    assert list(range(150)) == run.shuffled(trace, None)
    assert run.shuffled(trace, 1) == run.shuffled(trace, 1) != run.shuffled(trace, 2)
    assert list(range(150)) == sorted(run.shuffled(trace, 1))


def test_figures_are_in_the_seconds_of_the_trace():
    measured = summary(Latency(count=2, mean=400.0, p50=390.0, variance=25.0), Latency(p50=40.0))
    shown = figures.figures(measured, 6)
    assert pytest.approx((shown.mean_s, shown.p50_s, shown.ttft_p50_s)) == (2.4, 2.34, 0.24)
    assert shown.p99_s is None
    assert Moments(2, 2.4, 25.0 * 36 / 1e6) == figures.moments(measured, 6)


def test_an_experiment_without_a_call_has_no_figures_and_no_interval():
    empty = summary()
    assert figures.figures(empty, 6).mean_s is None
    result = welch_t(figures.moments(empty, 6), figures.moments(empty, 6))
    assert "no interval: needs two values" in screen.difference(result, 0.1)


def test_the_law_is_written_out_and_a_lost_event_shows():
    assert figures.law(Counts(emitted=9, stored=7, late=2)) == (
        True,
        "9 emitted = 7 stored + 2 late",
    )
    assert figures.law(Counts(emitted=9, stored=8)) == (False, "9 emitted ≠ 8 stored")


def test_the_error_of_the_replay_stands_beside_the_published_figure():
    trace = traces.shipped()[0]
    shown = figures.figures(summary(Latency(count=2, mean=trace.published.mean_s * 1e3 / 6)), 6)
    first, second, *_ = figures.reproduced(shown, trace)
    assert pytest.approx(first.error) == 0.0
    assert second.error is None


def printed(renderable):
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return console.file.getvalue()


def test_the_live_table_has_a_column_for_each_experiment():
    shown = figures.figures(summary(Latency(count=2, p50=400.0)), 6)
    text = printed(screen.live_table({"one": shown, "two": shown}, 150, "live"))
    assert "one" in text
    assert "two" in text
    assert text.count("2.400 s") == 2
    assert text.count("2 of 150") == 2


def test_the_difference_is_a_sentence_with_its_interval():
    result = welch_t(Moments(150, 2.35, 0.2), Moments(150, 2.49, 0.15))
    sentence = screen.difference(result, 0.136)
    assert "treatment − control: +0.140 s, 95% interval +0.045 to +0.235 s" in sentence
    assert "published +0.136 s" in sentence


def tiny(name, provider, *calls):
    published = msgspec.structs.replace(traces.shipped()[0].published, concurrency=2)
    return traces.Trace(
        name=name, provider=provider, model=f"model-{name}", calls=calls, published=published
    )


async def demonstrated(out, *, console):
    pair = (
        tiny("control", "one", *[call()] * 3),
        tiny("treatment", "other", *[call(ttft_s=0.9)] * 3, call(error_code=503, error_msg="busy")),
    )
    return await run.demo(pair, speed=4.0, out=out, seed=1, console=console)


@pytest.mark.virtual_time
@pytest.mark.asyncio
async def test_the_whole_demo_accounts_for_every_event_and_keeps_the_arms_apart(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    assert await demonstrated(tmp_path / "new" / "out", console=console)
    written = {
        path.stem: [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        for path in (tmp_path / "new" / "out").iterdir()
    }
    scored = {name: written.pop(f"{name}.trials") for name in ("control", "treatment")}
    for trials in scored.values():
        assert any("full_length" in trial.get("scores", {}) for trial in trials)
    providers = {
        name: {event["provider"] for event in events if event["provider"]}
        for name, events in written.items()
    }
    assert providers == {"control": {"one"}, "treatment": {"other"}}
    text = console.file.getvalue()
    for name, events in written.items():
        assert f"{name}: {len(events)} emitted = {len(events)} stored" in text
        assert str(tmp_path / "new" / "out" / f"{name}.jsonl") in text


@pytest.mark.virtual_time
@pytest.mark.asyncio
async def test_a_call_that_failed_in_the_trace_is_a_failure_of_its_arm_alone(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    assert await demonstrated(tmp_path, console=console)
    rates = [
        line for line in console.file.getvalue().splitlines() if line.startswith("│ success rate")
    ]
    assert "100.0%" in rates[0]
    assert "75.0%" in rates[1]


@pytest.mark.virtual_time
@pytest.mark.asyncio
async def test_a_terminal_gets_one_table_that_changes(tmp_path):
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    assert await demonstrated(tmp_path, console=console)
    assert "live at 4×" in console.file.getvalue()
    assert "4 of 4" in console.file.getvalue()


@pytest.mark.asyncio
async def test_a_directory_that_cannot_be_made_is_said_before_anything_is_replayed(tmp_path):
    (tmp_path / "file").touch()
    console = Console(file=io.StringIO())
    with pytest.raises(ExportError, match="file"):
        await demonstrated(tmp_path / "file", console=console)
    assert console.file.getvalue() == ""
