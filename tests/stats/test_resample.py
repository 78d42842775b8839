"""The bootstrap and permutations: against SciPy, exact enumeration and the seed."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import Bootstrap, Clustered, Permutation, cr2_difference, welch_t

RNG = np.random.default_rng(81)
CONTROL, TREATMENT = RNG.lognormal(size=40), 1.5 * RNG.lognormal(size=50)


@pytest.mark.parametrize("method", ["BCa", "percentile"])
@pytest.mark.parametrize("side", ["two-sided", "less", "greater"])
def test_the_limits_are_scipys_from_the_same_seed(method, side):
    plan = Bootstrap(method=method, resamples=500, seed=4, alternative=side, confidence=0.9)
    result = plan.one(CONTROL)
    expected = scipy_stats.bootstrap(
        (CONTROL,), np.mean, n_resamples=500, confidence_level=0.9, alternative=side,
        method=method, rng=np.random.default_rng(4),
    ).confidence_interval  # fmt: skip
    assert result.interval == pytest.approx((expected.low, expected.high))
    assert result.estimate == pytest.approx(CONTROL.mean())


def test_the_same_seed_gives_the_same_limits_and_another_gives_others():
    first, again, other = (
        Bootstrap(resamples=300, seed=seed).difference(CONTROL, TREATMENT) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.interval != other.interval


def test_a_difference_is_treatment_minus_control_near_welchs_interval():
    result = Bootstrap(resamples=2000).difference(RNG.normal(size=200), RNG.normal(1, 1, 200) + 1)
    assert result.interval[0] < result.estimate < result.interval[1]
    plain = welch_t(CONTROL, TREATMENT)
    many = Bootstrap(resamples=4000, method="percentile").difference(CONTROL, TREATMENT)
    width = plain.interval[1] - plain.interval[0]
    assert many.estimate == pytest.approx(plain.estimate)
    assert many.interval[1] - many.interval[0] == pytest.approx(width, rel=0.15)


def test_pairs_are_resampled_together():
    shared = RNG.normal(0, 10, 40)
    paired = Bootstrap(resamples=500).paired(shared, shared + RNG.normal(1, 0.1, 40))
    assert paired.interval == pytest.approx((1.0, 1.0), abs=0.1)


def test_any_statistic_of_an_axis_will_do():
    result = Bootstrap(statistic=np.median, resamples=500).difference(CONTROL, TREATMENT)
    assert result.estimate == pytest.approx(np.median(TREATMENT) - np.median(CONTROL))
    assert "median" in result.estimand


def test_whole_clusters_are_resampled():
    items = np.repeat(np.arange(40), 5)
    level = np.repeat(RNG.normal(0, 3, 40), 5)
    control, treatment = (Clustered(level + RNG.normal(size=200), items) for _ in range(2))
    plan = Bootstrap(resamples=2000, method="percentile")
    for arm in (treatment, Clustered(treatment.values, items + 40)):  # same items, others
        found, expected = plan.clustered_difference(control, arm), cr2_difference(control, arm)
        assert found.estimate == pytest.approx(expected.estimate)
        widths = [result.interval[1] - result.interval[0] for result in (found, expected)]
        assert widths[0] == pytest.approx(widths[1], rel=0.15)
    one = plan.clustered(control)
    naive = plan.one(control.values)
    assert one.interval[1] - one.interval[0] > 1.5 * (naive.interval[1] - naive.interval[0])
    assert one.n == (40,)


def test_few_values_are_permuted_exactly():
    control, treatment = [1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 6.0, 7.0]
    expected = scipy_stats.permutation_test(
        (treatment, control),
        lambda x, y: np.mean(x) - np.mean(y),
        vectorized=False,
        n_resamples=np.inf,
    )
    result = Permutation().difference(control, treatment)
    assert result.p_value == pytest.approx(expected.pvalue) == pytest.approx(6 / 70)
    assert result.estimate == 2.75
    flipped = Permutation(alternative="greater").paired(control, treatment)
    assert flipped.p_value == pytest.approx(1 / 16)


def test_many_values_never_have_a_p_value_of_zero():
    result = Permutation(resamples=999).difference(RNG.normal(size=50), RNG.normal(9, 1, 50))
    assert result.p_value == pytest.approx(2 / 1000)  # (0 + 1) / (999 + 1) on each side
    one_sided = Permutation(resamples=999, alternative="greater")
    assert one_sided.difference(RNG.normal(size=50), RNG.normal(9, 1, 50)).p_value == 1 / 1000


def test_the_interval_beside_a_permutation_test_is_welchs():
    result, plain = (
        Permutation(resamples=99).difference(CONTROL, TREATMENT),
        welch_t(CONTROL, TREATMENT),
    )
    assert result.interval == plain.interval
    assert "Welch's t interval" in result.method


@pytest.mark.parametrize(
    ("control", "treatment", "why"),
    [
        ([1.0], [1.0, 2.0], "needs two units in each arm, has 1 and 2"),
        ([1.0, math.inf], [1.0, 2.0], "not finite"),
        ([1.0, 1.0], [2.0, 2.0], "do not vary"),
    ],
)
def test_what_cannot_be_resampled_says_why(control, treatment, why):
    result = Bootstrap(resamples=99).difference(control, treatment)
    assert why in result.notes[0]
    assert result.interval == (-math.inf, math.inf)
    if "vary" not in why:
        permuted = Permutation(resamples=99).difference(control, treatment)
        assert math.isnan(permuted.p_value)
        assert permuted.notes


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigurationError, match="method: 'magic' is none of BCa, percentile"):
        Bootstrap(method="magic").one(CONTROL)


def test_bca_of_too_many_values_is_refused_and_says_what_to_ask_for():
    values = np.arange(50_001.0)
    with pytest.raises(ConfigurationError, match=r"method: .* 50,001 values .*'percentile'"):
        Bootstrap().one(values)
    assert Bootstrap(method="percentile", resamples=20).one(values).estimate == 25_000
