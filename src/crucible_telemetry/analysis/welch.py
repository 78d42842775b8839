"""Welch's t: the difference of two means when nothing says that the variances are equal. PURE."""

import math

from msgspec import Struct


class Moments(Struct, frozen=True):
    """What the test needs of one arm: number of values, mean, sample variance (n − 1 below)."""

    n: int
    mean: float
    variance: float


class WelchResult(Struct, frozen=True, kw_only=True):
    """Treatment minus control, in the unit of the means.

    `interval` is two-sided at `confidence`; `p_value` is two-sided against no difference. Where the data
    allow no test, `statistic`, `df` and `p_value` are NaN and `notes` says why.
    """

    estimate: float
    interval: tuple[float, float]
    statistic: float
    df: float
    p_value: float
    confidence: float
    n: tuple[int, int]
    test: str = "Welch's t"
    notes: tuple[str, ...] = ()


def welch(control: Moments, treatment: Moments, *, confidence: float = 0.95) -> WelchResult:
    """Treatment minus control with a confidence interval, from counts, means and variances alone.

    Raises ValueError for a confidence outside (0, 1). Source: Welch, Biometrika 34 (1947) 28-35, degrees
    of freedom by Satterthwaite, Biometrics Bulletin 2 (1946) 110-114.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")
    estimate = treatment.mean - control.mean
    reason = _untestable(control, treatment)
    if reason is not None:
        return _without_test(control, treatment, confidence, reason)
    shares = control.variance / control.n, treatment.variance / treatment.n
    error = math.sqrt(sum(shares))
    df = _satterthwaite(shares, (control.n, treatment.n))
    p_value, reach = _t(estimate / error, df, confidence)
    return WelchResult(
        estimate=estimate,
        interval=(estimate - reach * error, estimate + reach * error),
        statistic=estimate / error,
        df=df,
        p_value=p_value,
        confidence=confidence,
        n=(control.n, treatment.n),
    )


def _satterthwaite(shares: tuple[float, float], sizes: tuple[int, int]) -> float:
    # Divided by the larger share first: the squares of tiny or huge variances leave the float range.
    largest = max(shares)
    scaled = [share / largest for share in shares]
    below = sum(share**2 / (n - 1) for share, n in zip(scaled, sizes, strict=True))
    return float(sum(scaled) ** 2 / below)


def _t(statistic: float, df: float, confidence: float) -> tuple[float, float]:
    """The two-sided p-value, and the quantile that gives the interval its reach."""
    # scipy.special alone loads in a fraction of the two seconds of scipy.stats.
    try:
        from scipy.special import stdtr, stdtrit  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "Welch's t needs SciPy: pip install 'crucible-telemetry[stats]'", name="scipy"
        ) from missing

    return float(2 * stdtr(df, -abs(statistic))), float(stdtrit(df, (1 + confidence) / 2))


def _untestable(control: Moments, treatment: Moments) -> str | None:
    if min(control.n, treatment.n) < 2:
        return f"needs two values in each arm, has {control.n} and {treatment.n}"
    figures = (control.mean, control.variance, treatment.mean, treatment.variance)
    if not all(map(math.isfinite, figures)):
        return "a mean or a variance is not finite"
    if control.variance == treatment.variance == 0:
        return "neither arm varies, so there is no error to measure the difference against"
    return None


def _without_test(
    control: Moments, treatment: Moments, confidence: float, reason: str
) -> WelchResult:
    return WelchResult(
        estimate=treatment.mean - control.mean,
        interval=(-math.inf, math.inf),
        statistic=math.nan,
        df=math.nan,
        p_value=math.nan,
        confidence=confidence,
        n=(control.n, treatment.n),
        notes=(reason,),
    )
