"""Standardised differences of means, with exact intervals under normality. PURE.

Intervals turn the noncentral t (Hedges & Olkin, Statistical Methods for Meta-Analysis, 1985); Cliff's
delta stands in `ranks`, eta² and omega² in `arms`, the odds ratio in `rates`.
"""

import math

from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import NanPolicy, pairs
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.moments import Moments, moments_of_arms
from crucible_telemetry.stats.noncentral import t_limits
from crucible_telemetry.stats.result import Alternative, Effect, Interval, Result, Told

_EXACT = "interval from the noncentral t distribution (normal values, equal variances)"


def cohen_d(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Cohen's d: the difference of two means in units of their pooled standard deviation."""
    return _two_arms("Cohen's d", control, treatment, nan, Inference(confidence, alternative))


def hedges_g(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Hedges' g: Cohen's d times the exact gamma factor that takes away its bias in small samples."""
    return _two_arms("Hedges' g", control, treatment, nan, Inference(confidence, alternative))


def glass_delta(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Glass' delta: the difference of two means in units of the control's standard deviation."""
    return _two_arms("Glass' delta", control, treatment, nan, Inference(confidence, alternative))


def cohen_d_paired(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Cohen's d of pairs (d_z): the mean difference in units of the differences' standard deviation."""
    both = pairs(control, treatment, nan)
    of = Moments._of(both.differences)
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "Cohen's d_z",
        "method": _EXACT,
        "estimand": "mean difference / its deviation",
    }
    if of.n < 2 or not of.finite or of.variance == 0:
        return ask.undecided(
            untestable(of) or "", both.notes, estimate=math.nan, n=(of.n, of.n), **told
        )
    effect = one_sample_effect("Cohen's d_z", of, 0.0, ask)
    return ask.result(
        estimate=effect.estimate,
        interval=effect.interval,
        n=(of.n, of.n),
        notes=both.notes,
        **told,
    )


def standardised(name: str, control: Moments, treatment: Moments, ask: Inference) -> Effect:
    """`name` (Cohen's d, Hedges' g or Glass' delta) of two arms; NaN where no arm varies."""
    variance, df = _scale(name, control, treatment)
    if not variance > 0 or not math.isfinite(variance):
        return Effect(name, math.nan, (-math.inf, math.inf))
    estimate = (treatment.mean - control.mean) / math.sqrt(variance)
    unit = math.sqrt(1 / control.n + 1 / treatment.n)
    shrink = unbiased(df) if name == "Hedges' g" else 1.0
    return _effect(name, estimate, unit, df, shrink, ask)


def one_sample_effect(name: str, of: Moments, claim: float, ask: Inference) -> Effect:
    """The distance of a mean from `claim` in standard deviations."""
    estimate = (of.mean - claim) / math.sqrt(of.variance)
    return _effect(name, estimate, 1 / math.sqrt(of.n), of.n - 1, 1.0, ask)


def untestable(*arms: Moments) -> str | None:
    """Why these arms allow no test of their means, if so."""
    if min(arm.n for arm in arms) < 2:
        each = " in each arm" if len(arms) > 1 else ""
        return f"needs two values{each}, has {' and '.join(str(arm.n) for arm in arms)}"
    if not all(arm.finite for arm in arms):
        return "a mean or a variance is not finite"
    if all(arm.variance == 0 for arm in arms):
        who = "neither arm varies" if len(arms) == 2 else "nothing varies"
        return f"{who}, so there is no error to measure the difference against"
    return None


def pooled_variance(*arms: Moments) -> float:
    """The variance within arms, on Σ(n − 1) degrees of freedom."""
    return sum(arm.squares for arm in arms) / sum(arm.n - 1 for arm in arms)


def unbiased(df: float) -> float:
    """Hedges' factor: Γ(df/2) / (√(df/2) Γ((df − 1)/2)); 0 on one degree of freedom."""
    if df <= 1:
        return 0.0
    log = special().gammaln
    return float(math.exp(log(df / 2) - log((df - 1) / 2)) / math.sqrt(df / 2))


def _scale(name: str, control: Moments, treatment: Moments) -> tuple[float, float]:
    if name == "Glass' delta":
        return control.variance, control.n - 1
    return pooled_variance(control, treatment), control.n + treatment.n - 2


def _effect(
    name: str, estimate: float, unit: float, df: float, shrink: float, ask: Inference
) -> Effect:
    low, high = t_limits(estimate / unit, df, ask)
    limits: Interval = (low * unit * shrink, high * unit * shrink)
    return Effect(name, estimate * shrink, limits)


def _two_arms(
    name: str,
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    nan: NanPolicy,
    ask: Inference,
) -> Result:
    arms, notes = moments_of_arms(control, treatment, nan)
    told: Told = {
        "test": name,
        "method": _EXACT,
        "estimand": "standardised difference of means, treatment − control",
        "n": (arms[0].n, arms[1].n),
    }
    reason = untestable(*arms)
    if reason is not None:
        return ask.undecided(reason, notes, estimate=math.nan, **told)
    effect = standardised(name, *arms, ask)
    if math.isnan(effect.estimate):
        return ask.undecided("the control does not vary", notes, estimate=math.nan, **told)
    return ask.result(estimate=effect.estimate, interval=effect.interval, notes=notes, **told)
