"""Exact sums of integers and what follows from them: mean, variance, deviation. PURE.

Everything is kept as Python integers and divided once, at the end, so that any split of the data and
any order of merging gives the same bits (Chan, Golub & LeVeque 1983 discuss the one-pass sums; here
they are exact, so nothing cancels).
"""

import math
from itertools import pairwise
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Ints = NDArray[np.int64]

LIMB_BITS: Final = 21
"""Values are cut into limbs of 21 bits: a product of two has 42, a sum of 2²⁰ products 62."""
MOST_ROWS: Final = 2**20
"""Values that one call of the grouped functions may be given, so that no int64 overflows."""

INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)


class Moments(Struct, frozen=True, gc=False):
    """Count, exact sum, exact sum of squares, smallest and largest of int64 values.

    With `n == 0`, `minimum` and `maximum` are the neutral elements of min and max (the ends of int64).
    """

    n: int = 0
    total: int = 0
    square: int = 0
    minimum: int = INT64_MAX
    maximum: int = INT64_MIN

    @classmethod
    def of(cls, values: Ints) -> "Moments":
        """The moments of an array of shape ``(n,)``; linear time, exact at any size and magnitude."""
        moments = cls()
        for start in range(0, len(values), MOST_ROWS):
            part = values[start : start + MOST_ROWS]
            moments = moments.plus(moments_by_group(part, np.zeros(1, np.int64))[0])
        return moments

    def plus(self, other: "Moments") -> "Moments":
        """Both together; commutative and associative to the bit."""
        return Moments(
            self.n + other.n,
            self.total + other.total,
            self.square + other.square,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def mean(self, divisor: int = 1) -> float | None:
        """Arithmetic mean in units of `divisor`, correctly rounded; None for no values."""
        return self.total / (self.n * divisor) if self.n else None

    def variance(self, divisor: int = 1) -> float | None:
        """Sample variance (n − 1) in squared units of `divisor`; None below two values.

        (nΣx² − (Σx)²) / (n(n − 1)) with one division, correctly rounded.
        """
        if self.n < 2:
            return None
        spread = self.n * self.square - self.total * self.total
        return spread / (self.n * (self.n - 1) * divisor * divisor)

    def std_dev(self, divisor: int = 1) -> float | None:
        """Square root of the sample variance, in units of `divisor`; None below two values."""
        variance = self.variance(divisor)
        return None if variance is None else math.sqrt(variance)


def moments_by_group(values: Ints, starts: Ints) -> list[Moments]:
    """Moments of consecutive groups: group `k` is ``values[starts[k]:starts[k + 1]]``, never empty.

    At most `MOST_ROWS` values. The cost is some passes over the values, whatever the number of groups.
    """
    low, high = (reduced(ufunc, values, starts) for ufunc in (np.minimum, np.maximum))
    largest = max(-min(low), *high)
    totals = sums_by_group(values, starts, largest)
    squares = _squares_by_group(values, starts, largest)
    counts = group_sizes(starts, len(values))
    return list(map(Moments, counts, totals, squares, low, high))


def sums_by_group(values: Ints, starts: Ints, largest: int) -> list[int]:
    """Exact sums of consecutive groups; no magnitude exceeds `largest`, at most `MOST_ROWS` values."""
    if largest * len(values) <= INT64_MAX:
        return reduced(np.add, values, starts)
    upper = reduced(np.add, values >> 32, starts)
    lower = reduced(np.add, values & 0xFFFFFFFF, starts)
    return [(up << 32) + low for up, low in zip(upper, lower, strict=True)]


def _squares_by_group(values: Ints, starts: Ints, largest: int) -> list[int]:
    """Exact sums of squares: by limbs wherever the plain sum could leave int64."""
    if largest * largest * len(values) <= INT64_MAX:
        return reduced(np.add, values * values, starts)
    limbs = _limbs(values, largest)
    totals = [0] * len(starts)
    for i, left in enumerate(limbs):
        for j, right in enumerate(limbs[i:], i):
            shift = LIMB_BITS * (i + j) + (i != j)  # a mixed product stands twice in the square
            sums = reduced(np.add, left * right, starts)
            totals = [total + (part << shift) for total, part in zip(totals, sums, strict=True)]
    return totals


def _limbs(values: Ints, largest: int) -> list[Ints]:
    """Low limbs first, each in [0, 2²¹); the last carries the sign."""
    count = 1 + (largest.bit_length() > LIMB_BITS) + (largest.bit_length() > 2 * LIMB_BITS)
    mask = (1 << LIMB_BITS) - 1
    low = [(values >> (LIMB_BITS * k)) & mask for k in range(count - 1)]
    return [*low, values >> (LIMB_BITS * (count - 1))]


def reduced(ufunc: np.ufunc, values: NDArray[Any], starts: Ints) -> list[int]:
    """One number a group, as Python ints."""
    if len(starts) == 1:
        return [int(ufunc.reduce(values))]
    return ufunc.reduceat(values, starts).tolist()  # type: ignore[no-any-return]


def group_sizes(starts: Ints, n: int) -> list[int]:
    """Rows of each of the groups that `starts` cuts `n` rows into."""
    return [stop - start for start, stop in pairwise([*starts.tolist(), n])]
