"""Metrics at rest: exact quantiles, everything else as the live board has it."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, strategies as st
from make import PlainReader, columns

from crucible_telemetry.events.columns import ENDS, LLM, MISSING, WRAPS, Columns
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Timing
from crucible_telemetry.metrics.rest import at_rest
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR
from crucible_telemetry.metrics.summary import live

READER = PlainReader()
TIMING = Timing(first_us=1, last_us=2, active_s=60.0)
QUANTILES = {"p25", "p50", "p75", "p90", "p95", "p99", "p99_9", "median", "median_per_request"}


@st.composite
def parts_of_a_run(draw: st.DrawFn) -> list[Columns]:
    """One to six consecutive parts, sizes 0 to 400, all columns that figures are made of."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    largest = draw(st.sampled_from([1, 10**9, 10**12, 2**63 - 1]))
    parts, first = [], 1
    for n in draw(st.lists(st.sampled_from([0, 1, 2, 3, 60, 400]), min_size=1, max_size=6)):
        times = chance.integers(0, largest, n, endpoint=True)
        parts.append(
            columns(
                n,
                first,
                shape=chance.integers(1, 4, n),
                flags=chance.choice([0, ENDS, ENDS | LLM, ENDS | WRAPS], n),
                outcome=chance.integers(0, 6, n),
                model=chance.integers(0, 3, n),
                error=chance.integers(0, 3, n),
                latency_ns=np.where(chance.random(n) < 0.1, MISSING, times),
                cost_pico=np.where(chance.random(n) < 0.3, MISSING, times),
                completion=chance.integers(-1, 1000, n),
                ttft_ns=times // 3 if draw(st.booleans()) else None,
            )
        )
        first += n
    return parts


def without(figures: Any, names: set[str]) -> Any:
    """Nested figures, the named ones left out."""
    if not isinstance(figures, dict):
        return figures
    return {k: without(v, names) for k, v in figures.items() if k not in names}


@given(parts_of_a_run())
def test_f25_live_and_at_rest_differ_in_quantiles_only(parts):
    board = Board.empty()
    for part in parts:
        board = board.plus(part, READER)
    running = live(board, READER, TIMING, by_event=True).to_dict()
    rested = at_rest(parts, READER, TIMING, by_event=True).to_dict()
    left_out = QUANTILES | {"exact", "quantile_error"}
    assert without(running, left_out) == without(rested, left_out)
    assert (rested["exact"], rested["quantile_error"]) == (True, 0.0)


@given(parts_of_a_run())
def test_f25_at_rest_does_not_depend_on_how_the_rows_are_cut(parts):
    whole = at_rest([Columns.joined(parts)], READER, TIMING)
    assert at_rest(parts, READER, TIMING) == whole
    assert at_rest(parts[::-1], READER, TIMING) == whole


@pytest.mark.parametrize("n", [1, 2, 3, 4, 999, 20_000])
def test_quantiles_at_rest_are_type_7_and_live_ones_within_the_stated_error(n):
    times = np.random.default_rng(n).lognormal(18, 2, n).astype(np.int64)
    part = columns(n, latency_ns=times, cost_pico=times)
    rested = at_rest([part], READER, TIMING)
    running = live(Board.empty().plus(part, READER), READER, TIMING)
    fractions = {"p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
    for name, q in {**fractions, "p99_9": 0.999, "median": 0.5}.items():
        exact = np.quantile(times, q) / 1e6
        assert getattr(rested.latency, name) == pytest.approx(exact, rel=1e-12)
        assert getattr(running.latency, name) == pytest.approx(exact, rel=QUANTILE_ERROR)
    exact = np.median(times) / 1e12
    assert rested.cost.median_per_request == pytest.approx(exact, rel=1e-12)


def test_means_and_deviations_agree_with_numpy():
    times = np.random.default_rng(1).lognormal(18, 1, 10_000).astype(np.int64)
    latency = at_rest([columns(10_000, latency_ns=times)], READER, TIMING).latency
    assert latency.mean == pytest.approx(times.mean() / 1e6, rel=1e-12)
    assert latency.std_dev == pytest.approx(times.std(ddof=1) / 1e6, rel=1e-12)
    assert latency.variance == pytest.approx(times.var(ddof=1) / 1e12, rel=1e-12)


def test_nothing_stored_gives_an_empty_summary():
    rested = at_rest([], READER, Timing())
    assert (rested.summary.total_events, rested.upto_seq, rested.since_seq) == (0, 0, 0)
    assert rested.latency.p50 is None


def test_at_rest_knows_which_events_it_covers():
    rested = at_rest([columns(5, 11), columns(3, 16)], READER, Timing(), custom={"a": 1})
    assert (rested.since_seq, rested.upto_seq, rested.custom) == (10, 18, {"a": 1})


def test_a_summary_survives_the_wire():
    rested = at_rest([columns(5, latency_ns=5)], READER, TIMING)
    back = msgspec.json.decode(msgspec.json.encode(rested), type=type(rested))
    assert back == rested
