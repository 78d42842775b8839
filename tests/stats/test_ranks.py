"""Rank tests: against SciPy, brute force and published examples."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats as scipy_stats

from crucible_telemetry.stats import (
    cliffs_delta,
    mann_whitney,
    ranks as rank_module,
    wilcoxon_signed_rank,
)
from crucible_telemetry.stats.selection import Sums

SIDES = ("two-sided", "less", "greater")
some = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


def test_the_permeability_example_of_hollander_and_wolfe():
    """Nonparametric Statistical Methods (1973), p. 69: W = 35, p = 0.1272 one-sided, shift 0.305."""
    term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    weeks_12_to_26 = [1.15, 0.88, 0.90, 0.74, 1.21]
    result = mann_whitney(weeks_12_to_26, term, alternative="greater")
    assert result.statistic == 35
    assert result.p_value == pytest.approx(0.1272, abs=5e-5)
    assert result.estimate == pytest.approx(0.305)
    both = mann_whitney(weeks_12_to_26, term)
    assert both.interval == pytest.approx((-0.15, 0.76))


def test_the_depression_example_of_hollander_and_wolfe():
    """Nonparametric Statistical Methods (1973), p. 29: p = 0.0195 one-sided, −0.46, −0.786 to −0.010."""
    first = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    second = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    result = wilcoxon_signed_rank(first, second)
    assert result.estimate == pytest.approx(-0.46)
    assert result.interval == pytest.approx((-0.786, -0.010))
    assert wilcoxon_signed_rank(first, second, alternative="less").p_value == pytest.approx(
        0.0195, abs=5e-5
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 3), (7, 9), (60, 55)])
def test_mann_whitney_agrees_with_scipy_with_and_without_ties(n, m, side):
    rng = np.random.default_rng(n)
    for values in (rng.normal(size=n + m), rng.integers(0, 4, n + m).astype(float)):
        control, treatment = values[:n], values[n:]
        result = mann_whitney(control, treatment, alternative=side)
        expected = scipy_stats.mannwhitneyu(treatment, control, alternative=side)
        assert result.statistic == expected.statistic
        if np.ptp(values):
            assert result.p_value == pytest.approx(expected.pvalue, rel=1e-12)
        apart = np.subtract.outer(treatment, control)
        assert result.estimate == pytest.approx(np.median(apart))


@pytest.mark.parametrize("side", SIDES)
def test_signed_ranks_agree_with_scipy_with_and_without_ties(side):
    rng = np.random.default_rng(8)
    for size, draw in (
        (6, rng.normal),
        (40, rng.normal),
        (15, lambda size: rng.integers(-3, 4, size)),
    ):
        control, treatment = draw(size=size) * 1.0, draw(size=size) * 1.0
        result = wilcoxon_signed_rank(control, treatment, alternative=side)
        moved = (treatment - control)[treatment != control]
        expected = scipy_stats.wilcoxon(moved, alternative=side)
        assert result.p_value == pytest.approx(expected.pvalue, rel=1e-12)


@given(control=some, treatment=some)
def test_cliffs_delta_is_the_mean_sign_of_all_differences_and_lies_in_its_interval(
    control, treatment
):
    result = cliffs_delta(control, treatment)
    signs = np.sign(np.subtract.outer(treatment, control))
    assert result.estimate == pytest.approx(signs.mean(), abs=1e-12)
    low, high = result.interval
    assert -1 <= low <= result.estimate + 1e-12
    assert result.estimate - 1e-12 <= high <= 1


def test_cliffs_delta_has_cliffs_unbiased_variance():
    """Formula 5.13 of Cliff (1996), written out over the whole matrix of signs."""
    control, treatment = [10, 20, 30, 40, 40, 50], [10, 10, 20, 20, 20, 30, 30, 30, 40, 50]
    result = cliffs_delta(control, treatment)
    assert result.estimate == -0.25  # the worked example of Macbeth, Razumiejczyk & Ledesma (2011)
    signs = np.sign(np.subtract.outer(treatment, control))
    n, m = signs.shape
    row, column = signs.mean(axis=1), signs.mean(axis=0)
    variance = (
        m**2 * ((row + 0.25) ** 2).sum()
        + n**2 * ((column + 0.25) ** 2).sum()
        - ((signs + 0.25) ** 2).sum()
    ) / (n * m * (n - 1) * (m - 1))
    z = scipy_stats.norm.ppf(0.975)
    d, below = -0.25, 1 - 0.25**2 + z**2 * variance
    reach = z * math.sqrt(variance) * math.sqrt((1 - d**2) ** 2 + z**2 * variance)
    assert result.interval == pytest.approx(
        ((d - d**3 - reach) / below, (d - d**3 + reach) / below)
    )


def test_complete_separation_still_leaves_room():
    result = cliffs_delta([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0, 9.0])
    assert result.estimate == 1
    assert result.interval[0] == pytest.approx((4 - 1.959964**2) / (4 + 1.959964**2), abs=1e-6)
    assert result.interval[1] == 1


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 5), (4, 4), (3, 7)])
def test_the_null_distribution_of_u_is_counted_out(m, n):
    brute = np.zeros(m * n + 1, dtype=int)
    for places in itertools.combinations(range(m + n), m):
        brute[sum(places) - m * (m - 1) // 2] += 1
    assert rank_module._u_counts(m, n) == tuple(brute)


@pytest.mark.parametrize("n", [1, 4, 9])
def test_the_null_distribution_of_the_signed_ranks_is_counted_out(n):
    brute = np.zeros(n * (n + 1) // 2 + 1, dtype=int)
    for signs in itertools.product((0, 1), repeat=n):
        brute[sum(rank for rank, sign in enumerate(signs, 1) if sign)] += 1
    assert rank_module._w_counts(n) == tuple(brute)


def test_the_limits_of_the_shift_miss_as_rarely_as_promised():
    """Exactly: over all orders of 4 + 5 values the interval of the shift misses 0 in at most 10 %."""
    missed, orders = 0, list(itertools.combinations(range(9), 4))
    for places in orders:
        control = [float(place) for place in places]
        treatment = [float(place) for place in range(9) if place not in places]
        low, high = mann_whitney(control, treatment, confidence=0.9).interval
        missed += not low <= 0 <= high
    assert 0.05 < missed / len(orders) <= 0.10


@pytest.mark.parametrize("tail", [0.05, 0.025, 0.005])
def test_from_50_values_on_the_normal_takes_over_without_a_step(tail):
    """Per further value the limit moves as it did while counted out, to 2 of some thousand differences."""
    for skipped in (rank_module._skipped_w, lambda n, tail: rank_module._skipped_u(n, n, tail)):
        before, exact, normal, after = (skipped(n, tail) for n in (48, 49, 50, 51))
        assert normal - exact == pytest.approx((exact - before + after - normal) / 2, abs=3)


def test_too_few_values_for_the_confidence_have_infinite_limits():
    assert mann_whitney([1.0, 2.0], [3.0, 4.0]).interval == (-math.inf, math.inf)
    assert wilcoxon_signed_rank([1.0, 2.0], [3.0, 5.0]).interval == (-math.inf, math.inf)
    assert mann_whitney([], [1.0]).notes == ("an arm has no values",)
    assert wilcoxon_signed_rank([], []).notes == ("no pairs",)
    assert cliffs_delta([], [1.0]).notes == ("an arm has no values",)


def test_all_equal_is_no_difference():
    result = mann_whitney([1.0] * 5, [1.0] * 6)
    assert (result.estimate, result.p_value) == (0.0, 1.0)
    assert "all values are equal" in result.notes
    result = wilcoxon_signed_rank([1.0] * 5, [1.0] * 5)
    assert (result.estimate, result.p_value, result.interval) == (0.0, 1.0, (-math.inf, math.inf))
    assert "no pair differs" in result.notes


def test_never_is_later_than_everything_and_two_nevers_tie():
    control, treatment = [1.0, 2.0, math.inf], [math.inf, math.inf, 3.0]
    result = mann_whitney(control, treatment)
    ranked = scipy_stats.mannwhitneyu([9.0, 9.0, 3.0], [1.0, 2.0, 9.0])
    assert (result.statistic, result.p_value) == (ranked.statistic, ranked.pvalue)
    assert mann_whitney([math.inf] * 3, [math.inf] * 4).estimate == 0.0
    assert mann_whitney([1.0] * 3, [math.inf] * 3).estimate == math.inf
    assert wilcoxon_signed_rank([1.0, 2.0, 3.0], [math.inf, math.inf, 3.0]).estimate == math.inf
    assert cliffs_delta([1.0, 2.0], [math.inf, math.inf]).estimate == 1


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_counted_order_statistics_are_the_made_ones(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(size=37), rng.normal(size=41)
    for walsh in (False, True):
        made = Sums(a, a if walsh else b, walsh=walsh)
        for rank in (1, 2, 50, made.count // 2, made.count):
            assert made._searched(rank) == pytest.approx(made.at(rank), abs=1e-9)


@given(
    st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=15),
    st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=15),
    st.booleans(),
)
def test_sums_that_are_counted_are_those_that_are_made_ties_included(a, b, walsh):
    b = a if walsh else b
    table = np.add.outer(np.sort(a), np.sort(b))
    expected = np.sort(table[np.triu_indices(len(a))] / 2 if walsh else table, axis=None)
    made = Sums(np.array(a), np.array(b), walsh=walsh)
    ranks = range(1, len(expected) + 1)
    assert [made.at(rank) for rank in ranks] == expected.tolist()
    made._all = None
    assert [made.at(rank) for rank in ranks] == pytest.approx(expected.tolist(), abs=1e-9)


def test_many_values_cost_a_few_times_what_scipys_test_alone_does():
    rng, spent = np.random.default_rng(3), []
    arms = [rng.lognormal(shift, 0.5, 200_000) for shift in (0, 0.02)]
    mann_whitney([1.0, 2.0], [3.0])  # SciPy loads
    for test in (mann_whitney, lambda a, b: scipy_stats.mannwhitneyu(b, a)):
        began = time.process_time()
        found = test(*arms)
        spent.append((time.process_time() - began, found))
    (own_s, result), (scipy_s, expected) = spent
    assert result.statistic == expected.statistic
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.estimate == pytest.approx(0.02, abs=0.005)
    assert own_s < 12 * scipy_s  # 4 times; before the search began where the answer lies, 25 times
