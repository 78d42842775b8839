"""Exact moments of floats: integers in units of the smallest float, rounded once at the end. PURE.

Every finite float is a whole number of 2⁻¹⁰⁷⁴, so a sum of floats is a sum of (long) integers: no order
and no split changes a bit (the superaccumulator of Kulisch 1981, with Python's integers for its
register). By batch: mantissas of one exponent are added as int64, then shifted once.
"""

import math
from typing import Any, Final

import numpy as np

from crucible_telemetry.metrics.accumulators import Ints, Moments, group_sizes, moments_by_group
from crucible_telemetry.metrics.sketch import Floats

UNIT: Final = 2**1074
"""Units in 1.0."""
_MANTISSA: Final = 2**52 - 1
_EXPONENT_BITS: Final = 11
_ROOT_BITS: Final = 130
"""Bits kept of a quotient under a root: its root has 65, more than a float holds."""


def real_moments(values: Floats, starts: Ints) -> list[Moments]:
    """Moments, in units of 2⁻¹⁰⁷⁴, of consecutive groups of finite values; at most `MOST_ROWS` of these."""
    exponent, mantissa = _taken_apart(values)
    sizes = group_sizes(starts, len(values))
    codes = (np.repeat(np.arange(len(starts)), sizes) << _EXPONENT_BITS) | exponent
    order = codes.argsort()
    codes = codes[order]
    edges = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1))
    sums: dict[int, Moments] = {}
    for code, part in zip(
        codes[edges].tolist(), moments_by_group(mantissa[order], edges), strict=True
    ):
        group, shift = code >> _EXPONENT_BITS, (code & (2**_EXPONENT_BITS - 1)) - 1
        moments = _shifted(part, shift)
        sums[group] = sums[group].plus(moments) if group in sums else moments
    return [sums[group] for group in range(len(starts))]


def _taken_apart(values: Floats) -> tuple[Ints, Ints]:
    """(e, m) with value = m · 2^(e − 1) units: e from 1, m with its sign below 2⁵³."""
    bits: Ints = values.view(np.int64)
    stored = (bits >> 52) & (2**_EXPONENT_BITS - 1)
    mantissa = (bits & _MANTISSA) | np.where(stored > 0, _MANTISSA + 1, 0)
    return np.maximum(stored, 1), np.where(bits < 0, -mantissa, mantissa)


def _shifted(moments: Moments, shift: int) -> Moments:
    return Moments(
        moments.n,
        moments.total << shift,
        moments.square << (2 * shift),
        moments.minimum << shift,
        moments.maximum << shift,
    )


def real_figures(moments: Moments) -> dict[str, Any]:
    """Mean, extremes, deviation and variance of moments of reals; each rounded once.

    The variance of values beyond 10¹⁵⁴ may leave the range of floats, then it is inf; the deviation
    is taken from the exact quotient, not from that.
    """
    return {
        "count": moments.n,
        "mean": moments.mean(UNIT),
        "min": moments.minimum / UNIT,
        "max": moments.maximum / UNIT,
        "variance": _finite(lambda: moments.variance(UNIT)),
        "std_dev": _finite(lambda: _deviation(moments)),
    }


def _finite(figure: Any) -> float | None:
    try:
        value: float | None = figure()
    except OverflowError:
        return math.inf
    return value


def _deviation(moments: Moments) -> float | None:
    """Square root of the sample variance by an integer root."""
    if moments.n < 2:
        return None
    spread = moments.n * moments.square - moments.total * moments.total
    divisor = moments.n * (moments.n - 1)
    shift = max(0, _ROOT_BITS + divisor.bit_length() - spread.bit_length())
    shift += shift & 1
    root = math.isqrt((spread << shift) // divisor)
    return root / (UNIT << (shift // 2))
