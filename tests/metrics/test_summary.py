"""What each figure means: pools, outcomes, units, and what is None."""

import json
import math

import numpy as np
import pytest
from make import PlainReader, columns
from scipy.stats import binomtest

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.columns import ENDS, LLM, MISSING, WRAPS, Columns
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.config import MetricsConfig
from crucible_telemetry.metrics.figures import Cost, Latency, Reliability, Summary, Timing
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR
from crucible_telemetry.metrics.summary import live, wilson

READER = PlainReader()
OK, ERROR, TIMEOUT = Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT
CANCELLED, UNKNOWN = Outcome.CANCELLED, Outcome.UNKNOWN
MS, CENT = 10**6, 10**10


def shown(*parts: Columns, timing: Timing | None = None, **options: object) -> Summary:
    board = Board.empty()
    for part in parts:
        board = board.plus(part, READER)
    return live(board, READER, timing or Timing(), **options)


def test_an_empty_experiment_has_counts_of_zero_and_no_figures():
    summary = shown()
    assert summary.summary.total_events == summary.latency.count == summary.cost.count == 0
    assert summary.latency == Latency()
    assert summary.cost == Cost()
    assert summary.reliability.success_rate is None
    assert summary.reliability.success_rate_ci is None
    assert summary.reliability.mtbf is None
    assert summary.tokens.total is None
    assert summary.streaming.tokens_per_second is None
    assert summary.summary.time_range is None
    assert summary.events.counts == {}
    assert summary.pool == "all operations"


def test_latency_is_in_milliseconds_over_operations_that_succeeded():
    outcomes = [OK, OK, OK, ERROR, TIMEOUT, CANCELLED]
    times = [10 * MS, 20 * MS, 60 * MS, 1 * MS, 900 * MS, 5 * MS]
    latency = shown(columns(6, outcome=outcomes, latency_ns=times)).latency
    assert (latency.count, latency.mean, latency.min, latency.max) == (3, 30.0, 10.0, 60.0)
    assert latency.variance == 700.0
    assert latency.std_dev == math.sqrt(700.0)
    assert latency.median == latency.p50 == pytest.approx(20.0, rel=QUANTILE_ERROR)
    means = {outcome: figures.mean for outcome, figures in latency.by_outcome.items()}
    assert means == {"ok": 30.0, "error": 1.0, "timeout": 900.0, "cancelled": 5.0}


def test_one_value_has_a_mean_and_no_deviation():
    latency = shown(columns(1, latency_ns=7 * MS)).latency
    assert (latency.count, latency.mean, latency.p99_9, latency.max) == (1, 7.0, 7.0, 7.0)
    assert latency.std_dev is latency.variance is None


def test_the_pool_is_llm_operations_as_soon_as_one_was_seen():
    tools = columns(3, flags=ENDS, latency_ns=1 * MS)
    calls = columns(2, 4, flags=ENDS | LLM, latency_ns=50 * MS)
    starts = columns(4, 6, flags=LLM, outcome=0)
    alone, together = shown(tools), shown(tools, calls, starts)
    assert (alone.pool, alone.latency.mean) == ("all operations", 1.0)
    assert (together.pool, together.latency.mean) == ("llm operations", 50.0)
    assert together.reliability.total_requests == 2
    assert together.summary.total_events == 9
    assert shown(tools, starts).pool == "all operations"


def test_the_pool_can_be_chosen():
    parts = [columns(3, flags=ENDS), columns(2, 4, flags=ENDS | LLM)]
    assert shown(*parts, config=MetricsConfig(pool="all")).reliability.total_requests == 5
    assert shown(parts[0], config=MetricsConfig(pool="llm")).reliability.total_requests == 0
    assert shown(*parts, config=MetricsConfig(pool="all")).pool == "all operations"


def test_what_wraps_counted_operations_costs_nothing_again():
    calls = columns(2, cost_pico=3 * CENT, total=10)
    ensemble = columns(1, 3, flags=ENDS | WRAPS, cost_pico=6 * CENT, total=20)
    tool = columns(1, 4, flags=ENDS, cost_pico=1 * CENT)
    summary = shown(calls, ensemble, tool)
    assert (summary.cost.count, summary.cost.total, summary.tokens.total) == (3, 0.07, 20)


def test_cost_counts_failed_operations_too_and_divides_by_the_successful_ones():
    cost = shown(columns(4, outcome=[OK, OK, ERROR, CANCELLED], cost_pico=[CENT] * 4)).cost
    assert (cost.total, cost.cost_per_success) == (0.04, 0.02)
    assert (cost.mean_per_request, cost.min, cost.max) == (0.01, 0.01, 0.01)
    assert (cost.cost_per_1k_requests, cost.cost_per_1m_requests) == (10.0, 10_000.0)
    assert cost.std_dev == 0.0
    assert cost.median_per_request == 0.01
    assert shown(columns(2, outcome=ERROR, cost_pico=CENT)).cost.cost_per_success is None


def test_a_free_tool_does_not_make_a_success_of_the_pool_cheaper():
    summary = shown(columns(2, cost_pico=CENT), columns(98, 3, flags=ENDS, cost_pico=0))
    assert summary.cost.cost_per_success == 0.01


def test_calls_without_a_cost_are_unpriced_if_they_succeeded_or_used_tokens():
    outcomes = [OK, ERROR, ERROR, OK, UNKNOWN]
    costs = [MISSING, MISSING, MISSING, 0, MISSING]
    calls = columns(5, outcome=outcomes, cost_pico=costs, prompt=[-1, 9, -1, 9, 9], model=1)
    tool = columns(1, 6, flags=ENDS)
    cost = shown(calls, tool).cost
    assert (cost.count, cost.total, cost.unpriced) == (1, 0.0, 3)
    assert cost.by_model["model-1"].unpriced == 3


def test_cost_and_tokens_are_told_apart_by_model():
    part = columns(3, model=[1, 2, 1], cost_pico=[CENT, 5 * CENT, 3 * CENT], total=[1, 2, 4])
    summary = shown(part, columns(1, 4, cost_pico=CENT, total=7, prompt=5, completion=2))
    totals = {model: cost.total for model, cost in summary.cost.by_model.items()}
    assert totals == {"(unknown)": 0.01, "model-1": 0.04, "model-2": 0.05}
    assert summary.cost.by_model["model-1"].mean_per_request == 0.02
    tokens = {model: of.total for model, of in summary.tokens.by_model.items()}
    assert tokens == {"(unknown)": 7, "model-1": 5, "model-2": 2}
    assert summary.tokens.by_model["(unknown)"].total_completion == 2
    assert summary.tokens.by_model["model-1"].total_prompt is None


def test_two_providers_of_one_model_are_one_model():
    class TwoProviders(PlainReader):
        def model(self, model: int) -> tuple[str | None, str | None]:
            return f"provider-{model}", "same"

    board = Board.empty().plus(columns(2, model=[1, 2], cost_pico=CENT), READER)
    cost = live(board, TwoProviders(), Timing()).cost
    assert {name: of.count for name, of in cost.by_model.items()} == {"same": 2}


def test_tokens_are_summed_exactly_and_averaged_over_those_that_report_them():
    part = columns(3, prompt=[10, -1, 30], completion=[1, 2, -1], total=[11, -1, -1])
    tokens = shown(part, columns(1, 4), columns(1, 5, cached=4, reasoning=2)).tokens
    assert tokens.count == 4
    assert (tokens.total_prompt, tokens.mean_prompt) == (40, 20.0)
    assert (tokens.total_completion, tokens.mean_completion) == (3, 1.5)
    assert (tokens.total, tokens.mean_total) == (11, 11.0)
    assert (tokens.cached, tokens.reasoning) == (4, 2)


def test_timeouts_are_failures_and_cancelled_or_unknown_operations_are_neither():
    outcomes = [OK] * 6 + [ERROR, TIMEOUT, CANCELLED, UNKNOWN]
    errors = [0] * 6 + [1, 2, 3, 0]
    part = columns(10, outcome=outcomes, error=errors)
    reliability = shown(part, timing=Timing(active_s=100.0)).reliability
    assert (reliability.total_requests, reliability.successful) == (10, 6)
    assert (reliability.failed, reliability.timeouts, reliability.cancelled) == (2, 1, 1)
    assert (reliability.success_rate, reliability.failure_rate) == (0.75, 0.25)
    assert (reliability.mtbf, reliability.requests_per_failure) == (50.0, 5.0)
    assert reliability.error_types == {"Error1": 1, "Error2": 1, "Error3": 1}
    assert reliability.sla_99 is reliability.sla_999 is reliability.sla_9999 is False


@pytest.mark.parametrize(
    ("failures", "flags"),
    [(0, (True, True, True)), (1, (True, True, False)), (10, (True, False, False))],
)
def test_sla_flags_judge_the_point_estimate(failures, flags):
    outcomes = [ERROR] * failures + [OK] * (1000 - failures)
    reliability = shown(columns(1000, outcome=outcomes)).reliability
    assert (reliability.sla_99, reliability.sla_999, reliability.sla_9999) == flags
    assert (reliability.mtbf is None) == (failures == 0)


@pytest.mark.parametrize("successes", [0, 1, 7, 19, 20])
def test_the_interval_of_the_success_rate_is_wilsons(successes):
    expected = binomtest(successes, 20).proportion_ci(0.95, method="wilson")
    assert wilson(successes, 20) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_streaming_is_of_successful_operations():
    part = columns(
        3,
        outcome=[OK, OK, ERROR],
        ttft_ns=[100 * MS, 300 * MS, 1],
        itl_ns=[10 * MS, 30 * MS, 1],
        completion=[50, 70, 1000],
        latency_ns=[1000 * MS, 2000 * MS, 1],
    )
    without_tokens = columns(1, 4, latency_ns=9000 * MS)
    streaming = shown(part, without_tokens).streaming
    assert (streaming.ttft.mean, streaming.itl.mean) == (200.0, 20.0)
    assert (streaming.ttft.count, streaming.ttft.by_outcome) == (2, {})
    assert streaming.tokens_per_second == 40.0


def test_a_stream_whose_usage_is_unknown_has_the_pace_of_its_marked_chunks_and_no_tokens():
    reported = columns(1, completion=50, streamed=9, latency_ns=1000 * MS)
    mixed = columns(2, 2, completion=[-1, 30], streamed=[20, -1], latency_ns=1000 * MS)
    marked = columns(1, 4, streamed=60, latency_ns=1000 * MS)
    for parts, pace in (((reported,), 50), ((mixed,), 25), ((marked,), 60)):
        assert shown(*parts).streaming.tokens_per_second == pace
    summary = shown(reported, mixed, marked)
    assert summary.streaming.tokens_per_second == 40.0
    assert (summary.tokens.total_completion, summary.tokens.count) == (80, 2)


def test_events_are_counted_by_name_the_most_frequent_first():
    summary = shown(columns(5, shape=[2, 1, 2, 3, 3], flags=0, outcome=0))
    assert list(summary.events.counts.items()) == [("event.2", 2), ("event.3", 2), ("event.1", 1)]
    assert summary.events.by_event == {}
    assert summary.summary.event_types == ("event.1", "event.2", "event.3")
    assert summary.reliability.total_requests == 0


def test_each_event_name_can_have_its_own_figures():
    part = columns(
        3, shape=[1, 1, 2], flags=[ENDS | LLM] * 2 + [ENDS], latency_ns=[MS, 3 * MS, 8 * MS]
    )
    by_event = shown(part, by_event=True).events.by_event
    assert {name: of.latency.mean for name, of in by_event.items()} == {
        "event.1": 2.0,
        "event.2": 8.0,
    }
    assert by_event["event.2"].pool == "all operations"


def test_times_come_from_the_timing_given():
    timing = Timing(
        first_us=1_000_000, last_us=3_500_000, active_s=2.0, paused_s=0.5, marks={"a": 1}
    )
    overview = shown(columns(1), timing=timing).summary
    assert (overview.time_range, overview.duration_seconds) == ((1_000_000, 3_500_000), 2.5)
    assert (overview.active_seconds, overview.paused_seconds) == (2.0, 0.5)
    assert overview.marks == {"a": 1}


def test_a_summary_says_how_exact_it_is_and_becomes_plain_json():
    summary = shown(columns(4, 11, latency_ns=MS, error=1), custom={"f1": 0.5})
    assert (summary.exact, summary.quantile_error) == (False, QUANTILE_ERROR)
    assert (summary.upto_seq, summary.since_seq) == (14, 0)
    plain = json.loads(json.dumps(summary.to_dict()))
    assert plain["custom"] == {"f1": 0.5}
    assert plain["latency"]["by_outcome"]["ok"]["count"] == 4
    names = "count mean median min max p25 p50 p75 p90 p95 p99 p99_9 std_dev variance by_outcome"
    assert " ".join(plain["latency"]) == names


def test_live_quantiles_of_many_cells_are_within_the_stated_error():
    chance = np.random.default_rng(3)
    times = chance.lognormal(18, 1, 6000).astype(np.int64)
    part = columns(6000, shape=chance.integers(1, 41, 6000), latency_ns=times)
    latency = shown(part).latency
    for name, q in {"p25": 0.25, "p50": 0.5, "p99": 0.99, "p99_9": 0.999}.items():
        exact = np.quantile(times, q) / MS
        assert getattr(latency, name) == pytest.approx(exact, rel=QUANTILE_ERROR)


PARTS = {
    "summary": "total_events time_range duration_seconds active_seconds paused_seconds event_types",
    "latency": "count mean median min max p25 p50 p75 p90 p95 p99 p99_9 std_dev variance by_outcome",
    "cost": "count total mean_per_request median_per_request min max std_dev cost_per_1k_requests "
    "cost_per_1m_requests by_model cost_per_success unpriced",
    "reliability": "total_requests successful failed cancelled timeouts success_rate success_rate_ci "
    "failure_rate error_types mtbf requests_per_failure sla_99 sla_999 sla_9999",
    "tokens": "count total_prompt total_completion total mean_prompt mean_completion mean_total cached "
    "reasoning by_model",
    "streaming": "ttft itl tokens_per_second",
    "events": "counts by_event",
}


@pytest.mark.parametrize("part", PARTS)
def test_every_figure_that_is_promised_is_there_by_its_name(part):
    promised = set(PARTS[part].split())
    summary = shown(columns(3, latency_ns=5, cost_pico=7, prompt=1, completion=2), by_event=True)
    assert promised <= set(getattr(summary, part).__struct_fields__)
    if part not in ("summary", "events"):  # the same figures for each name
        (figures,) = summary.events.by_event.values()
        assert promised <= set(getattr(figures, part).__struct_fields__)
        assert getattr(figures, part) == getattr(summary, part)
    assert promised <= set(summary.to_dict()[part])


@pytest.mark.parametrize(
    ("ok", "failed", "expected"),
    [(100, 0, "undecided"), (1000, 0, "met"), (900, 100, "missed"), (0, 0, "undecided")],
)
def test_a_verdict_on_a_claim_is_by_the_interval_and_not_by_the_point(ok, failed, expected):
    n = ok + failed
    interval = wilson(ok, n) if n else None
    reliability = Reliability(total_requests=n, success_rate_ci=interval)
    assert reliability.verdict(0.99) == reliability.sla_99_verdict == expected
    with pytest.raises(ConfigurationError, match="at_least"):
        reliability.verdict(99)
