"""Standardised effects: exact definitions and limits, against the noncentral t itself."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from crucible_telemetry.stats import (
    Moments,
    cohen_d,
    cohen_d_paired,
    glass_delta,
    hedges_g,
    welch_t,
)

RNG = np.random.default_rng(11)
CONTROL, TREATMENT = RNG.normal(0, 1, 14), RNG.normal(0.8, 1.5, 22)


def test_the_definitions():
    pooled = math.sqrt((13 * CONTROL.var(ddof=1) + 21 * TREATMENT.var(ddof=1)) / 34)
    apart = TREATMENT.mean() - CONTROL.mean()
    assert cohen_d(CONTROL, TREATMENT).estimate == pytest.approx(apart / pooled, rel=1e-12)
    assert glass_delta(CONTROL, TREATMENT).estimate == pytest.approx(
        apart / CONTROL.std(ddof=1), rel=1e-12
    )
    factor = math.gamma(17) / (math.sqrt(17) * math.gamma(16.5))
    assert hedges_g(CONTROL, TREATMENT).estimate == pytest.approx(
        apart / pooled * factor, rel=1e-12
    )


@pytest.mark.parametrize(("effect", "df"), [(cohen_d, 34), (glass_delta, 13)])
def test_the_limits_are_those_under_which_what_was_seen_is_as_extreme(effect, df):
    result = effect(CONTROL, TREATMENT)
    unit = math.sqrt(1 / 14 + 1 / 22)
    low, high = (
        scipy_stats.nct.cdf(result.estimate / unit, df, limit / unit) for limit in result.interval
    )
    assert (low, high) == pytest.approx((0.975, 0.025), abs=1e-9)


def test_a_one_sided_limit_has_all_the_error_on_its_side():
    result = cohen_d(CONTROL, TREATMENT, alternative="greater")
    unit = math.sqrt(1 / 14 + 1 / 22)
    assert result.interval[1] == math.inf
    below = scipy_stats.nct.cdf(result.estimate / unit, 34, result.interval[0] / unit)
    assert below == pytest.approx(0.95, abs=1e-9)


def test_of_pairs_it_is_the_t_statistic_over_the_root_of_n():
    treatment = CONTROL + RNG.normal(0.3, 1, 14)
    result = cohen_d_paired(CONTROL, treatment)
    t = scipy_stats.ttest_rel(treatment, CONTROL).statistic
    assert result.estimate == pytest.approx(t / math.sqrt(14), rel=1e-12)
    low = scipy_stats.nct.cdf(t, 13, result.interval[0] * math.sqrt(14))
    assert low == pytest.approx(0.975, abs=1e-9)


@pytest.mark.parametrize("apart", [0.0, 1e-3, 40.0, -1e4])
@pytest.mark.parametrize("n", [2, 30, 10**6])
def test_limits_exist_from_no_effect_to_a_huge_one(apart, n):
    result = welch_t(Moments(n, 0.0, 1.0), Moments(n, apart, 1.0))
    low, high = result.effect_size.interval
    assert low <= result.effect_size.estimate <= high or n == 2  # g shrinks towards 0
    assert low < high


def test_without_variance_there_is_no_unit():
    flat = [1.0, 1.0, 1.0]
    assert "neither arm varies" in cohen_d(flat, [2.0, 2.0]).notes[0]
    assert "control does not vary" in glass_delta(flat, [1.0, 2.0]).notes[0]
    assert "nothing varies" in cohen_d_paired(flat, [2.0, 2.0, 2.0]).notes[0]
    assert math.isnan(cohen_d([1.0], [2.0, 3.0]).estimate)
