"""Quantiles: order statistics against the binomial itself, infinities, differences."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import needed_n, quantile_difference, quantile_interval
from crucible_telemetry.stats.quantiles import quantile, ranks

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("side", ["two-sided", "less", "greater"])
@pytest.mark.parametrize(("n", "q"), [(10, 0.5), (57, 0.25), (400, 0.99), (1000, 0.9), (5, 0.5)])
def test_limits_agree_with_scipys_quantile_test(n, q, side):
    values = RNG.lognormal(size=n)
    result = quantile_interval(values, q, alternative=side)
    # SciPy names the direction of the quantile under test; its one-sided intervals lie the other way.
    turned = {"less": "greater", "greater": "less"}.get(side, side)
    expected = scipy_stats.quantile_test(values, p=q, alternative=turned).confidence_interval(0.95)
    ours = [limit if math.isfinite(limit) else math.nan for limit in result.interval]
    theirs = [float(limit) if math.isfinite(limit) else math.nan for limit in expected]
    if side != "two-sided":
        theirs = [float(limit) for limit in _one_sided(values, q, side)]
        ours = list(result.interval)
    assert ours == pytest.approx(theirs, nan_ok=True)


def _one_sided(values, q, side):
    """From the binomial, by search: the tightest order statistic that misses with at most 5 %."""
    ordered, law = np.sort(values), scipy_stats.binom(len(values), q)
    if side == "greater":
        good = [r for r in range(1, len(ordered) + 1) if law.cdf(r - 1) <= 0.05]
        return (ordered[max(good) - 1] if good else -math.inf), math.inf
    good = [s for s in range(1, len(ordered) + 1) if law.sf(s - 1) <= 0.05]
    return -math.inf, (ordered[min(good) - 1] if good else math.inf)


@given(n=st.integers(1, 600), q=st.floats(0.005, 0.995), tail=st.floats(1e-6, 0.49))
def test_the_ranks_are_the_innermost_that_miss_with_at_most_the_tail(n, q, tail):
    low, high = ranks(n, q, tail)
    law = scipy_stats.binom(n, q)
    assert law.cdf(low - 1) <= tail * (1 + 1e-9)
    assert law.cdf(low) > tail * (1 - 1e-9)
    assert law.sf(high - 1) <= tail * (1 + 1e-9)
    assert law.sf(high - 2) > tail * (1 - 1e-9)


def test_p99_has_a_two_sided_interval_from_368_values_on():
    assert needed_n(0.99) == 368
    short = quantile_interval(RNG.normal(size=367), 0.99)
    assert short.interval[1] == math.inf
    assert "needs n = 368, has 367" in short.notes[0]
    enough = quantile_interval(RNG.normal(size=368), 0.99)
    assert math.isfinite(enough.interval[1])
    assert enough.notes == ()


@pytest.mark.parametrize(
    ("q", "side", "expected"),
    [(0.5, "two-sided", 6), (0.95, "two-sided", 72), (0.99, "less", 299), (0.01, "greater", 299)],
)
def test_needed_n_is_where_one_fewer_would_not_do(q, side, expected):
    assert needed_n(q, 0.95, side) == expected
    for n, finite in ((expected, True), (expected - 1, False)):
        result = quantile_interval(np.arange(n), q, alternative=side)
        shown = {"less": result.interval[1:], "greater": result.interval[:1]}.get(
            side, result.interval
        )
        assert all(map(math.isfinite, shown)) is finite


def test_failures_are_infinitely_late():
    times = np.concatenate([RNG.exponential(size=990), np.full(10, math.inf)])
    assert math.isfinite(quantile(np.sort(times), 0.99))  # exactly 1 % failed
    times[0] = math.inf  # more than 1 %
    result = quantile_interval(times, 0.99)
    assert result.estimate == math.inf
    assert math.isfinite(result.interval[0])
    assert result.interval[1] == math.inf
    assert result.notes == ()  # infinite because of failures, not for lack of data


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_the_estimate_is_numpys(values, q):
    assert quantile(np.sort(values), q) == pytest.approx(np.quantile(values, q), abs=1e-9)


def test_a_difference_lies_between_its_limits_and_turns_its_sign():
    control, treatment = RNG.lognormal(size=500), 1.4 * RNG.lognormal(size=700)
    there = quantile_difference(control, treatment, 0.9)
    back = quantile_difference(treatment, control, 0.9)
    assert there.interval[0] < there.estimate < there.interval[1]
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.p_value == pytest.approx(back.p_value)


@pytest.mark.parametrize("shift", [0.1, 0.35, 0.6])
def test_the_p_value_turns_the_interval(shift):
    rng = np.random.default_rng(9)
    control, treatment = rng.normal(size=300), rng.normal(size=300) + shift
    p_value = quantile_difference(control, treatment, 0.5).p_value
    for confidence, holds in ((1 - p_value * 0.98, True), (1 - p_value * 1.02, False)):
        low, high = quantile_difference(control, treatment, 0.5, confidence=confidence).interval
        assert (low <= 0 <= high) is holds
    greater = quantile_difference(control, treatment, 0.5, alternative="greater").p_value
    less = quantile_difference(control, treatment, 0.5, alternative="less").p_value
    assert greater + less == pytest.approx(1)


def test_infinite_quantiles_compare_as_far_as_they_can():
    finite, failing = RNG.exponential(size=500), RNG.exponential(size=500)
    failing[:12] = math.inf
    result = quantile_difference(finite, failing, 0.99)
    assert result.estimate == math.inf
    assert result.interval[1] == math.inf
    both = quantile_difference(failing, failing, 0.99)
    assert math.isnan(both.estimate)
    assert both.interval == (-math.inf, math.inf)
    assert both.p_value == 1.0
    failing[:80] = math.inf
    surely = quantile_difference(finite, failing, 0.99)
    assert surely.interval == (math.inf, math.inf) or surely.interval[0] > 0


def test_values_without_spread_differ_exactly_or_not_at_all():
    same = quantile_difference([1.0] * 20, [1.0] * 20, 0.5)
    assert (same.estimate, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    apart = quantile_difference([1.0] * 20, [2.0] * 20, 0.5)
    assert (apart.estimate, apart.interval) == (1.0, (1.0, 1.0))
    assert apart.p_value < 1e-4


def test_nothing_has_no_quantile_and_what_is_none_is_refused():
    assert quantile_interval([], 0.5).notes == ("no values",)
    assert quantile_difference([], [1.0], 0.5).notes == ("an arm has no values",)
    with pytest.raises(ConfigurationError, match="q: 99 is not between 0 and 1"):
        quantile_interval([1.0], 99)


def test_two_arms_of_a_million_take_less_than_a_second():
    import time

    control, treatment = RNG.lognormal(size=(2, 10**6))
    from crucible_telemetry.stats import welch_t

    started = time.perf_counter()
    welch_t(control, treatment)
    quantile_difference(control, treatment, 0.99)
    assert time.perf_counter() - started < 1.0
