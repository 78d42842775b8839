"""The k-th smallest of all pairwise sums, without making them all. PURE.

Hodges–Lehmann estimates are medians of pairwise differences (n × m of them) or of Walsh averages.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.stats.arguments import Floats, in_order
from crucible_telemetry.stats.extra import optimize

_Counted = tuple[Floats, NDArray[np.int64]]
_AT_ONCE = 4_000_000
"""Pairs of distinct values that are made and sorted (64 MB, 0.5 s); beyond, those below a value are counted."""
_GRID = 256
"""Order statistics of each array whose sums say where to look."""


class Sums:
    """All sums a_i + b_j in order; with `walsh`, the averages (a_i + a_j) / 2 over i ≤ j instead."""

    def __init__(self, a: Floats, b: Floats, *, walsh: bool = False) -> None:
        self._walsh = walsh
        self.count = len(a) * (len(a) + 1) // 2 if walsh else len(a) * len(b)
        (self._a, self._often_a), (self._b, often_b) = (
            _distinct(in_order(a)),
            _distinct(in_order(b)),
        )
        self._upto_b = np.concatenate([[0], np.cumsum(often_b)])
        few = len(self._a) * len(self._b) <= _AT_ONCE
        self._all = self._made(often_b) if few else None

    def at(self, rank: float) -> float:
        """The sum of a rank (1 … count); counted ones to 1e-12 of their range; 0 and count + 1 are infinite."""
        if rank < 1 or rank > self.count:
            return -math.inf if rank < 1 else math.inf
        if self._all is not None:
            values, upto = self._all
            return float(values[np.searchsorted(upto, rank)])
        return self._searched(rank)

    def median(self) -> float:
        """The middle one, or the mean of the two in the middle; counted, what half of them reach."""
        if self._all is None:
            return self._searched((self.count + 1) / 2)
        return (self.at((self.count + 1) // 2) + self.at(self.count // 2 + 1)) / 2

    def _made(self, often_b: NDArray[np.int64]) -> _Counted:
        """The sums in order, and how many there are up to each."""
        table, often = self._a[:, None] + self._b, self._often_a[:, None] * often_b
        if self._walsh:
            np.fill_diagonal(often, often_b * (often_b + 1) // 2)
            upper = np.triu_indices(len(self._a))
            table, often = table[upper] / 2, often[upper]
        order = np.argsort(table, axis=None, kind="stable")
        return table.ravel()[order], np.cumsum(often.ravel()[order])

    def _searched(self, rank: float) -> float:
        low, high = self._around(rank)
        below: Callable[[float], float] = lambda value: self._at_most(value) - rank + 0.5  # noqa: E731
        if below(low) >= 0 or below(high) <= 0:  # the guess was too narrow, or it is an end
            low, high = self._a[0] + self._b[0], self._a[-1] + self._b[-1]
            low, high = (low / 2, high / 2) if self._walsh else (low, high)
        if below(low) >= 0 or below(high) <= 0:  # at an end but for rounding
            return float(low if below(low) >= 0 else high)
        return float(optimize().brentq(below, low, high, xtol=self._exact))

    @property
    def _exact(self) -> float:
        span = float(self._a[-1] - self._a[0] + self._b[-1] - self._b[0])
        return 1e-12 * max(span / 2 if self._walsh else span, 1e-300)

    def _around(self, rank: float) -> tuple[float, float]:
        """Values that the rank lies between, likely: those of a hundredth less and more on a coarse grid.

        The grid is of distinct values, so with many ties the guess may be off; `_searched` sees that.
        """
        a, b = (
            values[np.linspace(0, len(values) - 1, min(_GRID, len(values))).astype(np.intp)]
            for values in (self._a, self._b)
        )
        sums = np.sort(a[:, None] + b, axis=None) / (2 if self._walsh else 1)
        last, reach = len(sums) - 1, len(sums) // 100
        place = min(int(rank / self.count * len(sums)), last)
        return float(sums[max(place - reach, 0)]), float(sums[min(place + reach, last)])

    def _at_most(self, value: float) -> int:
        value = 2 * value if self._walsh else value
        upto = self._upto_b[np.searchsorted(self._b, value - self._a, "right")]
        pairs = int(self._often_a @ upto)
        if not self._walsh:
            return pairs
        return (pairs + int(self._upto_b[np.searchsorted(self._a, value / 2, "right")])) // 2


def _distinct(ordered: Floats) -> _Counted:
    """The values that differ, and how many there are of each."""
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return ordered[first], np.diff(np.concatenate([first, [len(ordered)]]))


def bounded(*arrays: Floats) -> tuple[list[Floats], Callable[[float], float]]:
    """Infinities as finite values further off than any difference, and the way back.

    Two infinities are a tie (both never): their difference is 0.
    """
    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    far = 4 * float(np.max(np.abs(finite), initial=1.0))
    kept = [np.clip(array, -far, far) for array in arrays]

    def back(value: float) -> float:
        return math.copysign(math.inf, value) if abs(value) > far / 2 else value

    return kept, back
