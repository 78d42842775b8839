"""The comparison with the best, and joint tests of ratios, from differences of pairs and influences."""

import math

import numpy as np
import pytest

from crucible_telemetry.compare.best import with_the_best
from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.omnibus import ratios_differ
from crucible_telemetry.stats import ratio_difference, student_t
from crucible_telemetry.stats.inference import Inference


def against_each_other(values):
    def difference(i, j, ask):
        return student_t(values[i], values[j], confidence=ask.confidence)

    return difference


@pytest.mark.parametrize("best", ["largest", "smallest"])
def test_intervals_hold_all_truths_at_once_and_the_best_is_the_one_that_may_be_zero(best):
    rng, truth, held = np.random.default_rng(4), np.array([0.0, 0.3, 0.4]), 0
    for _ in range(500):
        values = [rng.normal(mean, 1, 20) for mean in truth]
        found = with_the_best("abc", against_each_other(values), best, 0.9)
        pick = max if best == "largest" else min
        true = [truth[i] - pick(truth[j] for j in range(3) if j != i) for i in range(3)]
        held += all(
            one.interval[0] - 1e-12 <= t <= one.interval[1] + 1e-12
            for one, t in zip(found, true, strict=True)
        )
    assert held >= 430  # 90 % of 500 less four standard errors


def test_clear_winners_and_losers_are_picked_out():
    values = [np.arange(10.0), np.arange(10.0) + 30, np.arange(10.0) + 10]
    low, high, middle = with_the_best("abc", against_each_other(values), "largest", 0.95)
    assert high.interval[0] == 0 < high.interval[1]
    assert high.estimate == pytest.approx(20)
    assert low.interval[1] == 0 > low.interval[0]
    assert middle.interval[1] == 0
    turned = with_the_best("abc", against_each_other(values), "smallest", 0.95)
    assert turned[0].interval[1] == 0 > turned[0].interval[0]
    assert turned[0].estimate == pytest.approx(-10)


def test_a_difference_that_is_not_defined_leaves_its_arms_open():
    def difference(i, j, ask):
        if 2 in (i, j):
            return ask.undecided(
                "none", test="", method="", estimand="", estimate=math.nan, n=(1, 1)
            )
        return student_t([1.0, 2.0, 3.0], [11.0, 12.0, 13.0], confidence=ask.confidence)

    found = with_the_best("abc", difference, "largest", 0.95)
    assert found[0].interval[1] == 0  # b is ahead of it, whatever c is
    assert found[1].interval[0] == -math.inf  # c may be far ahead
    assert 0 < found[1].interval[1] < 15
    assert math.isnan(found[2].estimate)


def test_of_two_arms_walds_test_of_ratios_is_the_delta_method():
    rng = np.random.default_rng(2)
    arms = [
        Arm(name, rng.random(30) + shift, np.arange(30), below=(rng.random(30) < 0.8).astype(float))
        for name, shift in (("a", 0.0), ("b", 0.3))
    ]
    found = ratios_differ(designed("cost_per_success", arms, None), Inference()).result
    expected = ratio_difference(
        *((arm.values, arm.below) for arm in arms), paired=True, method="delta"
    )
    assert found.p_value == pytest.approx(expected.p_value)
