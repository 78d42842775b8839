"""Exact sums: against Python's integers and fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from crucible_telemetry.metrics.accumulators import (
    MOST_ROWS,
    Moments,
    group_sizes,
    moments_by_group,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL_OR_HUGE = st.one_of(
    INT64, st.integers(0, 10), st.integers(0, 2**21), st.integers(2**41, 2**43)
)
VALUES = hnp.arrays(np.int64, st.integers(1, 200), elements=SMALL_OR_HUGE)


def by_python(values: np.ndarray) -> Moments:
    numbers = values.tolist()
    squares = sum(v * v for v in numbers)
    return Moments(len(numbers), sum(numbers), squares, min(numbers), max(numbers))


@given(VALUES)
def test_moments_are_those_of_unbounded_integers(values):
    assert Moments.of(values) == by_python(values)


@given(VALUES, st.data())
def test_groups_have_the_moments_of_their_slices(values, data):
    inner = data.draw(st.sets(st.integers(1, max(len(values) - 1, 1)), max_size=20))
    starts = sorted({0, *(at for at in inner if at < len(values))})
    parts = np.split(values, starts[1:])
    assert moments_by_group(values, np.array(starts)) == [by_python(part) for part in parts]
    assert group_sizes(np.array(starts), len(values)) == [len(part) for part in parts]


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 2**42, 2**42 - 1, 2**21, -1, 0])
def test_many_rows_of_an_extreme_do_not_overflow(value):
    n = MOST_ROWS + 3
    expected = Moments(n, n * value, n * value * value, value, value)
    assert Moments.of(np.full(n, value, np.int64)) == expected


@given(st.lists(VALUES, max_size=6), st.randoms())
def test_f25_moments_merge_to_the_same_bits_in_any_order(parts, random):
    whole = Moments.of(np.concatenate([*parts, np.zeros(0, np.int64)]))
    pieces = [Moments.of(part) for part in parts]
    random.shuffle(pieces)
    merged = Moments()
    for piece in pieces:
        merged = piece.plus(merged)
    assert merged == whole
    assert (merged.mean(7), merged.std_dev(7)) == (whole.mean(7), whole.std_dev(7))


@given(VALUES, st.sampled_from([1, 10**6, 10**12]))
def test_mean_and_variance_are_the_correctly_rounded_ones(values, divisor):
    numbers = [Fraction(v, divisor) for v in values.tolist()]
    moments, n = Moments.of(values), len(values)
    mean = sum(numbers) / n
    assert moments.mean(divisor) == float(mean)
    if n > 1:
        variance = sum((v - mean) ** 2 for v in numbers) / (n - 1)
        assert moments.variance(divisor) == float(variance)
        assert moments.std_dev(divisor) == math.sqrt(float(variance))


def test_what_is_undefined_is_none():
    nothing, one = Moments.of(np.zeros(0, np.int64)), Moments.of(np.array([5]))
    assert nothing == Moments()
    assert (nothing.mean(), nothing.variance(), nothing.std_dev()) == (None, None, None)
    assert (one.mean(), one.variance(), one.std_dev()) == (5.0, None, None)


def test_a_tiny_spread_on_a_huge_mean_does_not_cancel():
    values = np.array([10**15 + 1, 10**15 + 2, 10**15 + 3])
    assert Moments.of(values).variance() == 1.0
