"""Welch's t from sums, against SciPy's from the values."""

import math
import sys

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy import stats

from crucible_telemetry.analysis.welch import Moments, welch

finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
samples = st.lists(finite, min_size=2, max_size=30)


def moments(values):
    return Moments(len(values), float(np.mean(values)), float(np.var(values, ddof=1)))


@given(control=samples, treatment=samples)
def test_it_agrees_with_scipy_on_the_values_themselves(control, treatment):
    arms = moments(control), moments(treatment)
    assume(all(arm.variance > 1e-3 for arm in arms))
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    result = welch(*arms)
    assert expected.statistic == pytest.approx(result.statistic, rel=1e-6, abs=1e-9)
    assert expected.df == pytest.approx(result.df, rel=1e-6)
    assert expected.pvalue == pytest.approx(result.p_value, rel=1e-6, abs=1e-12)
    interval = expected.confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx(result.interval, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.99])
def test_the_interval_is_as_wide_as_the_confidence_asked_for(confidence):
    control, treatment = [1.0, 2.0, 4.0, 8.0], [2.0, 3.0, 3.5]
    expected = stats.ttest_ind(treatment, control, equal_var=False).confidence_interval(confidence)
    result = welch(moments(control), moments(treatment), confidence=confidence)
    assert (expected.low, expected.high) == pytest.approx(result.interval)


def test_the_sign_is_treatment_minus_control():
    faster = welch(Moments(10, 2.0, 0.1), Moments(10, 1.5, 0.1))
    assert faster.estimate == -0.5
    assert faster.interval[0] < -0.5 < faster.interval[1] < 0


def test_swapping_the_arms_only_turns_the_sign():
    one, other = Moments(8, 3.0, 2.0), Moments(20, 4.0, 0.5)
    there, back = welch(one, other), welch(other, one)
    assert there.estimate == -back.estimate
    assert there.p_value == back.p_value
    assert there.interval == (-back.interval[1], -back.interval[0])


def test_one_arm_without_variance_is_still_tested():
    result = welch(Moments(5, 1.0, 0.0), Moments(5, 2.0, 1.0))
    assert pytest.approx(result.df) == 4.0
    assert math.isfinite(result.p_value)


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_the_degrees_of_freedom_do_not_depend_on_the_unit(scale):
    plain = welch(Moments(8, 3.0, 2.0), Moments(20, 4.0, 0.5))
    scaled = welch(Moments(8, 3.0 * scale, 2.0 * scale), Moments(20, 4.0 * scale, 0.5 * scale))
    assert plain.df == pytest.approx(scaled.df)


@pytest.mark.parametrize(
    ("control", "treatment", "why"),
    [
        (Moments(1, 1.0, math.nan), Moments(9, 2.0, 1.0), "two values in each arm, has 1 and 9"),
        (Moments(9, 1.0, 0.0), Moments(9, 2.0, 0.0), "neither arm varies"),
        (Moments(9, 1.0, 1.0), Moments(9, math.inf, 1.0), "not finite"),
    ],
)
def test_what_cannot_be_tested_says_why_and_promises_nothing(control, treatment, why):
    result = welch(control, treatment)
    assert why in result.notes[0]
    assert (-math.inf, math.inf) == result.interval
    assert math.isnan(result.p_value)
    assert treatment.mean - control.mean == result.estimate


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95])
def test_a_confidence_that_is_no_probability_is_an_error(confidence):
    with pytest.raises(ValueError, match="confidence"):
        welch(Moments(9, 1.0, 1.0), Moments(9, 1.0, 1.0), confidence=confidence)


def test_without_scipy_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(ImportError, match=r"pip install 'crucible-telemetry\[stats\]'"):
        welch(Moments(9, 1.0, 1.0), Moments(9, 2.0, 1.0))
