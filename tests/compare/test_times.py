"""Times to success by item: the closed forms, and how often intervals hold what they should."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import quantile, two_arms
from crucible_telemetry.compare.times import curve_of, restricted
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.means import welch_t
from crucible_telemetry.stats.survival import ASSUMPTION, Censored, restricted_mean

ASK = Inference()


def arm(name, times, observed=None, items=None):
    times = np.asarray(times, float)
    seen = np.isfinite(times) if observed is None else np.asarray(observed)
    return Arm(name, times, None if items is None else np.asarray(items), observed=seen)


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=30), st.integers(0, 5))
def test_without_censoring_pseudo_values_are_the_times_cut_at_the_horizon(times, failures):
    everything = np.array([*times, *[math.inf] * failures])
    assert restricted(arm("a", everything), 50.0) == pytest.approx(np.minimum(everything, 50.0))


def test_with_censoring_pseudo_values_have_the_restricted_mean_and_greenwoods_error():
    rng = np.random.default_rng(1)
    true, cut = rng.exponential(1.0, 400), rng.exponential(2.0, 400)
    times, observed = np.minimum(true, cut), true <= cut
    pseudo = restricted(arm("a", times, observed), 1.5)
    expected = restricted_mean(Censored(times, observed), 1.5)
    assert pseudo.mean() == pytest.approx(expected.estimate)
    error = (expected.interval[1] - expected.interval[0]) / 2 / 1.959964
    assert pseudo.std() / 20 == pytest.approx(error, rel=0.02)


def test_arms_that_differ_in_their_time_outs_alone_show_no_difference():
    rng, rejected = np.random.default_rng(2), 0
    for _ in range(400):
        arms = []
        for name, limit in (("a", 1.2), ("b", 3.0)):
            true = rng.exponential(1.0, 80)
            arms.append(arm(name, np.minimum(true, limit), true <= limit, range(80)))
        found = two_arms("time", designed("m", arms, None), ASK, horizon=1.0)
        rejected += found.result.p_value < 0.05
    assert 9 <= rejected <= 32  # 5 % of 400 within 99.9 %


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_quantiles_of_repeated_pairs_reject_about_as_often_as_they_say(q):
    rng, rejected = np.random.default_rng(3), 0
    items = np.repeat(np.arange(100), 3)
    for _ in range(300):
        base = rng.normal(0, 1, 100)
        arms = [
            arm(name, np.exp(base[items] + rng.normal(0, 0.5, 300)), items=items) for name in "ab"
        ]
        result = quantile(designed("m", arms, None), q, ASK)
        rejected += result.p_value < 0.05
    assert rejected <= 31  # at most 5 % of 300, within 99.9 %


def test_a_curve_that_fails_more_often_than_a_share_never_gets_there():
    slow = arm("a", [*np.arange(1.0, 96.0), *[math.inf] * 5], items=range(100))
    assert curve_of(slow).at(95.0) == pytest.approx(0.05)
    found = quantile(designed("m", [slow, slow.with_values(slow.values)], None), 0.99, ASK)
    assert math.isnan(found.estimate)


def test_restricted_means_of_few_units_go_by_students_t_and_censoring_tells_what_it_assumes():
    """With Greenwood's error and the normal quantile, 30 units an arm rejected 6.3 nulls in a hundred."""
    rng = np.random.default_rng(8)
    drawn = [rng.exponential(1.0, 30) for _ in "ab"]
    drawn[1][:3] = math.inf
    arms = [
        arm(name, one, items=range(40 * k, 40 * k + 30))
        for k, (name, one) in enumerate(zip("ab", drawn, strict=True))
    ]
    found = two_arms("time", designed("m", arms, None), ASK, horizon=2.0).result
    expected = welch_t(*(np.minimum(one, 2.0) for one in drawn))
    assert found.interval == pytest.approx(expected.interval)
    assert found.p_value == pytest.approx(expected.p_value)
    assert ASSUMPTION not in found.notes
    cut = [arm("c", np.minimum(one, 3.0), one <= 3.0, range(30)) for one in drawn]
    paired = two_arms("time", designed("m", cut, None), ASK, horizon=2.0).result
    assert ASSUMPTION in paired.notes
