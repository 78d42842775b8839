"""Normality and equal variances, as description: no method here is chosen by a pre-test. PURE."""

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import NanPolicy, arms_of, sample
from crucible_telemetry.stats.arms import Arms
from crucible_telemetry.stats.extra import scipy_stats, special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.result import Interval, Result, Told

_NONE: Interval = (math.nan, math.nan)
_SHAPIRO_LIMIT = 5_000
_STEPHENS = (
    (0.2, -223.73, 101.14, -13.436),
    (0.34, -59.938, 42.796, -8.318),
    (0.6, -1.38, -4.279, 0.9177),
    (10.0, 0.0186, -5.709, 1.2937),
)
"""A² below which exp of a parabola is the p-value; in the first two rows, its complement."""


def shapiro_wilk(values: ArrayLike, *, nan: NanPolicy = "error") -> Result:
    """Shapiro and Wilk's W, by SciPy (Royston, Applied Statistics 44 (1995) 547-551).

    Needs 3 values; beyond 5,000 the p-value is extrapolated, and told as such.
    """
    kept, ask = sample("values", values, nan), Inference()
    told: Told = {
        "test": "Shapiro–Wilk",
        "method": "Royston's approximation",
        "estimand": "W (1 is normal)",
        "n": (len(kept.values),),
        "interval": _NONE,
    }
    reason = _undescribed(kept.values, 3)
    if reason:
        return ask.undecided(reason, kept.notes, estimate=math.nan, **told)
    spread = (kept.values - kept.values.mean()) / kept.values.std()
    ordered = np.sort(spread)
    many = len(ordered) > _SHAPIRO_LIMIT
    extrapolated = (f"p is extrapolated beyond n = {_SHAPIRO_LIMIT}",) if many else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that n is beyond the limit: the note says it
        done = scipy_stats().shapiro(ordered)
    return ask.result(
        statistic=float(done.statistic),
        estimate=float(done.statistic),
        p_value=float(done.pvalue),
        notes=kept.notes + extrapolated,
        **told,
    )


def anderson_darling(values: ArrayLike, *, nan: NanPolicy = "error") -> Result:
    """Anderson and Darling's A² against a normal of unknown mean and variance.

    p by D'Agostino & Stephens, Goodness-of-Fit Techniques (1986), table 4.9; needs 8 values.
    """
    kept, ask = sample("values", values, nan), Inference()
    n = len(kept.values)
    told: Told = {
        "test": "Anderson–Darling",
        "method": "normal, mean and variance estimated; Stephens' p-value",
        "estimand": "A² (0 is normal)",
        "n": (n,),
        "interval": _NONE,
    }
    reason = _undescribed(kept.values, 8)
    if reason:
        return ask.undecided(reason, kept.notes, estimate=math.nan, **told)
    ordered = np.sort((kept.values - kept.values.mean()) / kept.values.std(ddof=1))
    log = special().log_ndtr
    weights = 2 * np.arange(1, n + 1) - 1
    statistic = float(-n - (weights * (log(ordered) + log(-ordered[::-1]))).sum() / n)
    return ask.result(
        statistic=statistic,
        estimate=statistic,
        p_value=_stephens(statistic * (1 + 0.75 / n + 2.25 / n**2)),
        notes=kept.notes,
        **told,
    )


def levene(arms: Arms, *, nan: NanPolicy = "error") -> Result:
    """Levene's test of equal variances, about the arms' means; `brown_forsythe` is the robust one."""
    return _spread(arms, "mean", "Levene", nan)


def brown_forsythe(arms: Arms, *, nan: NanPolicy = "error") -> Result:
    """Brown and Forsythe's test of equal variances, about the arms' medians (JASA 69 (1974) 364-367)."""
    return _spread(arms, "median", "Brown–Forsythe", nan)


def _spread(arms: Arms, centre: str, test: str, nan: NanPolicy) -> Result:
    kept, ask = arms_of(arms, nan), Inference()
    values = [arm.values for arm in kept.values()]
    told: Told = {
        "test": test,
        "method": f"analysis of variance of distances from the {centre}",
        "estimand": "largest / smallest standard deviation",
        "arms": tuple(kept),
        "n": tuple(map(len, values)),
        "interval": _NONE,
    }
    notes = tuple(note for arm in kept.values() for note in arm.notes)
    reason = next(filter(None, (_undescribed(part, 2) for part in values)), "")
    if reason:
        return ask.undecided(reason, notes, estimate=math.nan, **told)
    with np.errstate(all="ignore"):
        done = scipy_stats().levene(*values, center=centre)
        deviations = [part.std(ddof=1) for part in values]
        ratio = float(max(deviations) / min(deviations))
    if math.isnan(done.pvalue):
        reason = f"no arm's distances from its {centre} vary"
        return ask.undecided(reason, notes, estimate=math.nan, **told)
    return ask.result(
        statistic=float(done.statistic),
        df=(len(values) - 1, sum(map(len, values)) - len(values)),
        p_value=float(done.pvalue),
        estimate=ratio,
        notes=notes,
        **told,
    )


def _undescribed(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", least: int) -> str:
    if len(values) < least:
        return f"needs {least} values, has {len(values)}"
    if not np.isfinite(values).all():
        return "a value is not finite"
    return "all values are equal" if np.ptp(values) == 0 else ""


def _stephens(statistic: float) -> float:
    for limit, *coefficients in _STEPHENS:
        if statistic < limit:
            fitted = math.exp(np.polyval(coefficients, statistic))
            return 1 - fitted if limit < 0.5 else fitted
    return 0.0
