"""Windows against counting by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from make import columns

from crucible_telemetry.analysis import windows
from crucible_telemetry.analysis.windows import MAX_WINDOWS, WindowRow, windowed
from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.columns import ENDS, LLM, MISSING, WRAPS
from crucible_telemetry.events.event import Outcome

T0 = 1_700_000_000_000_000
MS = 10**6
HOUR_US = 3_600_000_000
TEN_YEARS_US = 10 * 365 * 24 * HOUR_US


def rows(*offsets, **given):
    return columns(len(offsets), timestamp_us=[T0 + offset for offset in offsets], **given)


def spans(found):
    return [(row.window_start - T0, row.window_end - T0, row.event_count) for row in found]


def test_no_events_make_no_windows():
    assert windowed([], 10, 10) == []
    assert windowed([columns(0)], 10, 10) == []


def test_windows_are_half_open_and_begin_at_the_first_event():
    assert spans(windowed([rows(3, 12, 13, 22)], 10, 10)) == [(3, 13, 2), (13, 23, 2)]


def test_empty_windows_are_left_out():
    assert spans(windowed([rows(0, 5, 35)], 10, 10)) == [(0, 10, 2), (30, 40, 1)]


def test_a_window_longer_than_the_data_is_one_window():
    assert spans(windowed([rows(0, 5, 9)], 1000, 1)) == [(0, 1000, 3)]
    assert spans(windowed([rows(7)], 1, 1)) == [(7, 8, 1)]


def test_windows_stop_when_one_covers_the_last_event():
    found = spans(windowed([rows(0, 5, 12)], 10, 5))
    assert found == [(0, 10, 2), (5, 15, 2)]


def test_a_step_longer_than_the_window_leaves_events_between_out():
    assert spans(windowed([rows(0, 7, 10, 29)], 5, 10)) == [(0, 5, 1), (10, 15, 1)]


def test_a_row_says_all_figures_in_their_units():
    part = rows(
        0, 1, 2, 3, 4,
        outcome=[Outcome.OK, Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.CANCELLED],
        latency_ns=[10 * MS, 20 * MS, 999 * MS, 999 * MS, 999 * MS],
        cost_pico=[10**12, 5 * 10**11, MISSING, 25 * 10**10, MISSING],
    )  # fmt: skip
    assert windowed([part], 10_000_000, 10_000_000) == [
        WindowRow(
            window_start=T0,
            window_end=T0 + 10_000_000,
            event_count=5,
            mean_latency=15.0,
            p50=15.0,
            p95=19.5,
            p99=19.9,
            total_cost=1.75,
            success_count=2,
            failure_count=2,
            active_seconds=10.0,
        )
    ]


def test_what_was_not_measured_is_none_and_not_zero():
    (row,) = windowed([rows(0, 1)], 10, 10)
    assert (row.mean_latency, row.p50, row.p99, row.total_cost) == (None, None, None, None)
    assert row.success_count == 2


def test_the_pool_is_the_calls_to_models_where_there_are_any():
    part = rows(
        0, 1, 2, 3, flags=[ENDS | LLM, ENDS, 0, LLM], latency_ns=[MS, 5 * MS, 9 * MS, 9 * MS]
    )
    (row,) = windowed([part], 10, 10)
    assert (row.event_count, row.success_count, row.mean_latency) == (4, 1, 1.0)


def test_the_pool_is_all_ends_where_no_model_was_called():
    part = rows(0, 1, 2, flags=[ENDS, ENDS, 0], latency_ns=[MS, 5 * MS, 9 * MS])
    (row,) = windowed([part], 10, 10)
    assert (row.success_count, row.mean_latency) == (2, 3.0)


def test_the_pool_is_that_of_the_whole_data_and_not_of_each_window():
    part = rows(0, 100, flags=[ENDS | LLM, ENDS])
    assert [row.success_count for row in windowed([part], 10, 10)] == [1, 0]


def test_costs_of_operations_that_wrap_others_are_not_counted_twice():
    part = rows(
        0, 1, 2, flags=[ENDS | WRAPS, ENDS | LLM, ENDS], cost_pico=[3 * 10**12, 10**12, 2 * 10**12]
    )
    (row,) = windowed([part], 10, 10)
    assert row.total_cost == 3.0


def test_sums_beyond_64_bits_stay_exact():
    part = rows(0, 1, 2, cost_pico=[2**63 - 1] * 3, latency_ns=[2**63 - 1] * 3)
    (row,) = windowed([part], 10, 10)
    assert row.total_cost == 3 * (2**63 - 1) / 10**12
    assert row.mean_latency == (2**63 - 1) / 10**6


def test_parts_of_any_order_give_the_same_windows():
    offsets = [(i * 37) % 101 for i in range(60)]
    latency = [i * MS for i in range(60)]
    whole = rows(*offsets, latency_ns=latency)
    halves = [
        rows(*offsets[30:], latency_ns=latency[30:]),
        rows(*offsets[:30], latency_ns=latency[:30]),
    ]
    assert windowed([whole], 20, 5) == windowed(halves, 20, 5)


def test_a_part_without_a_column_stands_beside_one_that_has_it():
    found = windowed([rows(0, 1), rows(2, 3, latency_ns=[MS, MISSING])], 10, 10)
    assert [(row.event_count, row.mean_latency) for row in found] == [(4, 1.0)]


def test_paused_time_is_no_active_time():
    pauses = [(T0 - 5_000_000, T0 + 1_000_000), (T0 + 4_000_000, T0 + 99_000_000)]
    found = windowed([rows(0, 15_000_000)], 10_000_000, 10_000_000, pauses)
    assert [row.active_seconds for row in found] == [3.0, 0.0]


@pytest.mark.parametrize(
    ("size", "step", "argument"),
    [(0, 1, "size"), (1, 0, "step"), (-5, 5, "size"), (1, 1.5, "step")],
)
def test_a_size_or_step_below_a_microsecond_is_refused(size, step, argument):
    with pytest.raises(QueryError) as refused:
        windowed([rows(0)], size, step)
    assert refused.value.argument == argument


def test_more_windows_than_anyone_reads_are_refused_before_they_are_made():
    with pytest.raises(QueryError, match="step: 1 µs makes"):
        windowed([rows(0, MAX_WINDOWS * 2, MAX_WINDOWS * 4)], MAX_WINDOWS + 1, 1)


def test_times_too_far_apart_for_arithmetic_are_refused():
    part = columns(2, timestamp_us=[-(2**62), 2**62])
    with pytest.raises(QueryError, match="146,000 years"):
        windowed([part], 10, 10)


def test_f10_a_clock_that_steps_back_or_ten_years_ahead_loses_and_doubles_no_event():
    offsets = [0, 1, HOUR_US, -HOUR_US, -HOUR_US + 5, TEN_YEARS_US, TEN_YEARS_US + 1, 2]
    found = windowed([rows(*offsets)], 60_000_000, 60_000_000)
    assert sum(row.event_count for row in found) == len(offsets)
    assert sum(row.success_count for row in found) == len(offsets)
    assert all(a.window_end <= b.window_start for a, b in pairwise(found))
    assert len(found) == 4


@given(st.data())
def test_values_in_overlapping_slices_are_ranked_as_sorting_each_does(data):
    whole = st.integers(-(2**63), 2**63 - 1)
    values = data.draw(st.lists(st.one_of(st.integers(0, 5), whole), min_size=1, max_size=40))
    ends = st.tuples(st.integers(0, len(values)), st.integers(0, len(values))).map(sorted)
    slices = data.draw(st.lists(ends, min_size=1, max_size=20))
    a, b = np.array(slices).T
    share = data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=3))
    ranks = (np.maximum(b - a - 1, 0)[:, None] * np.array(share)).astype(np.int64)
    found = windows._nth_by_bits(np.array(values), a, b, ranks)
    for low, high, rank, nth in zip(a, b, ranks, found, strict=True):
        assert (
            nth.tolist() == (np.sort(values[low:high])[rank] if high > low else rank * 0).tolist()
        )


def test_windows_that_overlap_a_lot_have_the_same_quantiles():
    latency = [(i * 7919) % 1000 * MS for i in range(300)]
    part = rows(*range(300), latency_ns=latency)
    found = windowed([part], 200, 1)
    assert len(found) == 101
    for at, row in enumerate(found):
        expected = np.quantile(latency[at : at + 200], (0.5, 0.95, 0.99)) / MS
        assert [row.p50, row.p95, row.p99] == expected.tolist()


events = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.sampled_from([0, ENDS, ENDS | LLM, ENDS | WRAPS, ENDS | LLM | WRAPS]),
        st.integers(0, 5),
        st.one_of(st.just(MISSING), st.integers(0, 50 * MS)),
        st.one_of(st.just(MISSING), st.integers(-(2**62), 2**62)),
    ),
    min_size=1,
    max_size=40,
)


def by_hand(found, size, step):
    first, last = min(e[0] for e in found), max(e[0] for e in found)
    calls = any(e[1] & ENDS and e[1] & LLM for e in found)
    start, made = first, []
    while start <= last:
        inside = [e for e in found if start <= e[0] < start + size]
        if inside:
            made.append(figures(inside, calls, start, size))
        if start + size > last:
            break
        start += step
    return made


def figures(inside, calls, start, size):
    pool = [e for e in inside if e[1] & ENDS and (not calls or e[1] & LLM)]
    ok = [e[3] for e in pool if e[2] == Outcome.OK and e[3] >= 0]
    costs = [e[4] for e in inside if e[1] & ENDS and not e[1] & WRAPS and e[4] >= 0]
    p50, p95, p99 = (np.quantile(ok, (0.5, 0.95, 0.99)) / MS).tolist() if ok else (None,) * 3
    return WindowRow(
        window_start=T0 + start,
        window_end=T0 + start + size,
        event_count=len(inside),
        mean_latency=sum(ok) / (len(ok) * MS) if ok else None,
        p50=p50,
        p95=p95,
        p99=p99,
        total_cost=sum(costs) / 10**12 if costs else None,
        success_count=sum(e[2] == Outcome.OK for e in pool),
        failure_count=sum(e[2] in (Outcome.ERROR, Outcome.TIMEOUT) for e in pool),
        active_seconds=size / 10**6,
    )


@settings(max_examples=300)
@given(events, st.integers(1, 80), st.integers(1, 80), st.integers(1, 5))
def test_windows_are_what_counting_by_hand_gives(found, size, step, parts):
    cut = [found[i::parts] for i in range(parts)]
    made = [
        rows(
            *[e[0] for e in part],
            flags=[e[1] for e in part],
            outcome=[e[2] for e in part],
            latency_ns=[e[3] for e in part],
            cost_pico=[e[4] for e in part],
        )
        for part in cut
        if part
    ]
    assert windowed(made, size, step) == by_hand(found, size, step)
