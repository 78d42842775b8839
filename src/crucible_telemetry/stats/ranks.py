"""Ranks: Mann–Whitney, Wilcoxon's signed ranks, Hodges–Lehmann shifts, Cliff's delta. PURE.

Infinities are ranked (never is later than everything, two nevers are a tie).
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import Floats, NanPolicy, in_order, pairs, samples
from crucible_telemetry.stats.extra import scipy_stats
from crucible_telemetry.stats.inference import Inference, t_quantile
from crucible_telemetry.stats.result import Alternative, Effect, Interval, Result, Told
from crucible_telemetry.stats.selection import Sums, bounded

_EXACT_BELOW = 50
"""Sizes up to which the null distribution of the ranks is counted out, as R does."""


def mann_whitney(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Mann and Whitney's U of the treatment, with the Hodges–Lehmann shift and Cliff's delta.

    The shift is the median of all differences; its limits are order statistics of them (Hollander & Wolfe,
    Nonparametric Statistical Methods (1999), 4.3). p by SciPy: exact for small samples without ties, else
    normal with corrections for ties and continuity.
    """
    (first, second), notes = samples(control, treatment, nan)
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "Mann–Whitney U",
        "method": "Hodges–Lehmann shift, limits by order statistics of the differences",
        "estimand": "median of differences, treatment − control",
        "n": (len(first), len(second)),
    }
    if not min(told["n"]):
        return ask.undecided("an arm has no values", notes, estimate=math.nan, **told)
    (low, high), back = bounded(in_order(first), in_order(second))
    done = scipy_stats().mannwhitneyu(high, low, alternative=alternative)
    sums = Sums(high, -low[::-1])
    skip = _skipped_u(min(told["n"]), max(told["n"]), ask.tail)
    limits = ask.sides((sums.at(skip), sums.at(sums.count + 1 - skip)))
    same = np.ptp(np.concatenate([low, high])) == 0
    return ask.result(
        statistic=float(done.statistic),
        p_value=1.0 if same else float(done.pvalue),
        estimate=back(sums.median()),
        interval=(back(limits[0]), back(limits[1])),
        effect_size=_delta(low, high, ask),
        notes=(*notes, *(("all values are equal",) if same else ())),
        **told,
    )


def cliffs_delta(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """P(treatment > control) − P(treatment < control), ties counting for neither.

    Cliff's variance and asymmetric limits (Cliff, Ordinal Methods for Behavioral Data Analysis (1996);
    Feng & Cliff, Journal of Modern Applied Statistical Methods 3 (2004) 322-332).
    """
    arms, notes = samples(control, treatment, nan)
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "Cliff's delta",
        "method": "unbiased variance, asymmetric limits, normal quantile",
        "estimand": "P(treatment > control) − P(treatment < control)",
        "n": (len(arms[0]), len(arms[1])),
    }
    if not min(told["n"]):
        reason = "an arm has no values"
        return ask.undecided(reason, notes, estimate=math.nan, interval=(-1.0, 1.0), **told)
    effect = _delta(*arms, ask)
    return ask.result(estimate=effect.estimate, interval=effect.interval, notes=notes, **told)


def wilcoxon_signed_rank(
    control: ArrayLike,
    treatment: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Wilcoxon's signed ranks of treatment − control, with the Hodges–Lehmann pseudomedian.

    Pairs without a difference are left out of the test (Wilcoxon's way), not of the estimate; its limits
    are order statistics of the Walsh averages (Hollander & Wolfe, 3.3). p by SciPy.
    """
    both, ask = pairs(control, treatment, nan), Inference(confidence, alternative)
    (low, high), back = bounded(both.control, both.treatment)
    apart = high - low
    told: Told = {
        "test": "Wilcoxon signed rank",
        "method": "Hodges–Lehmann pseudomedian, limits by order statistics of Walsh averages",
        "estimand": "pseudomedian of differences of pairs, treatment − control",
        "n": (len(apart), len(apart)),
    }
    if not len(apart):
        return ask.undecided("no pairs", both.notes, estimate=math.nan, **told)
    sums = Sums(apart, apart, walsh=True)
    skip = _skipped_w(len(apart), ask.tail)
    limits = ask.sides((sums.at(skip), sums.at(sums.count + 1 - skip)))
    statistic, p_value, notes = _signed_ranks(apart, alternative)
    return ask.result(
        statistic=statistic,
        p_value=p_value,
        estimate=back(sums.median()),
        interval=(back(limits[0]), back(limits[1])),
        notes=both.notes + notes,
        **told,
    )


def _signed_ranks(apart: Floats, alternative: Alternative) -> tuple[float, float, tuple[str, ...]]:
    """The sum of the positive ranks, its p-value, and how many pairs did not differ."""
    moved = apart[apart != 0]
    if not len(moved):
        return 0.0, 1.0, ("no pair differs",)
    zeros = len(apart) - len(moved)
    notes = (f"{zeros} pairs without a difference left out of the test",) if zeros else ()
    stats = scipy_stats()
    positive = float(stats.rankdata(np.abs(moved))[moved > 0].sum())
    return positive, float(stats.wilcoxon(moved, alternative=alternative).pvalue), notes


def _delta(control: Floats, treatment: Floats, ask: Inference) -> Effect:
    m, n = len(control), len(treatment)
    control, treatment = in_order(control), in_order(treatment)
    rows = _dominance(treatment, control)
    columns = -_dominance(control, treatment)
    delta = float(rows.mean())
    if min(m, n) < 2:
        return Effect("Cliff's delta", delta, (-1.0, 1.0))
    z = ask.critical()
    if abs(delta) == 1:
        # No variance is seen: Cliff's (1996) limit from the smaller arm alone.
        least = (min(m, n) - z * z) / (min(m, n) + z * z)
        limits: Interval = (least, 1.0) if delta > 0 else (-1.0, -least)
        return Effect("Cliff's delta", delta, ask.sides(limits, (-1.0, 1.0)))
    error = math.sqrt(_variance(delta, rows, columns, _untied(control, treatment)))
    inside = (1 - delta**2) ** 2 + z * z * error**2
    reach, below = z * error * math.sqrt(inside), 1 - delta**2 + z * z * error**2
    middle = delta - delta**3
    return Effect(
        "Cliff's delta",
        delta,
        ask.sides(((middle - reach) / below, (middle + reach) / below), (-1.0, 1.0)),
    )


def _dominance(values: Floats, others: Floats) -> Floats:
    """For each value the share of `others` below it, less the share above; both are sorted."""
    below = np.searchsorted(others, values, "left")
    above = len(others) - np.searchsorted(others, values, "right")
    return (below - above) / len(others)


def _untied(control: Floats, treatment: Floats) -> int:
    left, right = (np.searchsorted(control, treatment, side) for side in ("left", "right"))
    return len(control) * len(treatment) - int((right - left).sum())


def _variance(delta: float, rows: Floats, columns: Floats, untied: int) -> float:
    n, m = len(rows), len(columns)
    squares = m**2 * ((rows - delta) ** 2).sum() + n**2 * ((columns - delta) ** 2).sum()
    cells = untied - n * m * delta**2
    unbiased = (squares - cells) / (n * m * (n - 1) * (m - 1))
    return float(max(unbiased, (1 - delta**2) / (n * m - 1)))


def _skipped_u(m: int, n: int, tail: float) -> int:
    """How far from the end the limit lies among the m × n ordered differences; 0: beyond all of them."""
    if n < _EXACT_BELOW:
        return _first_beyond(_u_counts(m, n), tail)
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    return max(0, math.floor(m * n / 2 + t_quantile(tail) * spread))


def _skipped_w(n: int, tail: float) -> int:
    if n < _EXACT_BELOW:
        return _first_beyond(_w_counts(n), tail)
    spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return max(0, math.floor(n * (n + 1) / 4 + t_quantile(tail) * spread))


def _first_beyond(counts: tuple[int, ...], tail: float) -> int:
    """The largest k with P(statistic < k) ≤ tail."""
    least, total = 0, sum(counts)
    for k, count in enumerate(counts):
        least += count
        if least > tail * total:
            return k
    return len(counts)


@lru_cache(maxsize=256)
def _u_counts(m: int, n: int) -> tuple[int, ...]:
    """Orders with each value of U: the Gaussian binomial's coefficients, exact in integers."""
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        for k in range(m * n, n + i - 1, -1):
            counts[k] -= counts[k - n - i]
        for k in range(i, m * n + 1):
            counts[k] += counts[k - i]
    return tuple(counts)


@lru_cache(maxsize=64)
def _w_counts(n: int) -> tuple[int, ...]:
    """Signs with each value of the signed-rank sum: subsets of 1 … n by their sum."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return tuple(counts)
