"""Confidence limits of noncentrality parameters, by turning the distribution's tails. PURE.

Steiger & Fouladi, "Noncentrality interval estimation and the evaluation of statistical models" (1997):
the lower limit is the parameter under which a statistic this large has probability `tail`, the upper the
one under which a statistic this small has.
"""

import math
from collections.abc import Callable

from crucible_telemetry.stats.extra import optimize, special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.result import Interval

NON_NEGATIVE: Interval = (0.0, math.inf)


def t_limits(statistic: float, df: float, ask: Inference) -> Interval:
    """Of the noncentrality of Student's t."""
    step = 4 + abs(statistic) / math.sqrt(df)

    def limit(probability: float) -> float:
        return _falling(
            lambda shift: t_below_shifted(statistic, df, shift) - probability,
            statistic,
            step,
            -math.inf,
        )

    return ask.sides((limit(1 - ask.tail), limit(ask.tail)))


def t_below_shifted(statistic: float, df: float, shift: float) -> float:
    """P(T ≤ statistic) of the noncentral t."""
    functions = special()
    chance = float(functions.nctdtr(df, shift, statistic))
    if not math.isnan(chance):
        return chance
    # Where SciPy gives up the statistic is so large that its normal part no longer counts beside the χ.
    ratio = max(0.0, shift / statistic)
    beyond = float(functions.chdtrc(df, df * ratio * ratio))
    return beyond if statistic > 0 else 1 - beyond


def f_limits(statistic: float, df: tuple[float, float], ask: Inference) -> Interval:
    """Of the noncentrality of F; 0 where even no effect makes so small a statistic likely."""
    return _limits(
        lambda shift: f_below_shifted(statistic, df, shift), df[0] * (statistic + 1), ask
    )


def f_below_shifted(statistic: float, df: tuple[float, float], shift: float) -> float:
    """P(F ≤ statistic) of the noncentral F."""
    functions = special()
    chance = float(functions.ncfdtr(*df, shift, statistic))
    if not math.isnan(chance):
        return chance
    # Where SciPy gives up the shift is so large that the numerator no longer varies beside the χ² below.
    return float(functions.chdtrc(df[1], shift / statistic * df[1] / df[0]))


def chi2_limits(statistic: float, df: float, ask: Inference) -> Interval:
    """Of the noncentrality of χ²; 0 as in `f_limits`."""
    below = special().chndtr
    return _limits(lambda shift: below(statistic, df, shift), statistic + df, ask)


def _limits(below: Callable[[float], float], scale: float, ask: Inference) -> Interval:
    def limit(probability: float) -> float:
        if below(0.0) <= probability:
            return 0.0
        return _falling(lambda shift: below(shift) - probability, scale, scale, 0.0)

    return ask.sides((limit(1 - ask.tail), limit(ask.tail)), NON_NEGATIVE)


def _falling(excess: Callable[[float], float], start: float, step: float, least: float) -> float:
    """The root of a falling function, bracketed outward from `start` and never below `least`."""
    low, high = max(start - step, least), start + step
    reach = step
    while low > least and excess(low) < 0:
        reach *= 2
        low = max(start - reach, least)
    while excess(high) > 0:
        reach *= 2
        high = start + reach
    return float(optimize().brentq(excess, low, high, xtol=1e-12, rtol=1e-13, maxiter=200))
