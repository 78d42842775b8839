"""Ratios of sums (cost per success, tokens per second): delta method and Fieller, by cluster. PURE.

A row is a cluster: its numerator and its denominator. Nothing in the denominator gives an infinite ratio.
"""

import math
from functools import partial
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Floats, NanPolicy, pairs
from crucible_telemetry.stats.inference import Inference, from_t, t_quantile
from crucible_telemetry.stats.means import welch_df
from crucible_telemetry.stats.moments import Moments
from crucible_telemetry.stats.quantiles import joint, turned_p_value
from crucible_telemetry.stats.result import UNBOUNDED, Alternative, Interval, Result, Told

Parts = tuple[ArrayLike, ArrayLike]
_Quadratic = tuple[tuple[float, float], tuple[float, float, float]]

RATIO = "sum of numerators / sum of denominators"


class _Ratio(Struct, frozen=True, eq=False):
    """An arm: its clusters' parts, and each cluster's influence on the ratio (their mean is 0)."""

    numerator: Floats
    denominator: Floats
    estimate: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, name: str, parts: Parts, nan: NanPolicy) -> "_Ratio":
        if not isinstance(parts, tuple) or len(parts) != 2:
            raise ConfigurationError(name, "a pair (numerators, denominators) is needed")
        names = (f"{name} numerators", f"{name} denominators")
        both = pairs(*parts, nan, names)
        with np.errstate(all="ignore"):
            above, below = both.control.sum(), both.treatment.sum()
            estimate = above / below if below or not above else math.copysign(math.inf, above)
        return cls(both.control, both.treatment, float(estimate), both.notes)

    @property
    def n(self) -> int:
        return len(self.numerator)

    @property
    def influence(self) -> Floats:
        apart: Floats = self.numerator - self.estimate * self.denominator
        return apart / float(self.denominator.mean())

    @property
    def quadratic(self) -> _Quadratic:
        """Means above and below, and the variances of the mean: below, of both together, above."""
        covariance = np.cov(self.numerator, self.denominator) / self.n
        means = float(self.numerator.mean()), float(self.denominator.mean())
        return means, (float(covariance[1, 1]), float(covariance[0, 1]), float(covariance[0, 0]))

    @property
    def trouble(self) -> str:
        if self.n < 2:
            return f"needs two clusters, has {self.n}"
        if not (np.isfinite(self.numerator).all() and np.isfinite(self.denominator).all()):
            return "a value is not finite"
        return "" if self.denominator.sum() else "nothing in the denominator"


def ratio(
    parts: Parts,
    *,
    method: Literal["fieller", "delta"] = "fieller",
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Σ numerators / Σ denominators over clusters, ``parts = (numerators, denominators)``.

    ``"fieller"``: all ratios that a t test of numerator − ratio × denominator accepts (Fieller, JRSS B 16
    (1954) 175-185); unbounded, and said so, where the denominators may sum to 0. ``"delta"``: linearised.
    """
    if method not in ("fieller", "delta"):
        raise ConfigurationError("method", f"{method!r} is none of fieller, delta")
    ask, arm = Inference(confidence, alternative), _Ratio.of("parts", parts, nan)
    told: Told = {
        "test": f"ratio ({method})",
        "method": "Fieller's set" if method == "fieller" else "delta method on clusters",
        "estimand": RATIO,
        "estimate": arm.estimate,
        "n": (arm.n,),
    }
    if arm.trouble:
        return ask.undecided(arm.trouble, arm.notes, **told)
    return _fieller(arm, ask, told) if method == "fieller" else _delta(arm, ask, told)


def ratio_difference(  # noqa: PLR0913 - keyword options, all with a default
    control: Parts,
    treatment: Parts,
    *,
    paired: bool = False,
    method: Literal["fieller", "delta"] = "fieller",
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The difference of two ratios over clusters; `paired`: row by row the same cluster.

    ``"fieller"``: each arm's set of Fieller, joined by MOVER (Zou & Donner, Statistics in Medicine 27 (2008)
    1693-1702) with the correlation of pairs; the p-value turns the interval. ``"delta"``: linearised (Deng,
    Knoblich & Lu, KDD 2018), which with few successes misses on one side only, or hardly ever. Welch's degrees
    of freedom. With `paired` NaN is refused, since leaving rows out of one arm would break the pairs.
    """
    if method not in ("fieller", "delta"):
        raise ConfigurationError("method", f"{method!r} is none of fieller, delta")
    ask = Inference(confidence, alternative)
    arms = _both(control, treatment, "error" if paired else nan, paired=paired)
    with np.errstate(invalid="ignore"):
        estimate = float(np.subtract(arms[1].estimate, arms[0].estimate))
    told: Told = {
        "test": "difference of ratios" + (" of pairs" if paired else ""),
        "method": "delta method on clusters"
        if method == "delta"
        else "Fieller's sets of the arms over clusters, joined by MOVER, p-value by turning it",
        "estimand": f"difference of ({RATIO}), treatment − control",
        "estimate": estimate,
        "n": (arms[0].n, arms[1].n),
    }
    notes = arms[0].notes + arms[1].notes
    reason = arms[0].trouble or arms[1].trouble
    if reason:
        return ask.undecided(reason, notes, **told)
    parts = [arms[1].influence - arms[0].influence] if paired else [arm.influence for arm in arms]
    spread = [Moments._of(part) for part in parts]
    error = math.sqrt(sum(part.variance / part.n for part in spread))
    if error == 0:
        return ask.undecided("the ratio is the same in every cluster", notes, **told)
    df = welch_df(*spread)
    if method == "delta":
        return from_t(ask, error, df, notes=notes, **told)
    together = float(np.corrcoef(arms[0].influence, arms[1].influence)[0, 1]) if paired else 0.0
    return _mover(arms, 0.0 if math.isnan(together) else together, df, ask, told | {"notes": notes})


def _both(
    control: Parts, treatment: Parts, nan: NanPolicy, *, paired: bool
) -> tuple[_Ratio, _Ratio]:
    arms = _Ratio.of("control", control, nan), _Ratio.of("treatment", treatment, nan)
    if paired and arms[0].n != arms[1].n:
        raise ConfigurationError(
            "treatment", f"{arms[1].n} rows, control has {arms[0].n}: no pairs"
        )
    return arms


def _mover(
    arms: tuple[_Ratio, _Ratio], together: float, df: float, ask: Inference, told: Told
) -> Result:
    """Fieller's sets of the arms, joined; `together` is the correlation of pairs."""
    limits = partial(_joined, tuple((arm.estimate, arm.quadratic) for arm in arms), together, df)
    if math.isinf(limits(ask.tail)[1]):
        unbounded = "an arm's denominators may sum to 0, so its ratio is not bounded"
        told |= {"notes": (*told["notes"], unbounded)}
    return ask.result(
        df=(df,),
        interval=ask.sides(limits(ask.tail)),
        p_value=turned_p_value(told["estimate"], limits, ask.alternative),
        **told,
    )


def _joined(
    arms: tuple[tuple[float, _Quadratic], ...], together: float, df: float, tail: float
) -> Interval:
    """The estimate, less and more what the arms' limits are away from theirs."""
    (control, first), (treatment, second) = arms
    t = t_quantile(1 - tail, df)
    (c_low, c_high), (t_low, t_high) = _fieller_limits(first, t), _fieller_limits(second, t)
    apart = treatment - control
    down = joint(treatment - t_low, c_high - control, together)
    return apart - down, apart + joint(t_high - treatment, control - c_low, together)


def _delta(arm: _Ratio, ask: Inference, told: Told) -> Result:
    error = math.sqrt(Moments._of(arm.influence).variance / arm.n)
    if error == 0:
        return ask.undecided("the ratio is the same in every cluster", arm.notes, **told)
    interval = ask.interval(arm.estimate, error, arm.n - 1)
    return ask.result(df=(arm.n - 1,), interval=interval, notes=arm.notes, **told)


def _fieller(arm: _Ratio, ask: Inference, told: Told) -> Result:
    told |= {"df": (arm.n - 1,)}
    limits = _fieller_limits(arm.quadratic, ask.critical(arm.n - 1))
    if math.isinf(limits[0]):
        reason = "the denominators may sum to 0, so the ratio is not bounded"
        return ask.undecided(reason, arm.notes, **told)
    return ask.result(interval=ask.sides(limits), notes=arm.notes, **told)


def _fieller_limits(of: _Quadratic, t: float) -> Interval:
    """The roots of (ȳ − r x̄)² = t² var(y − r x) / n, a quadratic in the ratio r; infinite where it has none."""
    (above, below), variances = of
    square, linear, constant = (
        mean - t * t * variance
        for mean, variance in zip((below**2, above * below, above**2), variances, strict=True)
    )
    if square <= 0:
        return UNBOUNDED
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    return (linear - root) / square, (linear + root) / square
