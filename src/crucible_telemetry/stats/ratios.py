"""Ratios of sums (cost per success, tokens per second): delta method and Fieller, by cluster. PURE.

A row is a cluster: its numerator and its denominator. Nothing in the denominator gives an infinite ratio.
"""

import math
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Floats, NanPolicy, pairs
from crucible_telemetry.stats.inference import Inference, from_t
from crucible_telemetry.stats.means import welch_df
from crucible_telemetry.stats.moments import Moments
from crucible_telemetry.stats.result import Alternative, Result, Told

Parts = tuple[ArrayLike, ArrayLike]

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


def ratio_difference(
    control: Parts,
    treatment: Parts,
    *,
    paired: bool = False,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The difference of two ratios by the delta method; `paired`: row by row the same cluster.

    Deng, Knoblich & Lu, "Applying the delta method in metric analytics" (KDD 2018); Welch's degrees of
    freedom. With `paired` NaN is refused, since leaving rows out of one arm would break the pairs.
    """
    ask = Inference(confidence, alternative)
    policy: NanPolicy = "error" if paired else nan
    arms = _Ratio.of("control", control, policy), _Ratio.of("treatment", treatment, policy)
    if paired and arms[0].n != arms[1].n:
        raise ConfigurationError(
            "treatment", f"{arms[1].n} rows, control has {arms[0].n}: no pairs"
        )
    with np.errstate(invalid="ignore"):
        estimate = float(np.subtract(arms[1].estimate, arms[0].estimate))
    told: Told = {
        "test": "difference of ratios" + (" of pairs" if paired else ""),
        "method": "delta method on clusters",
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
    return from_t(ask, error, welch_df(*spread), notes=notes, **told)


def _delta(arm: _Ratio, ask: Inference, told: Told) -> Result:
    error = math.sqrt(Moments._of(arm.influence).variance / arm.n)
    if error == 0:
        return ask.undecided("the ratio is the same in every cluster", arm.notes, **told)
    interval = ask.interval(arm.estimate, error, arm.n - 1)
    return ask.result(df=(arm.n - 1,), interval=interval, notes=arm.notes, **told)


def _fieller(arm: _Ratio, ask: Inference, told: Told) -> Result:
    """The roots of (ȳ − r x̄)² = t² var(y − r x) / n, a quadratic in the ratio r."""
    above, below = arm.numerator.mean(), arm.denominator.mean()
    covariance = np.cov(arm.numerator, arm.denominator) * ask.critical(arm.n - 1) ** 2 / arm.n
    square = below**2 - covariance[1, 1]
    linear = above * below - covariance[0, 1]
    constant = above**2 - covariance[0, 0]
    told |= {"df": (arm.n - 1,)}
    if square <= 0:
        reason = "the denominators may sum to 0, so the ratio is not bounded"
        return ask.undecided(reason, arm.notes, **told)
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    limits = (float(linear - root) / square, float(linear + root) / square)
    return ask.result(
        interval=ask.sides((float(limits[0]), float(limits[1]))), notes=arm.notes, **told
    )
