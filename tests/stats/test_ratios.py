"""Ratios of sums: Fieller and the delta method."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import ratio, ratio_difference, welch_t

RNG = np.random.default_rng(2)
COST, SUCCESSES = RNG.gamma(2, 1, 40), RNG.binomial(3, 0.6, 40).astype(float)


def with_moments(n, mean_error, other):
    """Uncorrelated samples of n with given means and standard errors of the mean."""
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n), np.arange(n) ** 2.0]))[0]
    columns = []
    for (mean, error), direction in zip((mean_error, other), basis[:, 1:].T, strict=True):
        columns.append(mean + direction * error * math.sqrt(n) * math.sqrt(n - 1))
    return tuple(columns)


def test_a_worked_example_of_fiellers_theorem():
    """14 ± 3 over 7 ± 2 (standard errors), uncorrelated, 10 degrees of freedom, t = 1.812: 1.051413 to 4.414296.

    Source: DC-Stats, the program to Colquhoun, Lectures on Biostatistics (1971), example of `fieller`.
    """
    result = ratio(with_moments(11, (14.0, 3.0), (7.0, 2.0)), confidence=0.9)
    assert result.estimate == pytest.approx(2)
    assert result.interval == pytest.approx((1.051413, 4.414296), abs=1e-6)


@pytest.mark.parametrize("side", ["two-sided", "less", "greater"])
def test_fiellers_limits_are_the_ratios_a_t_test_just_accepts(side):
    result = ratio((COST, SUCCESSES), alternative=side)
    for limit in filter(math.isfinite, result.interval):
        p_value = scipy_stats.ttest_1samp(COST - limit * SUCCESSES, 0).pvalue
        assert p_value == pytest.approx(0.05 if side == "two-sided" else 0.10, rel=1e-9)
    assert sum(map(math.isfinite, result.interval)) == (2 if side == "two-sided" else 1)


def test_the_delta_method_is_fiellers_limit_in_large_samples():
    cost, successes = RNG.gamma(2, 1, 20_000), RNG.binomial(3, 0.6, 20_000)
    fieller, delta = (ratio((cost, successes), method=method) for method in ("fieller", "delta"))
    assert fieller.estimate == delta.estimate == cost.sum() / successes.sum()
    assert fieller.interval == pytest.approx(delta.interval, abs=1e-4)


def test_with_constant_denominators_the_difference_is_welchs_t():
    other = RNG.gamma(2, 1.2, 30)
    arms = (COST, np.full(40, 2.0)), (other, np.full(30, 2.0))
    expected = welch_t(COST / 2, other / 2)
    for method in ("fieller", "delta"):
        result = ratio_difference(*arms, method=method)
        assert result.df == pytest.approx(expected.df)
        assert result.interval == pytest.approx(expected.interval)
        assert result.p_value == pytest.approx(expected.p_value, rel=1e-5)
    assert result.statistic == pytest.approx(expected.statistic)


def test_the_paired_difference_takes_what_the_clusters_share_out():
    shared = RNG.gamma(5, 2, 60)
    control = (shared + RNG.normal(0, 0.1, 60), np.ones(60))
    treatment = (shared + 0.2 + RNG.normal(0, 0.1, 60), np.ones(60))
    paired = ratio_difference(control, treatment, paired=True, method="delta")
    by_fieller = ratio_difference(control, treatment, paired=True)
    assert by_fieller.interval == pytest.approx(paired.interval)
    assert by_fieller.p_value < 1e-6
    expected = scipy_stats.ttest_rel(treatment[0], control[0])
    assert (paired.statistic, paired.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue)
    )
    assert paired.p_value < 1e-6
    assert ratio_difference(control, treatment).p_value > 0.5


@given(st.integers(0, 3), st.sampled_from(["fieller", "delta"]))
def test_no_success_costs_infinitely_much(clusters, method):
    result = ratio((np.ones(clusters), np.zeros(clusters)), method=method)
    assert result.estimate == math.inf or clusters == 0
    assert result.interval == (-math.inf, math.inf)
    assert result.notes


def test_an_infinite_ratio_differs_infinitely():
    dead = (COST, np.zeros(40))
    result = ratio_difference((COST, SUCCESSES), dead)
    assert result.estimate == math.inf
    assert result.notes == ("nothing in the denominator",)
    assert math.isnan(ratio_difference(dead, dead).estimate)


def test_denominators_that_may_sum_to_nothing_leave_the_ratio_unbounded():
    result = ratio(([1.0, 2.0, 3.0], [0.0, 0.0, 1.0]))
    assert result.estimate == 6.0
    assert result.interval == (-math.inf, math.inf)
    assert "not bounded" in result.notes[0]


def test_what_does_not_vary_or_fit_is_said():
    assert "the same in every cluster" in ratio(([1.0, 2.0], [1.0, 2.0]), method="delta").notes[0]
    assert "not finite" in ratio(([1.0, math.inf], [1.0, 2.0])).notes[0]
    with pytest.raises(ConfigurationError, match="parts: a pair"):
        ratio(COST)
    with pytest.raises(ConfigurationError, match="denominators: has 2 values"):
        ratio(([1.0], [1.0, 2.0]))
    with pytest.raises(ConfigurationError, match="method: 'bayes'"):
        ratio((COST, SUCCESSES), method="bayes")
    with pytest.raises(ConfigurationError, match="no pairs"):
        ratio_difference((COST, SUCCESSES), (COST[:5], SUCCESSES[:5]), paired=True)


def test_with_few_successes_fiellers_limits_miss_as_rarely_on_either_side():
    """Cost per success of 50 trials an arm, 3 of 10 successful: the delta method hardly ever misses at all."""
    rng, missed = np.random.default_rng(5), {"fieller": [0, 0], "delta": [0, 0]}
    for _ in range(600):
        arms = [(rng.lognormal(0, 0.5, 50), (rng.random(50) < 0.3).astype(float)) for _ in range(2)]
        for method, sides in missed.items():
            low, high = ratio_difference(*arms, method=method).interval
            sides[0] += low > 0
            sides[1] += high < 0
    assert sum(missed["delta"]) <= 6
    assert all(4 <= side <= 28 for side in missed["fieller"])  # 2.5 % of 600 within 99.9 %


def test_a_difference_of_ratios_that_are_not_bounded_is_not_bounded_and_says_so():
    few = (np.ones(5), np.array([0.0, 0.0, 0.0, 0.0, 1.0]))
    result = ratio_difference((COST, SUCCESSES), few)
    assert result.interval == (-math.inf, math.inf)
    assert "may sum to 0" in result.notes[-1]
    assert result.p_value > 0.05
    with pytest.raises(ConfigurationError, match="method: 'bayes'"):
        ratio_difference((COST, SUCCESSES), few, method="bayes")
