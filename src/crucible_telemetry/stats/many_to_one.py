"""The largest of several t statistics that share a control: Dunnett's distribution. PURE.

Statistics i and j correlate as λ_i λ_j, where λ² is the control's part in the variance of a difference (with
one variance, n_i / (n_i + n_0)), so that given the control's mean and the standard deviation they are
independent: two integrals instead of as many as there are arms. The inner one, which knows nothing of the
degrees of freedom, is made once on a grid, and interpolated.
"""

import math
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from crucible_telemetry.stats.extra import interpolate, optimize, special

_NODES = 200
_STEPS = ((0.9, 2), (0.99, 5), (0.999, 20), (0.9999, 80), (1.0, 240))
"""Pieces of the integral over the control, up to a λ: near 1 the integrand is nearly a step."""
_PIECE = 50
"""Nodes of a piece."""
_ALL = 1 - 1e-5
"""A λ of 1 (an arm that does not vary) would leave nothing to integrate over."""
_FAR = 9.0
"""Standard deviations beyond which the normal holds less than 1e-18."""


class ManyToOne:
    """P(all statistics ≤ c), or of their absolute values; `shared` are the λ.

    Accurate to about 1e-10; to 2e-6 below two degrees of freedom, to 1e-8 from a million on. A λ above 0.99999 counts as that.
    """

    def __init__(self, shared: tuple[float, ...], df: float, *, two_sided: bool) -> None:
        self._two_sided = two_sided
        self._known = _known_spread(shared, two_sided)
        self._spread, self._mass = _chi(df, *_legendre(_NODES))

    def below(self, c: float) -> float:
        """The probability that no statistic exceeds `c`."""
        return float(self._mass @ self._known(np.clip(c * self._spread, -_FAR, 2 * _FAR)))

    def p_value(self, statistic: float) -> float:
        """The probability of a largest statistic at least this large."""
        return min(1.0, max(0.0, 1 - self.below(statistic)))

    def critical(self, confidence: float) -> float:
        """The `c` with `below(c)` = confidence; some thirty integrals (`critical_value` keeps it)."""
        high = 4.0
        while self.below(high) < confidence:
            high *= 2
        low = 0.0 if self._two_sided else -high
        return float(optimize().brentq(lambda c: self.below(c) - confidence, low, high, xtol=1e-11))


@lru_cache(maxsize=1024)
def critical_value(
    shared: tuple[float, ...], df: float, confidence: float, *, two_sided: bool
) -> float:
    """`ManyToOne.critical`, kept for designs seen before."""
    return ManyToOne(shared, df, two_sided=two_sided).critical(confidence)


@lru_cache(maxsize=8)
def _legendre(nodes: int) -> tuple[Any, Any]:
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return places, weights


def _pieces(count: int) -> tuple[Any, Any]:
    """Nodes and weights over all of the control's normal, in pieces of one length."""
    nodes, weights = _legendre(_PIECE)
    half = _FAR / count
    middles = np.linspace(half - _FAR, _FAR - half, count)
    return (middles[:, None] + half * nodes).ravel(), np.tile(half * weights, count)


@lru_cache(maxsize=64)
def _known_spread(shared: tuple[float, ...], two_sided: bool) -> Any:  # noqa: FBT001 - a cache's key
    """`ManyToOne.below` where the standard deviation is known, as a spline."""
    control, weights = _pieces(next(pieces for most, pieces in _STEPS if max(shared) <= most))
    mass = weights * np.exp(-(control**2) / 2) / math.sqrt(2 * math.pi)
    reach = np.linspace(0.0 if two_sided else -_FAR, 2 * _FAR, 2_001)
    below = np.zeros(len(reach))
    for rows in np.array_split(np.arange(len(reach)), 20):  # 10 MB at most
        below[rows] = _product(Counter(shared), control, reach[rows, None], two_sided) @ mass
    return interpolate().CubicSpline(reach, below)


def _product(shared: Counter[float], control: Any, reach: Any, two_sided: bool) -> Any:  # noqa: FBT001
    """The probability that no statistic exceeds `reach`, given the control's mean."""
    normal, inside = special().ndtr, np.ones(np.broadcast(reach, control).shape)
    for each, count in shared.items():
        kept = min(each, _ALL)
        own, shift = math.sqrt(1 - kept**2), kept * control
        part = normal((reach + shift) / own)
        part = part - normal((shift - reach) / own) if two_sided else part
        inside *= part**count
    return inside


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
