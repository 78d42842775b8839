"""Several questions at once: adjusted p-values, in the order given. PURE."""

import numpy as np
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Floats, floats


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down: the chance of any false finding is bounded (Scandinavian Journal of Statistics 6 (1979) 65-70)."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _placed(stepped, order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini and Hochberg's step-up: the share of false findings is bounded (JRSS B 57 (1995) 289-300)."""
    p = _p_values(p_values)
    order = np.argsort(p, kind="stable")[::-1]
    factors = len(p) / np.arange(len(p), 0, -1)
    return _placed(np.minimum.accumulate(p[order] * factors), order)


def _p_values(values: ArrayLike) -> Floats:
    p = floats("p_values", values)
    if not ((p >= 0) & (p <= 1)).all():  # NaN is neither
        raise ConfigurationError("p_values", "holds NaN, or something outside 0 to 1")
    return p


def _placed(stepped: Floats, order: "np.ndarray[tuple[int], np.dtype[np.intp]]") -> Floats:
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
