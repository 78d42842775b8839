"""Equivalence: two one-sided tests (TOST) that a difference lies inside bounds set beforehand. PURE.

Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680. The p-value is the larger of
the two; the interval has twice the error outside (90 % at ``confidence=0.95``), so that it lies inside the
bounds exactly when p < 1 − confidence.
"""

import math

from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import NanPolicy, pairs, real
from crucible_telemetry.stats.effects import one_sample_effect, standardised, untestable
from crucible_telemetry.stats.extra import statsmodels
from crucible_telemetry.stats.inference import Inference, t_below
from crucible_telemetry.stats.means import difference_error, of_arms, of_pairs
from crucible_telemetry.stats.moments import Moments, moments_of_arms
from crucible_telemetry.stats.rates import DIFFERENCE_OF_RATES, Rate, rates_of
from crucible_telemetry.stats.result import Interval, Result, Told


def tost_welch(
    control: ArrayLike | Moments,
    treatment: ArrayLike | Moments,
    *,
    bounds: Interval,
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Whether the difference of two means lies inside `bounds` (in the unit of the values), by Welch's t."""
    ask = _inside(bounds, confidence)
    arms, notes = moments_of_arms(control, treatment, nan)
    told: Told = {
        "test": "TOST (Welch)",
        "method": "two one-sided Welch tests",
        **of_arms(*arms),
    }
    reason = untestable(*arms)
    if reason is not None:
        return ask.undecided(reason, notes, **told)
    told["effect_size"] = standardised("Hedges' g", *arms, ask)
    return _decided(ask, bounds, difference_error("Welch's t", *arms), told, notes)


def tost_paired(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    bounds: Interval,
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Whether the mean difference of pairs lies inside `bounds`."""
    ask, both = _inside(bounds, confidence), pairs(control, treatment, nan)
    of = Moments._of(both.differences)
    told: Told = {
        "test": "TOST (paired)",
        "method": "two one-sided t tests on the differences of pairs",
        **of_pairs(of),
    }
    reason = untestable(of)
    if reason is not None:
        return ask.undecided(reason, both.notes, **told)
    told["effect_size"] = one_sample_effect("Cohen's d_z", of, 0.0, ask)
    return _decided(ask, bounds, (math.sqrt(of.variance / of.n), of.n - 1), told, both.notes)


def tost_proportions(
    control: Rate, treatment: Rate, *, bounds: Interval, confidence: float = 0.95
) -> Result:
    """Whether the difference of two rates lies inside `bounds`: score tests at the bounds, by statsmodels.

    Farrington & Manning, Statistics in Medicine 9 (1990) 1447-1454.
    """
    ask = _inside(bounds, confidence)
    arms = rates_of(control, treatment)
    told: Told = {
        "test": "TOST (proportions)",
        "method": "two one-sided score tests (Farrington–Manning)",
        "estimand": DIFFERENCE_OF_RATES,
        "n": (arms[0][1], arms[1][1]),
    }
    if not min(told["n"]):
        reason = "an arm has no trials"
        return ask.undecided(reason, estimate=math.nan, **told | {"interval": (-1.0, 1.0)})
    told["estimate"] = arms[1][0] / arms[1][1] - arms[0][0] / arms[0][1]
    counts = (*arms[1], *arms[0])
    tests = [
        _score_test(counts, bound, side)
        for bound, side in zip(bounds, ("larger", "smaller"), strict=True)
    ]
    statistic, p_value = max(tests, key=lambda test: test[1])
    limits = statsmodels("stats.proportion").confint_proportions_2indep(
        *counts, compare="diff", method="score", alpha=1 - ask.confidence, correction=False
    )
    return ask.result(
        statistic=statistic,
        p_value=p_value,
        interval=(float(limits[0]), float(limits[1])),
        notes=(_verdict(p_value, ask, bounds),),
        **told,
    )


def _score_test(counts: tuple[int, int, int, int], bound: float, side: str) -> tuple[float, float]:
    done = statsmodels("stats.proportion").test_proportions_2indep(
        *counts, value=bound, compare="diff", method="score", alternative=side, correction=False
    )
    return float(done.statistic), float(done.pvalue)


def _inside(bounds: Interval, confidence: float) -> Inference:
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ConfigurationError("bounds", f"want (lowest, highest), not {bounds!r}")
    low, high = (real("bounds", bound) for bound in bounds)
    if not low < high:
        raise ConfigurationError("bounds", f"{low} is not below {high}")
    Inference(confidence)
    if confidence <= 0.5:
        raise ConfigurationError("confidence", f"{confidence} is not above one half")
    return Inference(2 * confidence - 1)


def _decided(
    ask: Inference,
    bounds: Interval,
    error_df: tuple[float, float],
    told: Told,
    notes: tuple[str, ...],
) -> Result:
    error, df = error_df
    above, below = ((told["estimate"] - bound) / error for bound in bounds)
    tests = [(above, t_below(-above, df)), (below, t_below(below, df))]
    statistic, p_value = max(tests, key=lambda test: test[1])
    return ask.result(
        statistic=statistic,
        df=(df,),
        p_value=p_value,
        interval=ask.interval(told["estimate"], error, df),
        notes=(_verdict(p_value, ask, bounds), *notes),
        **told,
    )


def _verdict(p_value: float, ask: Inference, bounds: Interval) -> str:
    shown = "equivalent" if p_value < (1 - ask.confidence) / 2 else "not shown to be equivalent"
    return f"{shown} within {bounds[0]:g} to {bounds[1]:g}"
