"""Moments and sketches of floats: exact, whatever the order, the sign and the size."""

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.metrics.reals import real_figures, real_moments
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR, SignedSketch

FRACTIONS = [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0]
SMALLEST = 5e-324
ONE = np.zeros(1, np.int64)
REALS = st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)
MANY = st.lists(REALS | st.floats(-2, 2), min_size=1, max_size=60)


def moments(values):
    return real_moments(np.array(values, np.float64), ONE)[0]


def sketch(values):
    return SignedSketch.of_reals(np.array(values, np.float64), ONE)[0]


def type_7(values, fraction):
    """In exact arithmetic, so that nothing overflows."""
    ordered = sorted(map(Fraction, values))
    position = (len(ordered) - 1) * Fraction(fraction)
    below = int(position)
    upper = ordered[min(below + 1, len(ordered) - 1)]
    return ordered[below] + (upper - ordered[below]) * (position - below)


@given(MANY)
def test_f25_the_mean_and_the_variance_are_those_of_exact_arithmetic_rounded_once(values):
    figures = real_figures(moments(values))
    exact = [Fraction(value) for value in values]
    assert figures["mean"] == float(sum(exact) / len(exact))
    assert (figures["min"], figures["max"]) == (min(values), max(values))
    if len(values) > 1:
        variance = statistics.variance(exact)
        try:
            assert figures["variance"] == float(variance)
        except OverflowError:
            assert figures["variance"] == math.inf
        try:
            assert figures["std_dev"] == pytest.approx(statistics.stdev(exact), rel=1e-15, abs=0)
        except OverflowError:
            assert figures["std_dev"] == math.inf
    else:
        assert figures["variance"] is figures["std_dev"] is None


@given(st.lists(MANY, min_size=1, max_size=6), st.randoms())
def test_f25_moments_and_sketches_of_reals_merge_to_the_same_bits_in_any_order(parts, random):
    whole = [value for part in parts for value in part]
    random.shuffle(parts)
    sums, spread = moments(parts[0]), sketch(parts[0])
    for part in parts[1:]:
        sums, spread = moments(part).plus(sums), sketch(part).plus(spread)
    assert sums == moments(whole)
    assert spread == sketch(whole)


@given(st.lists(MANY, min_size=1, max_size=5))
def test_groups_are_counted_as_if_each_stood_alone(groups):
    values = np.array([value for group in groups for value in group])
    starts = np.cumsum([0, *map(len, groups[:-1])])
    assert real_moments(values, starts) == [moments(group) for group in groups]
    assert SignedSketch.of_reals(values, starts) == [sketch(group) for group in groups]


@given(MANY)
def test_f11_every_quantile_of_reals_is_within_the_stated_error_of_type_7(values):
    found = sketch(values).quantiles(FRACTIONS, min(values), max(values))
    for fraction, value in zip(FRACTIONS, found, strict=True):
        exact = type_7(values, fraction)
        # Positions are floats, which at a steep step is an error of its own.
        slack = Fraction(SMALLEST) + (Fraction(max(values)) - Fraction(min(values))) / 2**48
        assert abs(Fraction(value) - exact) <= abs(exact) * Fraction(QUANTILE_ERROR) + slack


@pytest.mark.parametrize(
    "values",
    [[-3.0], [-1.0, 1.0], [-1e308, 1e308], [SMALLEST, 1e308], [-0.3, 0.0, 0.4], [-5.0, -2.0, 7.0]],
)
def test_quantiles_of_up_to_three_values_are_within_the_error_at_any_place(values):
    fractions = [k / 20 for k in range(21)]
    found = sketch(values).quantiles(fractions, min(values), max(values))
    for fraction, value in zip(fractions, found, strict=True):
        exact = float(type_7(values, fraction))
        assert value == pytest.approx(exact, rel=QUANTILE_ERROR, abs=max(map(abs, values)) * 1e-15)


def test_f11_the_ends_of_the_floats_have_few_buckets():
    values = [SMALLEST, -SMALLEST, 1e308, -1e308, 2.0**-1022, 0.0]
    whole = sketch(values * 1000)
    assert len(whole.keys) == len(whole.counts) == 6
    assert whole.counts.sum() == 6000


@given(REALS, REALS)
def test_larger_reals_never_lie_in_lower_buckets(left, right):
    low, high = sorted((left, right))
    assert sketch([low]).keys[0] <= sketch([high]).keys[0]


def test_a_cancelling_sum_keeps_what_is_small():
    assert real_figures(moments([1e308, 1.0, -1e308]))["mean"] == 1 / 3
    assert real_figures(moments([1e-200, 3e-200]))["std_dev"] == pytest.approx(2e-200 / 2**0.5)


@pytest.mark.parametrize("n", [1000, 100_000])
def test_moments_of_many_reals_agree_with_numpy(n):
    values = np.random.default_rng(n).normal(-3, 2, n)
    figures = real_figures(real_moments(values, ONE)[0])
    assert figures["mean"] == pytest.approx(values.mean(), rel=1e-13)
    assert figures["mean"] == pytest.approx(math.fsum(values) / n, rel=1e-15)
    assert figures["std_dev"] == pytest.approx(values.std(ddof=1), rel=1e-12)
