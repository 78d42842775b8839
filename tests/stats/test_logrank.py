"""The log-rank test of several arms: against statsmodels, and over clusters by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import Censored, log_rank, log_rank_arms

ASSUMED = "censoring is assumed"


def arms_of(seed, scales, n=60):
    rng, arms = np.random.default_rng(seed), {}
    for place, scale in enumerate(scales):
        times, cut = np.round(rng.exponential(scale, n), 1), np.round(rng.exponential(2, n), 1)
        arms[f"arm{place}"] = Censored(np.minimum(times, cut), times <= cut)
    return arms


@pytest.mark.parametrize("scales", [(1.0, 1.3), (1.0, 1.3, 0.8), (1.0, 1.0, 1.0, 2.0)])
def test_with_ties_it_is_statsmodels_test(scales):
    survfunc = pytest.importorskip("statsmodels.duration.survfunc")
    arms = arms_of(1, scales)
    group = np.repeat(np.arange(len(arms)), 60)
    times, seen = (
        np.concatenate([getattr(a, what) for a in arms.values()]) for what in ("times", "observed")
    )
    statistic, p_value = survfunc.survdiff(times, seen.astype(int), group)
    found = log_rank_arms(arms)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert found.df == (len(scales) - 1,)


def test_of_two_arms_it_is_the_square_of_the_test_of_two_and_scipys():
    arms = arms_of(2, (1.0, 1.5))
    found, two = log_rank_arms(arms), log_rank(*arms.values())
    assert found.statistic == pytest.approx(two.statistic**2, rel=1e-12)
    assert found.p_value == pytest.approx(two.p_value, rel=1e-9)
    samples = [
        scipy_stats.CensoredData.right_censored(a.times, ~np.asarray(a.observed))
        for a in arms.values()
    ]
    assert two.p_value == pytest.approx(scipy_stats.logrank(*samples).pvalue, rel=1e-9)


def test_the_order_of_the_arms_makes_no_difference():
    arms = arms_of(3, (1.0, 1.3, 0.8))
    turned = dict(reversed(arms.items()))
    assert log_rank_arms(turned).statistic == pytest.approx(log_rank_arms(arms).statistic)


@pytest.mark.parametrize("shared", [True, False])
def test_repeats_of_items_do_not_count_as_units(shared):
    rng, rejected, runs = np.random.default_rng(4), np.zeros(2), 400
    for _ in range(runs):
        arms, clusters, level = {}, {}, rng.normal(0, 0.7, 40)
        for place, limit in enumerate((1.2, 3.0, 2.0)):
            own = level if shared else rng.normal(0, 0.7, 40)
            items = np.repeat(np.arange(40) + (0 if shared else 1000 * place), 3)
            times = np.exp(np.repeat(own, 3) + rng.normal(0, 0.5, 120))
            arms[f"{place}"] = Censored(np.minimum(times, limit), times <= limit)
            clusters[f"{place}"] = items
        both = log_rank_arms(arms, clusters=clusters), log_rank_arms(arms)
        rejected += [one.p_value < 0.05 for one in both]
    assert 0.015 <= rejected[0] / runs <= 0.10  # 5 % within 99.9 %
    assert rejected[1] / runs > 0.2 or shared


def test_failures_never_succeed_and_are_at_risk_to_the_end():
    arms = {
        "a": Censored([1.0, 2.0, math.inf], [1, 1, 0]),
        "b": Censored([1.5, 2.5, 9.0], [1, 1, 0]),
    }
    late = {"a": Censored([1.0, 2.0, 99.0], [1, 1, 0]), "b": arms["b"]}
    assert log_rank_arms(arms).statistic == log_rank_arms(late).statistic


def test_what_allows_no_test_says_so_and_wrong_arguments_are_named():
    never = {"a": Censored([1.0, 2.0], [0, 0]), "b": Censored([1.0, 2.0], [0, 0])}
    found = log_rank_arms(never)
    assert math.isnan(found.p_value)
    assert "no success" in found.notes[0]
    assert ASSUMED in found.notes[-1]
    with pytest.raises(ConfigurationError, match="arms"):
        log_rank_arms({"a": never["a"]})
    with pytest.raises(ConfigurationError, match="clusters"):
        log_rank_arms(never, clusters={"a": [1, 2]})
    with pytest.raises(ConfigurationError, match="clusters"):
        log_rank_arms(never, clusters={"a": [1, 2], "b": [1]})
