"""The k-th smallest of all pairwise sums, without making them all. PURE.

Hodges–Lehmann estimates are medians of pairwise differences (n × m of them) or of Walsh averages.
"""

import math
from collections.abc import Callable

import numpy as np

from crucible_telemetry.stats.arguments import Floats
from crucible_telemetry.stats.extra import optimize

_AT_ONCE = 4_000_000
"""Pairs that are made and sorted (32 MB, 0.3 s); beyond, their number below a value is counted instead."""


class Sums:
    """All sums a_i + b_j in order; with `walsh`, the averages (a_i + a_j) / 2 over i ≤ j instead."""

    def __init__(self, a: Floats, b: Floats, *, walsh: bool = False) -> None:
        self._a, self._b, self._walsh = np.sort(a), np.sort(b), walsh
        self.count = len(a) * (len(a) + 1) // 2 if walsh else len(a) * len(b)
        self._all = self._made() if self.count <= _AT_ONCE else None

    def at(self, rank: int) -> float:
        """The sum of a rank (1 … count); counted ones to 1e-12 of their range; 0 and count + 1 are infinite."""
        if rank < 1 or rank > self.count:
            return -math.inf if rank < 1 else math.inf
        if self._all is not None:
            return float(self._all[rank - 1])
        return self._searched(rank)

    def median(self) -> float:
        """The middle one, or the mean of the two in the middle."""
        return (self.at((self.count + 1) // 2) + self.at(self.count // 2 + 1)) / 2

    def _made(self) -> Floats:
        table = self._a[:, None] + self._b
        if self._walsh:
            table = table[np.triu_indices(len(self._a))] / 2
        return np.sort(table, axis=None)

    def _searched(self, rank: int) -> float:
        low, high = self._a[0] + self._b[0], self._a[-1] + self._b[-1]
        low, high = (low / 2, high / 2) if self._walsh else (low, high)
        below: Callable[[float], float] = lambda value: self._at_most(value) - rank + 0.5  # noqa: E731
        if below(low) >= 0 or below(high) <= 0:  # at an end but for rounding
            return float(low if below(low) >= 0 else high)
        return float(optimize().brentq(below, low, high, xtol=1e-12 * max(high - low, 1e-300)))

    def _at_most(self, value: float) -> int:
        if not self._walsh:
            return int(np.searchsorted(self._b, value - self._a, "right").sum())
        ordered = int(np.searchsorted(self._a, 2 * value - self._a, "right").sum())
        return (ordered + int(np.searchsorted(self._a, value, "right"))) // 2


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
