"""The sketch: its buckets against exact arithmetic, its quantiles against the values and ddsketch."""

import ddsketch
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from crucible_telemetry.metrics.sketch import GAMMA, QUANTILE_ERROR, Sketch, bucket_index

FRACTIONS = [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0]
POSITIVE = st.one_of(st.integers(1, 100), st.integers(1, 2**53), st.integers(1, 2**63 - 1))
VALUES = hnp.arrays(np.int64, st.integers(1, 200), elements=st.one_of(st.just(0), POSITIVE))
CHANCE = np.random.default_rng(7)
SHAPES = {
    "lognormal": CHANCE.lognormal(18, 1, 5000),
    "uniform": CHANCE.uniform(0, 1e9, 5000),
    "exponential": CHANCE.exponential(3e8, 5000),
    "pareto": CHANCE.pareto(1.1, 5000) * 1e6,
    "two humps": np.concatenate([CHANCE.normal(1e6, 1e4, 2500), CHANCE.normal(1e11, 1e9, 2500)]),
    "constant": np.full(5000, 123_456_789),
    "mostly zero": np.where(CHANCE.random(5000) < 0.9, 0, 1e12),
    "few": np.array([1e3, 1e15]),
    "small counts": CHANCE.integers(0, 20, 5000),
}


def quantiles(values: np.ndarray, fractions: list[float]) -> list[float]:
    return Sketch.of(values).quantiles(fractions, int(values.min()), int(values.max()))


@given(st.integers(1, 2**53))
def test_a_value_lies_in_its_bucket_the_upper_bound_included(value):
    k = int(bucket_index(np.array([value]))[0])
    assert 2**k < value**32 <= 2 ** (k + 1)


@pytest.mark.parametrize("power", range(63))
def test_a_power_of_two_is_the_last_of_its_bucket(power):
    below, at, above = bucket_index(np.array([2**power - 1, 2**power, 2**power + 1])).tolist()
    assert at == 32 * power - 1
    assert below <= at
    assert above >= 32 * power or power > 52  # beyond 2⁵³ a float cannot tell them apart


@given(hnp.arrays(np.int64, st.integers(1, 100), elements=POSITIVE))
def test_larger_values_never_lie_in_lower_buckets(values):
    assert (np.diff(bucket_index(np.sort(values))) >= 0).all()


@given(st.integers(1, 130), hnp.arrays(np.int64, 130, elements=POSITIVE))
def test_f25_a_bucket_does_not_depend_on_the_array_a_value_stands_in(cut, values):
    one_by_one = [bucket_index(values[i : i + 1]) for i in range(len(values))]
    in_two = [bucket_index(values[:cut]), bucket_index(values[cut:])]
    assert (np.concatenate(one_by_one) == np.concatenate(in_two)).all()


@given(st.lists(VALUES, min_size=1, max_size=6), st.randoms())
def test_f25_sketches_merge_to_the_same_bits_in_any_order(parts, random):
    whole = Sketch.of(np.concatenate(parts))
    sketches = [Sketch.of(part) for part in parts]
    random.shuffle(sketches)
    merged = Sketch.of(np.zeros(0, np.int64))
    for sketch in sketches:
        merged = sketch.plus(merged)
    assert merged == whole
    assert merged.count == sum(map(len, parts))


@given(VALUES)
def test_every_quantile_is_within_the_stated_error_of_the_exact_one(values):
    exact = np.quantile(values.astype(np.float64), FRACTIONS)
    assert quantiles(values, FRACTIONS) == pytest.approx(exact, rel=QUANTILE_ERROR, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_quantiles_of_common_shapes_are_within_the_stated_error(shape):
    values = np.maximum(SHAPES[shape], 0).astype(np.int64)
    exact = np.quantile(values, FRACTIONS)
    assert quantiles(values, FRACTIONS) == pytest.approx(exact, rel=QUANTILE_ERROR, abs=1e-9)


@pytest.mark.parametrize("shape", ["lognormal", "uniform", "exponential", "pareto", "small counts"])
def test_quantiles_agree_with_ddsketch_within_both_errors(shape):
    values = np.maximum(SHAPES[shape], 0).astype(np.int64)
    oracle = ddsketch.DDSketch(relative_accuracy=QUANTILE_ERROR)
    for value in values.tolist():
        oracle.add(value)
    ranked = [round(q * 4999) / 4999 for q in FRACTIONS[1:-1]]  # at a rank nothing is interpolated
    expected = [oracle.get_quantile_value(q) for q in ranked]
    assert quantiles(values, ranked) == pytest.approx(expected, rel=2.1 * QUANTILE_ERROR, abs=1e-9)


def test_the_stated_error_is_that_of_the_buckets_rounded_up():
    assert 0 < QUANTILE_ERROR - (GAMMA - 1) / (GAMMA + 1) < 1e-5


def test_quantiles_stay_between_the_exact_extremes():
    assert quantiles(np.array([1000]), [0.0, 0.5, 1.0]) == [1000.0] * 3
    low, high = quantiles(np.array([999, 1_000_003]), [0.0, 1.0])
    assert 999 <= low <= high <= 1_000_003


def test_bins_cover_only_the_range_in_use():
    sketch = Sketch.of(np.array([0, 10**9, 2 * 10**9]))
    assert sketch.zeros == 1
    assert len(sketch.bins) == 33
    assert sketch.bins[0] == sketch.bins[-1] == 1
    assert Sketch.of(np.array([0, 0])).bins.size == 0


def test_adding_leaves_both_sketches_as_they_were():
    left, right = Sketch.of(np.array([5, 6])), Sketch.of(np.array([5, 6, 700]))
    left.plus(right)
    assert left == Sketch.of(np.array([5, 6]))
    assert right == Sketch.of(np.array([5, 6, 700]))
    assert left != right
    assert left != "a sketch"
