"""Time to success: against SciPy, statsmodels and what it must be without censoring."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats
from statsmodels.duration.survfunc import SurvfuncRight

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import (
    Censored,
    kaplan_meier,
    log_rank,
    one_sample_t,
    restricted_mean,
    restricted_mean_difference,
    success_by,
    survival_quantile,
    welch_t,
)

RNG = np.random.default_rng(51)


def censored(n, scale=1.0, limit=2.0):
    times, ends = np.round(RNG.exponential(scale, n), 2), np.round(RNG.exponential(limit, n), 2)
    return Censored(np.minimum(times, ends), times <= ends)


ONE, OTHER = censored(60), censored(50, 1.5)


def scipys(sampled):
    return scipy_stats.CensoredData.right_censored(sampled.times, ~sampled.observed)


def test_the_curve_agrees_with_scipy_and_statsmodels_ties_included():
    curve = kaplan_meier(ONE)
    expected = scipy_stats.ecdf(scipys(ONE)).sf
    at = np.isin(expected.quantiles, curve.times)
    assert curve.survival == pytest.approx(expected.probabilities[at], abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # undefined where nobody is left
        limits = expected.confidence_interval(0.95, method="log-log")
    inner = curve.survival > 0
    assert curve.low[inner] == pytest.approx(limits.low.probabilities[at][inner], abs=1e-9)
    assert curve.high[inner] == pytest.approx(limits.high.probabilities[at][inner], abs=1e-9)
    theirs = SurvfuncRight(ONE.times, ONE.observed.astype(int))
    error = theirs.surv_prob_se[np.isin(theirs.surv_times, curve.times)]
    assert np.sqrt(curve.variance)[inner] == pytest.approx(error[inner], abs=1e-12)


def test_the_leukaemia_example_of_freireich():
    """6-MP arm of Freireich et al. (1963), the textbook example: S(6) = 0.857, S(10) = 0.753, S(23) = 0.448;
    log-rank against placebo χ² = 16.79."""
    times = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    observed = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    placebo = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
    treated, control = Censored(times, observed), Censored(placebo, [1] * 21)
    curve = kaplan_meier(treated)
    assert [curve.at(t) for t in (6, 10, 23)] == pytest.approx([0.857, 0.753, 0.448], abs=5e-4)
    assert curve.at(5.9) == 1.0
    result = log_rank(control, treated)
    assert result.statistic**2 == pytest.approx(16.79, abs=0.005)
    assert result.estimate < 1  # remission ends later
    assert survival_quantile(control, 0.5).estimate == 8
    assert survival_quantile(treated, 0.5).estimate == 23


@pytest.mark.parametrize("side", ["two-sided", "less", "greater"])
def test_log_rank_agrees_with_scipy(side):
    result = log_rank(ONE, OTHER, alternative=side)
    expected = scipy_stats.logrank(scipys(OTHER), scipys(ONE), alternative=side)
    # SciPy's sign is that of the excess of events in its first sample too.
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=40), st.floats(0.5, 120))
def test_without_censoring_the_restricted_mean_is_a_mean(times, horizon):
    result = restricted_mean(Censored(times, [True] * len(times)), horizon)
    capped = np.minimum(times, horizon)
    assert result.estimate == pytest.approx(capped.mean(), rel=1e-9)
    if np.ptp(capped) > 1e-6:
        assert result.interval == pytest.approx(one_sample_t(capped).interval, rel=1e-6)
    elif np.ptp(capped) == 0:
        assert result.notes


def test_with_censoring_it_is_the_area_under_the_curve():
    curve, horizon = kaplan_meier(ONE), 1.2
    grid = np.linspace(0, horizon, 200_001)
    heights = np.concatenate([[1.0], curve.survival])[np.searchsorted(curve.times, grid, "right")]
    result = restricted_mean(ONE, horizon)
    assert result.estimate == pytest.approx(np.trapezoid(heights, grid), abs=1e-4)


def test_the_difference_is_treatment_minus_control_with_both_variances():
    one, other = restricted_mean(ONE, 1.0), restricted_mean(OTHER, 1.0)
    result = restricted_mean_difference(ONE, OTHER, 1.0)
    assert result.estimate == pytest.approx(other.estimate - one.estimate)
    errors = [
        (arm.interval[1] - arm.estimate) / scipy_stats.t.ppf(0.975, *arm.df) for arm in (one, other)
    ]
    assert result.estimate / result.statistic == pytest.approx(math.hypot(*errors))


@given(
    st.lists(st.floats(0.01, 100), min_size=2, max_size=20),
    st.lists(st.floats(0.01, 100), min_size=2, max_size=20),
)
def test_without_censoring_the_difference_of_restricted_means_is_welchs_t(control, treatment):
    arms = [np.minimum(times, 60.0) for times in (control, treatment)]
    expected = welch_t(*arms)
    result = restricted_mean_difference(
        *(Censored(times, [True] * len(times)) for times in (control, treatment)), 60.0
    )
    if min(map(np.ptp, arms)) > 1e-3:
        assert result.p_value == pytest.approx(expected.p_value, rel=1e-6)
        assert result.interval == pytest.approx(expected.interval, rel=1e-6, abs=1e-6)


def test_an_arm_of_one_has_no_variance_of_its_own():
    one = Censored([2.0], [True])
    result = restricted_mean_difference(one, Censored([1.0, 3.0, 4.0], [True] * 3), 5.0)
    assert result.df == pytest.approx((2,))


def test_what_never_succeeds_counts_to_the_horizon():
    sampled = Censored([1.0, 2.0, math.inf, math.inf], [True, True, False, False])
    result = restricted_mean(sampled, 10.0)
    assert result.estimate == pytest.approx((1 + 2 + 10 + 10) / 4)
    assert survival_quantile(sampled, 0.5).estimate == 2.0
    assert survival_quantile(sampled, 0.75).estimate == math.inf
    assert success_by(sampled, 1e9).estimate == pytest.approx(0.5)


def test_a_horizon_nobody_was_followed_to_is_refused_with_the_reason():
    early = Censored([1.0, 2.0, 3.0], [True, True, False])
    result = restricted_mean_difference(OTHER, early, 5.0)
    assert "treatment was followed to 3, not to the horizon 5" in result.notes[0]
    assert math.isnan(result.estimate)
    assert restricted_mean(Censored([1.0, 3.0], [True, True]), 5.0).estimate == 2.0  # all succeeded


def test_different_time_outs_are_no_difference():
    """The same 400 times, given up after 1 in one arm and after 5 in the other."""
    times = RNG.exponential(1.0, 400)
    short, long = (Censored(np.minimum(times, limit), times <= limit) for limit in (1.0, 5.0))
    assert restricted_mean_difference(short, long, 1.0).estimate == pytest.approx(0, abs=1e-12)
    assert log_rank(short, long).p_value == pytest.approx(1)
    assert survival_quantile(short, 0.5).estimate == survival_quantile(long, 0.5).estimate


def test_quantiles_have_the_limits_at_which_the_curves_limits_cross():
    curve, result = kaplan_meier(ONE), survival_quantile(ONE, 0.5)
    assert result.interval[0] == curve.times[np.argmax(curve.low <= 0.5)]
    assert result.interval[1] == curve.times[np.argmax(curve.high <= 0.5)]
    assert result.interval[0] < result.estimate < result.interval[1]


def test_without_censoring_a_quantile_is_an_order_statistic():
    result = survival_quantile(Censored(np.arange(1.0, 11.0), [True] * 10), 0.9)
    assert result.estimate == 9.0
    assert result.interval[1] == math.inf or result.interval[1] >= 9.0


def test_success_by_a_time_is_one_minus_the_curve():
    curve, result = kaplan_meier(ONE), success_by(ONE, 0.7)
    assert result.estimate == pytest.approx(1 - curve.at(0.7))
    assert result.interval[0] < result.estimate < result.interval[1]
    assert "no success by then" in success_by(Censored([1.0], [True]), 0.5).notes[0]
    assert "followed to 1 only" in success_by(Censored([1.0], [False]), 2.0).notes[0]


def test_nothing_and_never_are_told_apart_from_something():
    nothing, never = Censored([], []), Censored([math.inf] * 3, [False] * 3)
    assert survival_quantile(nothing, 0.5).notes == ("no values",)
    assert "followed to 0" in restricted_mean(nothing, 1.0).notes[0]
    assert "no success" in restricted_mean(never, 1.0).notes[0]
    assert restricted_mean(never, 1.0).estimate == 1.0
    assert "no success while both" in log_rank(never, never).notes[0]
    assert len(kaplan_meier(nothing).times) == 0
    assert kaplan_meier(ONE).to_dict()["n"] == 60


def test_what_is_no_time_is_refused_by_name():
    for times, observed in (([-1.0], [True]), ([math.inf], [True])):
        with pytest.raises(ConfigurationError, match="sampled.times"):
            restricted_mean(Censored(times, observed), 1.0)
    with pytest.raises(ConfigurationError, match="sampled.observed: has 1 values"):
        restricted_mean(Censored([1.0, 2.0], [True]), 1.0)
    with pytest.raises(ConfigurationError, match="horizon"):
        restricted_mean(ONE, math.inf)
