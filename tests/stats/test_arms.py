"""Analysis of variance: against SciPy, statsmodels and the distributions themselves."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.oneway import anova_oneway

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import (
    Moments,
    friedman,
    kruskal_wallis,
    one_way_anova,
    two_way_anova,
    welch_anova,
)

RNG = np.random.default_rng(21)
ARMS = {"a": RNG.normal(size=8), "b": RNG.normal(0.5, 2, 12), "c": RNG.normal(1, 1, 10)}
VALUES = list(ARMS.values())


def test_one_way_agrees_with_scipy_and_its_effects_with_their_definitions():
    result = one_way_anova(ARMS)
    expected = scipy_stats.f_oneway(*VALUES)
    assert (result.statistic, result.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue), rel=1e-9
    )
    assert result.df == (2, 27)
    grand = np.concatenate(VALUES)
    between = sum(len(arm) * (arm.mean() - grand.mean()) ** 2 for arm in VALUES)
    total = ((grand - grand.mean()) ** 2).sum()
    within = (total - between) / 27
    assert result.estimate == pytest.approx(between / total, rel=1e-9)
    assert result.effect_size.estimate == pytest.approx(
        (between - 2 * within) / (total + within), rel=1e-9
    )
    assert result.arms == ("a", "b", "c")


def test_the_interval_of_eta_squared_turns_the_noncentral_f():
    result = one_way_anova(ARMS | {"c": ARMS["c"] + 3})
    shift = [30 * limit / (1 - limit) for limit in result.interval]
    seen = [scipy_stats.ncf.cdf(result.statistic, 2, 27, nc) for nc in shift]
    assert seen == pytest.approx([0.975, 0.025], abs=1e-8)


def test_no_effect_has_an_interval_from_0():
    same = {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0], "c": [3.0, 1.0, 2.0]}
    result = one_way_anova(same)
    assert (result.statistic, result.p_value, result.interval[0]) == (0.0, 1.0, 0.0)


def test_welch_agrees_with_statsmodels():
    result = welch_anova(ARMS)
    expected = anova_oneway(VALUES, use_var="unequal", welch_correction=True)
    assert (result.statistic, result.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue), rel=1e-9
    )
    assert result.df == pytest.approx(expected.df, rel=1e-9)


def test_two_arms_are_the_t_tests():
    two = {"a": ARMS["a"], "b": ARMS["b"]}
    for anova, equal in ((one_way_anova, True), (welch_anova, False)):
        t = scipy_stats.ttest_ind(*two.values(), equal_var=equal)
        assert anova(two).p_value == pytest.approx(t.pvalue, rel=1e-9)


@pytest.mark.parametrize("anova", [one_way_anova, welch_anova])
def test_moments_stand_for_the_values_and_an_offset_changes_nothing(anova):
    expected = anova(ARMS)
    moments = {name: Moments.of(values) for name, values in ARMS.items()}
    assert anova(moments).statistic == pytest.approx(expected.statistic, rel=1e-12)
    shifted = {name: values + 1e9 for name, values in ARMS.items()}
    assert anova(shifted).statistic == pytest.approx(expected.statistic, rel=1e-5)


@pytest.mark.parametrize(
    ("arms", "why"),
    [
        ({"a": [1.0], "b": [1.0, 2.0]}, "needs two values in each arm, has 1 and 2"),
        ({"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [3.0, 3.0]}, "no arm varies"),
        ({"a": [1.0, math.inf], "b": [2.0, 3.0]}, "not finite"),
    ],
)
def test_what_cannot_be_tested_says_why(arms, why):
    for anova in (one_way_anova, welch_anova):
        assert why in anova(arms).notes[0]
        assert math.isnan(anova(arms).p_value)
    assert "b does not vary" in welch_anova({"a": [1.0, 2.0], "b": [2.0, 2.0]}).notes[0]


def test_kruskal_wallis_agrees_with_scipy_and_ranks_infinities():
    tied = {name: np.round(values) for name, values in ARMS.items()}
    for arms in (ARMS, tied):
        result = kruskal_wallis(arms)
        expected = scipy_stats.kruskal(*arms.values())
        assert (result.statistic, result.p_value) == pytest.approx(
            (expected.statistic, expected.pvalue), rel=1e-9
        )
        assert result.estimate == pytest.approx(result.statistic / 29)
    never = {"a": [1.0, math.inf, math.inf], "b": [2.0, 3.0, 4.0]}
    late = {"a": [1.0, 9.0, 9.0], "b": [2.0, 3.0, 4.0]}
    assert kruskal_wallis(never).p_value == kruskal_wallis(late).p_value
    assert "all values are equal" in kruskal_wallis({"a": [1.0], "b": [1.0]}).notes[0]
    assert "an arm has no values" in kruskal_wallis({"a": [], "b": [1.0]}).notes[0]


def test_friedman_agrees_with_scipy():
    items = {
        name: np.round(RNG.normal(shift, 1, 15), 1)
        for name, shift in (("a", 0), ("b", 0.5), ("c", 1))
    }
    result = friedman(items)
    expected = scipy_stats.friedmanchisquare(*items.values())
    assert (result.statistic, result.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue), rel=1e-9
    )
    assert result.estimate == pytest.approx(result.statistic / 30)
    assert friedman({"a": [1.0, 2.0], "b": [2.0, 3.0], "c": [3.0, 4.0]}).estimate == pytest.approx(
        1
    )
    assert "no item orders the arms" in friedman({k: [1.0, 2.0] for k in "abc"}).notes[0]
    assert "needs two items" in friedman({k: [1.0] for k in "abc"}).notes[0]
    with pytest.raises(ConfigurationError, match="arms: have 2, 2, 1 values"):
        friedman({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0]})


def by_hand(values, a, b):
    """Type II sums of squares as differences of residual sums of squares of nested models."""
    one = np.ones((len(values), 1))
    dummies = [
        np.array([labels == level for level in np.unique(labels)[1:]]).T for labels in (a, b)
    ]
    cross = np.column_stack([x * y for x in dummies[0].T for y in dummies[1].T])

    def left(*parts):
        design = np.column_stack(parts).astype(float)
        return float(
            np.sum((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2)
        )

    both, full = left(one, *dummies), left(one, *dummies, cross)
    return left(one, dummies[1]) - both, left(one, dummies[0]) - both, both - full, full


def test_two_way_has_type_two_sums_of_squares_also_when_unbalanced():
    a, b = RNG.integers(0, 2, 60), RNG.integers(0, 3, 60)
    values = RNG.normal(size=60) + a + 0.5 * a * b
    found = two_way_anova(values, a, b)
    *squares, error = by_hand(values, a, b)
    for result, square, df in zip(found, squares, (1, 2, 2), strict=True):
        assert result.df == (df, 54)
        assert result.statistic == pytest.approx(square / df / (error / 54), rel=1e-9)
        assert result.estimate == pytest.approx(square / (square + error), rel=1e-9)
        assert result.p_value == pytest.approx(scipy_stats.f.sf(result.statistic, df, 54), rel=1e-9)
        assert result.interval[0] <= result.estimate
    assert [result.arms for result in found] == [("a",), ("b",), ("a × b",)]


def test_two_way_does_not_mind_offset_and_unit_and_takes_any_labels():
    a, b = np.array(["x", "y"] * 12), np.repeat(["p", "q", "r"], 8)
    values = RNG.normal(size=24)
    plain = two_way_anova(values, a, b)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = two_way_anova(1e9 + 1e3 * values, a, b)
    for one, other in zip(plain, moved, strict=True):
        assert one.statistic == pytest.approx(other.statistic, rel=1e-6)


def test_two_way_says_what_is_missing():
    with pytest.raises(ConfigurationError, match="b: some combination"):
        two_way_anova([1.0, 2.0, 3.0], [0, 0, 1], [0, 1, 1])
    with pytest.raises(ConfigurationError, match="a: needs two levels"):
        two_way_anova([1.0, 2.0], [0, 0], [0, 1])
    with pytest.raises(ConfigurationError, match=r"b: has shape \(1,\)"):
        two_way_anova([1.0, 2.0], [0, 1], [0])
    with pytest.raises(ConfigurationError, match="values: holds NaN"):
        two_way_anova([1.0, math.nan], [0, 1], [0, 1])
    single = two_way_anova([1.0, 2.0, 4.0, 3.0], [0, 0, 1, 1], [0, 1, 0, 1])
    assert all("one value in each combination" in result.notes[0] for result in single)
