"""The largest of several t statistics that share a control: Dunnett's distribution. PURE.

Statistics i and j correlate as λ_i λ_j with λ = √(n_i / (n_i + n_0)), so that given the control's mean and
the common standard deviation they are independent: two integrals instead of as many as there are arms.
"""

import math
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from crucible_telemetry.stats.extra import optimize, special

_NODES = 200
_FAR = 9.0
"""Standard deviations beyond which the normal holds less than 1e-18."""


class ManyToOne:
    """P(all statistics ≤ c), or of their absolute values; accurate to about 1e-10."""

    def __init__(self, sizes: tuple[int, ...], control: int, df: float, *, two_sided: bool) -> None:
        self._shared = Counter(math.sqrt(n / (n + control)) for n in sizes)
        self._two_sided = two_sided
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        self._control = _FAR * nodes
        self._control_mass = (
            _FAR * weights * np.exp(-(self._control**2) / 2) / math.sqrt(2 * math.pi)
        )
        self._spread, self._spread_mass = _chi(df, nodes, weights)

    def below(self, c: float) -> float:
        """The probability that no statistic exceeds `c`."""
        normal = special().ndtr
        inside = np.ones((len(self._spread), len(self._control)))
        for shared, count in self._shared.items():
            own = math.sqrt(1 - shared**2)
            shift, reach = shared * self._control, c * self._spread[:, None]
            part = normal((reach + shift) / own)
            part = part - normal((shift - reach) / own) if self._two_sided else part
            inside *= part**count
        return float(self._spread_mass @ inside @ self._control_mass)

    def p_value(self, statistic: float) -> float:
        """The probability of a largest statistic at least this large."""
        return min(1.0, max(0.0, 1 - self.below(statistic)))

    def critical(self, confidence: float) -> float:
        """The `c` with `below(c)` = confidence; some thirty integrals (`critical_value` keeps it)."""
        high = 4.0
        while self.below(high) < confidence:
            high *= 2
        low = 0.0 if self._two_sided else -high
        return float(optimize().brentq(lambda c: self.below(c) - confidence, low, high, xtol=1e-12))


@lru_cache(maxsize=1024)
def critical_value(
    sizes: tuple[int, ...], control: int, df: float, confidence: float, *, two_sided: bool
) -> float:
    """`ManyToOne.critical`, kept for designs seen before."""
    return ManyToOne(sizes, control, df, two_sided=two_sided).critical(confidence)


def _chi(df: float, nodes: Any, weights: Any) -> tuple[Any, Any]:
    """Nodes and masses of √(χ²/df), over all but 2e-14 of it."""
    functions = special()
    low, high = (math.sqrt(functions.chdtri(df, tail) / df) for tail in (1 - 1e-14, 1e-14))
    places = (high - low) / 2 * nodes + (high + low) / 2
    log = (
        (df - 1) * np.log(places)
        - df * places**2 / 2
        + df / 2 * math.log(df)
        - (df / 2 - 1) * math.log(2)
        - functions.gammaln(df / 2)
    )
    return places, (high - low) / 2 * weights * np.exp(log)
