"""t tests, from values and from moments, against SciPy."""

import math
import sys

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy import stats as scipy_stats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import Moments, one_sample_t, paired_t, student_t, welch_t

finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
samples = st.lists(finite, min_size=2, max_size=30)
SIDES = ("two-sided", "less", "greater")


def agrees(result, expected, confidence=0.95, **tolerance):
    tolerance = tolerance or {"rel": 1e-9, "abs": 1e-9}
    assert result.statistic == pytest.approx(float(expected.statistic), **tolerance)
    assert result.p_value == pytest.approx(float(expected.pvalue), rel=1e-8, abs=1e-12)
    assert result.df[0] == pytest.approx(float(expected.df), rel=1e-9)
    interval = expected.confidence_interval(confidence)
    assert result.interval == pytest.approx(
        (float(interval.low), float(interval.high)), **tolerance
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 3), (3, 40), (50, 50)])
def test_two_arms_agree_with_scipy_one_sided_and_two_sided(side, n, m):
    rng = np.random.default_rng(n * m)
    control, treatment = rng.normal(0, 1, n), rng.normal(0.5, 3, m)
    for test, equal in ((welch_t, False), (student_t, True)):
        expected = scipy_stats.ttest_ind(treatment, control, equal_var=equal, alternative=side)
        agrees(test(control, treatment, alternative=side), expected)
    told = welch_t(control, treatment, alternative=side, confidence=0.8)
    expected = scipy_stats.ttest_ind(treatment, control, equal_var=False, alternative=side)
    agrees(told, expected, 0.8)


@pytest.mark.parametrize("side", SIDES)
def test_pairs_and_one_sample_agree_with_scipy(side):
    rng = np.random.default_rng(3)
    control, treatment = rng.normal(0, 1, 15), rng.normal(0.3, 1, 15)
    result = paired_t(control, treatment, alternative=side)
    agrees(result, scipy_stats.ttest_rel(treatment, control, alternative=side))
    result = one_sample_t(treatment, claim=0.4, alternative=side)
    agrees(result, scipy_stats.ttest_1samp(treatment, 0.4, alternative=side))
    assert result.estimate == pytest.approx(treatment.mean())


@given(control=samples, treatment=samples)
def test_welch_agrees_with_scipy_on_whatever_varies(control, treatment):
    assume(np.var(control) > 1e-3)
    assume(np.var(treatment) > 1e-3)
    expected = scipy_stats.ttest_ind(treatment, control, equal_var=False)
    agrees(welch_t(control, treatment), expected, rel=1e-6, abs=1e-6)


@given(control=samples, treatment=samples)
def test_moments_stand_for_the_values(control, treatment):
    given_values = welch_t(control, treatment)
    given_moments = welch_t(Moments.of(control), Moments.of(treatment))
    assert repr(given_values) == repr(given_moments)


@given(whole=st.lists(finite, max_size=40), at=st.integers(0, 40))
def test_merged_halves_are_the_whole(whole, at):
    merged = Moments.of(whole[:at]).merged(Moments.of(whole[at:]))
    expected = Moments.of(whole)
    assert merged.n == expected.n
    if whole:
        assert merged.mean == pytest.approx(expected.mean, rel=1e-9, abs=1e-6)
    if len(whole) > 1:
        assert merged.variance == pytest.approx(expected.variance, rel=1e-9, abs=1e-4)


def test_the_sign_is_treatment_minus_control():
    faster = welch_t(Moments(10, 2.0, 0.1), Moments(10, 1.5, 0.1))
    assert faster.estimate == -0.5
    assert faster.interval[0] < -0.5 < faster.interval[1] < 0
    assert faster.effect_size.estimate < 0


def test_swapping_the_arms_only_turns_the_sign():
    one, other = Moments(8, 3.0, 2.0), Moments(20, 4.0, 0.5)
    there, back = welch_t(one, other), welch_t(other, one)
    assert there.estimate == -back.estimate
    assert there.p_value == back.p_value
    assert there.interval == (-back.interval[1], -back.interval[0])


def test_one_arm_without_variance_is_still_tested():
    result = welch_t(Moments(5, 1.0, 0.0), Moments(5, 2.0, 1.0))
    assert result.df[0] == pytest.approx(4.0)
    assert math.isfinite(result.p_value)


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_the_degrees_of_freedom_do_not_depend_on_the_unit(scale):
    plain = welch_t(Moments(8, 3.0, 2.0), Moments(20, 4.0, 0.5))
    scaled = welch_t(Moments(8, 3.0 * scale, 2.0 * scale), Moments(20, 4.0 * scale, 0.5 * scale))
    assert plain.df[0] == pytest.approx(scaled.df[0])


@pytest.mark.parametrize("test", [welch_t, student_t])
@pytest.mark.parametrize(
    ("control", "treatment", "why"),
    [
        (Moments(1, 1.0, math.nan), Moments(9, 2.0, 1.0), "two values in each arm, has 1 and 9"),
        ([], [1.0, 2.0], "has 0 and 2"),
        (Moments(9, 1.0, 0.0), Moments(9, 2.0, 0.0), "neither arm varies"),
        ([1.0, 2.0], [1.0, math.inf], "not finite"),
        ([1.0, -math.inf, math.inf], [1.0, 2.0], "not finite"),
    ],
)
def test_what_cannot_be_tested_says_why_and_promises_nothing(test, control, treatment, why):
    result = test(control, treatment)
    assert why in result.notes[0]
    assert result.interval == (-math.inf, math.inf)
    assert math.isnan(result.p_value)
    assert math.isnan(result.statistic)


def test_pairs_that_differ_by_the_same_have_no_test():
    result = paired_t([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert result.estimate == 1.0
    assert "nothing varies" in result.notes[0]
    assert "not finite" in paired_t([1.0, math.inf], [2.0, math.inf]).notes[0]


def test_unequal_pairs_are_an_error_that_names_the_argument():
    with pytest.raises(
        ConfigurationError, match="treatment: has 2 values, control has 3: no pairs"
    ):
        paired_t([1.0, 2.0, 3.0], [1.0, 2.0])


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match=r"scipy: pip install 'crucible-telemetry\[stats\]'"):
        welch_t(Moments(9, 1.0, 1.0), Moments(9, 2.0, 1.0))
