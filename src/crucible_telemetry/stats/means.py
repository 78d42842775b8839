"""Means: Student's and Welch's t, pairs, one sample against a claim; from values or from moments. PURE."""

import math

from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import NanPolicy, pairs, real
from crucible_telemetry.stats.effects import (
    one_sample_effect,
    pooled_variance,
    standardised,
    untestable,
)
from crucible_telemetry.stats.inference import Inference, from_t
from crucible_telemetry.stats.moments import Moments, moments_of, moments_of_arms
from crucible_telemetry.stats.result import Alternative, Result, Told

DIFFERENCE = "difference of means, treatment − control"
PAIRED = "mean difference of pairs, treatment − control"


def welch_t(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Welch's t: the difference of two means when nothing says that the variances are equal.

    Welch, Biometrika 34 (1947) 28-35, degrees of freedom by Satterthwaite, Biometrics Bulletin 2 (1946)
    110-114. Arms that cannot be tested (n < 2, no variance, infinities) give a result that says why.
    """
    return _two_arms("Welch's t", control, treatment, nan, Inference(confidence, alternative))


def student_t(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Student's t: the difference of two means under one variance; `welch_t` does not need that."""
    return _two_arms("Student's t", control, treatment, nan, Inference(confidence, alternative))


def paired_t(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Paired t: the mean of treatment − control over pairs; ConfigurationError on unequal lengths."""
    both = pairs(control, treatment, nan)
    differences = Moments._of(both.differences)
    told: Told = {
        "test": "paired t",
        "method": "Student's t on the differences of pairs",
        **of_pairs(differences),
    }
    return _one(differences, 0.0, both.notes, Inference(confidence, alternative), told)


def one_sample_t(
    values: ArrayLike | Moments,
    *,
    claim: float = 0.0,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """One mean against a claim: the estimate is the mean itself, the test is of mean − claim."""
    of, notes = moments_of("values", values, nan)
    claim = real("claim", claim)
    told: Told = {
        "test": "one-sample t",
        "method": f"Student's t against a claim of {claim:g}",
        "estimand": "mean",
        "estimate": of.mean,
        "n": (of.n,),
    }
    return _one(of, claim, notes, Inference(confidence, alternative), told)


def welch_df(*arms: Moments) -> float:
    """Satterthwaite's degrees of freedom of the sum of the arms' variances of the mean."""
    shares = [arm.variance / arm.n for arm in arms]
    # Divided by the larger share first: the squares of tiny or huge variances leave the float range.
    largest = max(shares)
    scaled = [share / largest for share in shares]
    below = sum(share**2 / (arm.n - 1) for share, arm in zip(scaled, arms, strict=True))
    return sum(scaled) ** 2 / below


def difference_error(test: str, control: Moments, treatment: Moments) -> tuple[float, float]:
    """Standard error of the difference and its degrees of freedom, by Student or by Welch."""
    if test == "Student's t":
        variance = pooled_variance(control, treatment)
        df = float(control.n + treatment.n - 2)
        return math.sqrt(variance * (1 / control.n + 1 / treatment.n)), df
    shares = control.variance / control.n + treatment.variance / treatment.n
    return math.sqrt(shares), welch_df(control, treatment)


def of_arms(control: Moments, treatment: Moments) -> Told:
    """What every test of two means tells."""
    estimate = treatment.mean - control.mean
    return {"estimand": DIFFERENCE, "estimate": estimate, "n": (control.n, treatment.n)}


def of_pairs(differences: Moments) -> Told:
    """What every test of the mean of pairs tells."""
    n = differences.n, differences.n
    return {"estimand": PAIRED, "estimate": differences.mean, "n": n}


def _two_arms(
    test: str,
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    nan: NanPolicy,
    ask: Inference,
) -> Result:
    arms, notes = moments_of_arms(control, treatment, nan)
    told: Told = {
        "test": test,
        "method": "one variance"
        if test == "Student's t"
        else "variances may differ, Satterthwaite's df",
        **of_arms(*arms),
    }
    reason = untestable(*arms)
    if reason is not None:
        return ask.undecided(reason, notes, **told)
    error, df = difference_error(test, *arms)
    effect = standardised("Hedges' g", *arms, ask)
    return from_t(ask, error, df, effect_size=effect, notes=notes, **told)


def _one(of: Moments, claim: float, notes: tuple[str, ...], ask: Inference, told: Told) -> Result:
    reason = untestable(of)
    if reason is not None:
        return ask.undecided(reason, notes, **told)
    effect = one_sample_effect("Cohen's d_z" if len(told["n"]) > 1 else "Cohen's d", of, claim, ask)
    error = math.sqrt(of.variance / of.n)
    return from_t(ask, error, of.n - 1, null=claim, effect_size=effect, notes=notes, **told)
