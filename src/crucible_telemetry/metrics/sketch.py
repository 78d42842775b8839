"""How values spread: a log-bucket sketch that answers any quantile within a stated relative error. PURE.

Buckets are those of an OpenTelemetry exponential histogram of scale 5 (32 per octave, upper bound
included), so a sketch leaves as such a histogram without loss. The idea is DDSketch's (Masson, Rim &
Lee 2019, VLDB 12); the index comes from the bits of the float, not from a logarithm, whose last bit
depends on the machine.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Protocol, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.metrics.accumulators import Ints, reduced

Floats = NDArray[np.float64]

PER_OCTAVE: Final = 32
GAMMA: Final = 2.0 ** (1 / PER_OCTAVE)
"""Upper over lower bound of a bucket."""
QUANTILE_ERROR: Final = 0.010831
"""Relative error of a live quantile against the exact one: (γ − 1) / (γ + 1), rounded up."""

MANTISSA_BITS: Final = 52
SLOT_BITS: Final = 11
NO_BUCKET: Final = -(2**14)
"""Below every bucket of a positive value: where `bucket_index` puts zero."""


class Spread(Protocol):
    """What a board keeps to answer quantiles: buckets while it runs, the values themselves at rest."""

    @classmethod
    def by_group(cls, values: Ints, starts: Ints) -> list[Self]:
        """One spread for each of the consecutive groups that begin at `starts`; no value below 0."""
        ...

    def plus(self, other: Self) -> Self:
        """Both together."""
        ...

    @classmethod
    def of_reals(cls, values: Floats, starts: Ints) -> Sequence[Any]:
        """The same for finite floats of any sign; what it gives has `plus` and `quantiles` too."""
        ...

    def quantiles(self, fractions: Sequence[float], low: float, high: float) -> list[float]:
        """Type 7 quantiles in the unit of the values; `low`, `high`: the exact extremes."""
        ...


def _bounds() -> Ints:
    """Mantissas of 2^(i/32), rounded down, by integer roots: the same on every machine."""
    bounds = []
    for i in range(PER_OCTAVE + 1):
        root = 1 << (PER_OCTAVE * MANTISSA_BITS + i)
        for _ in range(5):  # five square roots are the 32nd root; flooring each floors the whole
            root = math.isqrt(root)
        bounds.append(root - (1 << MANTISSA_BITS))
    return np.array(bounds, np.int64)


_BOUNDS: Final = _bounds()
_SLOT_STARTS: Final = np.arange(1 << SLOT_BITS, dtype=np.int64) << (MANTISSA_BITS - SLOT_BITS)
# Bounds lie 2 % apart and slots 0.05 %, so a slot holds one bound at most: one comparison decides.
_BASE: Final = np.searchsorted(_BOUNDS, _SLOT_STARTS, "right") - 1
_NEXT: Final = _BOUNDS[_BASE + 1]


def bucket_index(values: NDArray[Any]) -> Ints:
    """Index `k` of the bucket (γᵏ, γᵏ⁺¹] of each value above 0, below `NO_BUCKET` for 0; a few ns each."""
    bits = (
        values.astype(np.float64).view(np.int64) - 1
    )  # the float before: the upper bound is inside
    slots = (bits >> (MANTISSA_BITS - SLOT_BITS)) & ((1 << SLOT_BITS) - 1)
    within = _BASE[slots] + ((bits & ((1 << MANTISSA_BITS) - 1)) >= _NEXT[slots])
    index: Ints = ((bits >> MANTISSA_BITS) - 1023) * PER_OCTAVE + within
    return index


class Sketch(Struct, frozen=True, eq=False, gc=False):
    """Counts by bucket: ``bins[i]`` values in bucket `offset + i`, `zeros` that are 0.

    Bins reach from the first bucket in use to the last, so equal contents are equal sketches.
    Values below zero have no place here.
    """

    zeros: int
    offset: int
    bins: Ints

    @classmethod
    def of(cls, values: Ints) -> "Sketch":
        """The sketch of values ≥ 0, shape ``(n,)``."""
        if not len(values):
            return cls(0, 0, np.zeros(0, np.int64))
        return cls.by_group(values, np.zeros(1, np.int64))[0]

    @classmethod
    def by_group(cls, values: Ints, starts: Ints) -> "list[Sketch]":
        """One sketch a group; the index is computed for all at once, the bins group by group."""
        index = bucket_index(values)
        lowest = reduced(np.minimum, index, starts)
        edges = pairwise([*starts.tolist(), len(values)])
        return [
            cls._of_index(index[start:stop], low)
            for (start, stop), low in zip(edges, lowest, strict=True)
        ]

    @classmethod
    def of_reals(cls, values: Floats, starts: Ints) -> "list[SignedSketch]":
        """Sketches of finite floats."""
        return SignedSketch.of_reals(values, starts)

    @classmethod
    def _of_index(cls, index: Ints, low: int) -> "Sketch":
        if low >= NO_BUCKET:
            return cls(0, low, np.bincount(index - low))
        used = index[index >= NO_BUCKET]
        zeros = len(index) - len(used)
        if not len(used):
            return cls(zeros, 0, np.zeros(0, np.int64))
        low = int(used.min())
        return cls(zeros, low, np.bincount(used - low))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return (self.zeros, self.offset) == (other.zeros, other.offset) and np.array_equal(
            self.bins, other.bins
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def count(self) -> int:
        """Values in it."""
        return self.zeros + int(self.bins.sum())

    def plus(self, other: "Sketch") -> "Sketch":
        """Both together; the bins of neither are touched."""
        if not len(self.bins) or not len(other.bins):
            kept = self if len(self.bins) else other
            return Sketch(self.zeros + other.zeros, kept.offset, kept.bins)
        offset = min(self.offset, other.offset)
        stop = max(self.offset + len(self.bins), other.offset + len(other.bins))
        bins = np.zeros(stop - offset, np.int64)
        for part in (self, other):
            at = part.offset - offset
            bins[at : at + len(part.bins)] += part.bins
        return Sketch(self.zeros + other.zeros, offset, bins)

    def quantiles(self, fractions: Sequence[float], low: float, high: float) -> list[float]:
        """Type 7: interpolated between the values that stand for the bins of the two adjacent ranks.

        Each rank's value is within `QUANTILE_ERROR` of the true one, so their mixture is, at any n.
        """
        reached = np.cumsum(np.concatenate(([self.zeros], self.bins)))
        position = (int(reached[-1]) - 1) * np.asarray(fractions, np.float64)
        below = np.floor(position)
        lower, upper = (
            self._values(np.searchsorted(reached, rank, "right"), low, high)
            for rank in (below, np.ceil(position))
        )
        mixed: list[float] = (lower + (upper - lower) * (position - below)).tolist()
        return mixed

    def _values(self, bins: NDArray[np.intp], low: float, high: float) -> NDArray[np.float64]:
        """What stands for a bin: 2·lower·upper / (lower + upper), equally far from both bounds."""
        lower = np.exp2((self.offset + bins - 1) / PER_OCTAVE)
        middle = np.where(bins > 0, lower * (2 * GAMMA / (1 + GAMMA)), 0.0)
        return np.clip(middle, low, high)


SIGN_SHIFT: Final = 2**16
"""Added to the index of a bucket, so that keys of positive values are positive; negative ones mirror them."""
TINY_BITS: Final = 64
SMALLEST_NORMAL: Final = 2.0**-1022


def signed_keys(values: Floats) -> Ints:
    """A bucket for each finite value, in the order of the values: 0 for zero, mirrored below it."""
    size = np.abs(values)
    tiny = size < SMALLEST_NORMAL  # these have no leading bit: scaled up, they get one
    index = bucket_index(size * np.where(tiny, 2.0**TINY_BITS, 1.0))
    index = index + SIGN_SHIFT - tiny * (TINY_BITS * PER_OCTAVE)
    keys: Ints = np.where(size > 0, index, 0) * np.where(values < 0, -1, 1)
    return keys


class SignedSketch(Struct, frozen=True, eq=False, gc=False):
    """Counts by bucket of floats of any sign: ``counts[i]`` values in the bucket ``keys[i]`` (ascending).

    Sparse: at most 67,200 buckets a sign hold every float there is. `below`, `above`: the values
    next to zero on either side, exact, so that a quantile between these has no error at all.
    """

    keys: Ints
    counts: Ints
    below: float
    above: float

    @classmethod
    def of_reals(cls, values: Floats, starts: Ints) -> "list[SignedSketch]":
        """One sketch a group."""
        keys = signed_keys(values)
        below = np.maximum.reduceat(np.where(values < 0, values, -np.inf), starts).tolist()
        above = np.minimum.reduceat(np.where(values > 0, values, np.inf), starts).tolist()
        edges = pairwise([*starts.tolist(), len(values)])
        return [
            cls(*np.unique(keys[start:stop], return_counts=True), low, high)
            for (start, stop), low, high in zip(edges, below, above, strict=True)
        ]

    def plus(self, other: "SignedSketch") -> "SignedSketch":
        """Both together."""
        keys, where = np.unique(np.concatenate((self.keys, other.keys)), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, where, np.concatenate((self.counts, other.counts)))
        below, above = max(self.below, other.below), min(self.above, other.above)
        return SignedSketch(keys, counts, below, above)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SignedSketch):
            return NotImplemented
        nearest, others = (self.below, self.above), (other.below, other.above)
        same = nearest == others and np.array_equal(self.keys, other.keys)
        return same and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    def quantiles(self, fractions: Sequence[float], low: float, high: float) -> list[float]:
        """Type 7, each within `QUANTILE_ERROR` of the exact one: its neighbours have one sign or are exact.

        Below 2⁻¹⁰²² the error is at most half the smallest float more, which is how fine floats are there.
        """
        reached = np.cumsum(self.counts)
        position = (int(reached[-1]) - 1) * np.asarray(fractions, np.float64)
        below = np.floor(position)
        lower, upper = (
            self._ranked(rank, reached, low, high) for rank in (below, np.ceil(position))
        )
        share = position - below
        # By shares, not by the difference, which may be beyond any float.
        mixed: list[float] = np.clip(lower * (1 - share) + upper * share, lower, upper).tolist()
        return mixed

    def _ranked(self, rank: Floats, reached: Ints, low: float, high: float) -> Floats:
        """What stands for the values at these ranks; the extremes and those next to zero are exact."""
        at = np.searchsorted(reached, rank, "right")
        keys = self.keys[at]
        with np.errstate(
            over="ignore", under="ignore"
        ):  # the last bucket ends beyond; clipped below
            lower = np.exp2((np.abs(keys) - SIGN_SHIFT) / PER_OCTAVE)
            middle = lower * (2 * GAMMA / (1 + GAMMA)) * np.sign(keys)
        values: Floats = np.clip(np.where(keys == 0, 0.0, middle), low, high)
        negative = int(self.counts[self.keys < 0].sum())
        positive = int(reached[-1]) - int(self.counts[self.keys > 0].sum())
        for place, exact in ((negative - 1, self.below), (positive, self.above)):
            values[rank == place] = exact if math.isfinite(exact) else 0.0
        values[rank == 0] = low
        values[rank == reached[-1] - 1] = high
        return values
