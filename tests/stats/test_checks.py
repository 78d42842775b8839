"""Descriptions of shape and spread, against SciPy and statsmodels."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.diagnostic import normal_ad

from crucible_telemetry.stats import anderson_darling, brown_forsythe, levene, shapiro_wilk

RNG = np.random.default_rng(61)
DRAWS = {
    "normal": RNG.normal(size=60),
    "exponential": RNG.exponential(size=60),
    "small": RNG.normal(size=8),
}


@pytest.mark.parametrize("name", DRAWS)
def test_normality_agrees_with_scipy_and_statsmodels(name):
    values = DRAWS[name]
    result, expected = shapiro_wilk(values), scipy_stats.shapiro(values)
    assert (result.statistic, result.p_value) == pytest.approx(tuple(expected), rel=1e-9)
    result, expected = anderson_darling(values), normal_ad(values)
    assert (result.statistic, result.p_value) == pytest.approx(expected, rel=1e-9)


def test_an_exponential_is_not_called_normal():
    assert shapiro_wilk(DRAWS["exponential"]).p_value < 1e-4
    assert anderson_darling(DRAWS["exponential"]).p_value < 1e-4
    assert shapiro_wilk(DRAWS["normal"]).p_value > 0.05


def test_beyond_5000_values_the_p_value_is_extrapolated_and_told():
    result = shapiro_wilk(RNG.normal(size=5001))
    assert result.notes == ("p is extrapolated beyond n = 5000",)
    assert shapiro_wilk(RNG.normal(size=5000)).notes == ()


def test_an_offset_of_1e9_changes_nothing():
    plain, moved = (shapiro_wilk(DRAWS["normal"] + offset) for offset in (0, 1e9))
    assert moved.statistic == pytest.approx(plain.statistic, abs=1e-6)


@pytest.mark.parametrize("p_value", [0.001, 0.03, 0.2, 0.5, 0.9])
def test_every_piece_of_stephens_p_value_is_reached(p_value):
    """Values at the normal's own quantiles, bent until the p-value passes `p_value`; statsmodels beside."""
    for bend in np.linspace(0, 1.5, 60):
        values = scipy_stats.norm.ppf((np.arange(30) + 0.5) / 30)
        values = values + bend * values**2
        ours, theirs = anderson_darling(values).p_value, normal_ad(values)[1]
        assert ours == pytest.approx(theirs, rel=1e-9)
        if ours < p_value:
            return
    pytest.fail("never that far from normal")


@pytest.mark.parametrize(("test", "centre"), [(levene, "mean"), (brown_forsythe, "median")])
def test_equal_variances_agree_with_scipy(test, centre):
    arms = {"a": RNG.normal(size=9), "b": RNG.normal(0, 3, 14), "c": RNG.normal(size=11)}
    result, expected = test(arms), scipy_stats.levene(*arms.values(), center=centre)
    assert (result.statistic, result.p_value) == pytest.approx(tuple(expected), rel=1e-9)
    deviations = [arm.std(ddof=1) for arm in arms.values()]
    assert result.estimate == pytest.approx(max(deviations) / min(deviations))
    assert result.df == (2, 31)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, 2.0], "has 2"),
        ([1.0] * 9, "all values are equal"),
        ([1.0] * 8 + [math.inf], "not finite"),
    ],
)
def test_what_has_no_shape_says_why(values, why):
    for result in (shapiro_wilk(values), anderson_darling(values)):
        assert why in result.notes[0]
        assert math.isnan(result.p_value)
        assert "interval" not in str(result)
    assert levene({"a": [1.0, 1.0], "b": [1.0, 2.0]}).notes == ("all values are equal",)
