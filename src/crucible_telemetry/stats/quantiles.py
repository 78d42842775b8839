"""Quantiles: intervals by order statistics, differences from pairs of them; infinities allowed. PURE.

A failure counts as infinitely late: a p99 is infinite once more than 1 % fail.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import Floats, NanPolicy, in_order, sample, samples, share
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.result import Alternative, Interval, Result, Told

_SMALLEST_TAIL = 1e-9


def quantile_interval(
    values: ArrayLike,
    q: float,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """One quantile between two order statistics: at least `confidence`, whatever the distribution.

    Source: David & Nagaraja, Order Statistics (2003), 7.1. A limit that no order statistic reaches is
    infinite, and the note says from which n on it is not (for p99 at 95 %, two-sided: 368).
    """
    share("q", q)
    kept, ask = sample("values", values, nan), Inference(confidence, alternative)
    ordered, n = in_order(kept.values), len(kept.values)
    told: Told = {"test": "order-statistic interval", "estimand": _name(q), "n": (n,)}
    if n == 0:
        method = "order statistics"
        return ask.undecided("no values", kept.notes, estimate=math.nan, method=method, **told)
    low, high = ranks(n, q, ask.tail)
    limits = ask.sides((_at(ordered, low), _at(ordered, high)))
    return ask.result(
        estimate=quantile(ordered, q),
        interval=limits,
        method=f"order statistics {low} and {high} of {n} (0 and {n + 1} stand for infinity)",
        notes=(*kept.notes, *_needed("values", n, q, ask, (low, high))),
        **told,
    )


def quantile_difference(
    control: ArrayLike,
    treatment: ArrayLike,
    q: float,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The difference of a quantile between two arms, from each arm's order-statistic interval.

    The limits combine the arms' distances from their estimates as Newcombe's do (MOVER: Zou & Donner,
    Statistics in Medicine 27 (2008) 1693-1702), so skewness goes in; each arm's limits lie between two order
    statistics, where they miss by the error asked for (`places`). Where a quantile is infinite the limits are those of
    two intervals at half the error each (Bonferroni). The p-value turns the interval.
    """
    share("q", q)
    (first, second), notes = samples(control, treatment, nan)
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "quantile difference",
        "method": "MOVER of two interpolated order-statistic intervals, p-value by turning it",
        "estimand": f"difference of {_name(q)}, treatment − control",
        "n": (len(first), len(second)),
    }
    if not min(told["n"]):
        return ask.undecided("an arm has no values", notes, estimate=math.nan, **told)
    arms = _Arm.of(first, q), _Arm.of(second, q)
    with np.errstate(invalid="ignore"):
        estimate = arms[1].estimate - arms[0].estimate
    needs = [
        note
        for name, arm in zip(("control", "treatment"), arms, strict=True)
        for note in _needed(name, arm.n, q, ask, ranks(arm.n, q, ask.tail))
    ]
    return ask.result(
        estimate=estimate,
        interval=ask.sides(_limits(*arms, ask.tail)),
        p_value=turned_p_value(estimate, partial(_limits, *arms), ask.alternative),
        notes=(*notes, *needs),
        **told,
    )


def quantile(ordered: Floats, q: float) -> float:
    """Linear interpolation (type 7), as everywhere in this library; towards infinity, the inverted CDF."""
    position = (len(ordered) - 1) * q
    below = int(position)
    lower, upper = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    if math.isinf(upper) or math.isinf(lower):
        # The guard keeps 0.07 × 100 = 7.000000000000001 at rank 7.
        return float(ordered[max(math.ceil(len(ordered) * q - 1e-9), 1) - 1])
    return float(lower + (upper - lower) * (position - below))


@lru_cache(maxsize=4096)
def ranks(n: int, q: float, tail: float) -> tuple[int, int]:
    """The order statistics (1 … n) that miss the quantile with at most `tail` on their side; 0 and n + 1: none."""
    return _lower_rank(n, q, tail), n + 1 - _lower_rank(n, 1 - q, tail)


@lru_cache(maxsize=4096)
def places(n: float, q: float, tail: float) -> Interval:
    """Where between the order statistics (1 … n) each limit misses the quantile by `tail`, no less; infinite: nowhere.

    The binomial distribution goes on between whole ranks as the incomplete beta function (Hutson, Journal of
    Applied Statistics 26 (1999) 343-353); `n` need not be whole, where clustered values are worth fewer.
    """
    rank = special().bdtrik
    low = float(rank(tail, n, q)) + 1 if (1 - q) ** n <= tail else -math.inf
    high = n - float(rank(tail, n, 1 - q)) if q**n <= tail else math.inf
    return low, high


def needed_n(q: float, confidence: float = 0.95, alternative: Alternative = "two-sided") -> int:
    """The smallest n at which the interval of a quantile is finite on the sides asked for."""
    ask, share_ = Inference(confidence, alternative), share("q", q)
    misses = {"less": (share_,), "greater": (1 - share_,)}.get(alternative, (share_, 1 - share_))
    return max(math.ceil(math.log(ask.tail) / math.log(miss)) for miss in misses)


def _lower_rank(n: int, q: float, tail: float) -> int:
    below = special().bdtr
    if below(0, n, q) > tail:
        return 0
    rank = int(special().bdtrik(tail, n, q)) + 1
    while below(rank - 1, n, q) > tail:
        rank -= 1
    while below(rank, n, q) <= tail:
        rank += 1
    return rank


class _Arm(Struct, frozen=True, eq=False):
    ordered: Floats
    q: float
    estimate: float

    @classmethod
    def of(cls, values: Floats, q: float) -> "_Arm":
        ordered = in_order(values)
        return cls(ordered, q, quantile(ordered, q))

    @property
    def n(self) -> int:
        return len(self.ordered)

    def limits(self, tail: float) -> Interval:
        low, high = ranks(self.n, self.q, tail)
        return _at(self.ordered, low), _at(self.ordered, high)

    def interpolated(self, tail: float) -> Interval:
        """The limits between two order statistics; the outer one where the inner is infinite."""
        low, high = places(self.n, self.q, tail)
        return self._between(low, math.floor), self._between(high, math.ceil)

    def _between(self, place: float, outer: Callable[[float], int]) -> float:
        if math.isinf(place):
            return place
        below, above = _at(self.ordered, math.floor(place)), _at(self.ordered, math.ceil(place))
        if math.isinf(below) or math.isinf(above):
            return _at(self.ordered, outer(place))
        return below + (above - below) * (place - math.floor(place))


def _limits(control: _Arm, treatment: _Arm, tail: float) -> Interval:
    if math.isinf(control.estimate) or math.isinf(treatment.estimate):
        (c_low, c_high), (t_low, t_high) = control.limits(tail / 2), treatment.limits(tail / 2)
        return _minus(t_low, c_high, -math.inf), _minus(t_high, c_low, math.inf)
    (c_below, c_above), (t_below, t_above) = _reach(control, tail), _reach(treatment, tail)
    estimate = treatment.estimate - control.estimate
    return estimate - math.hypot(t_below, c_above), estimate + math.hypot(t_above, c_below)


def _reach(arm: _Arm, tail: float) -> Interval:
    # At small confidence the order statistics may lie on one side of the interpolated estimate.
    low, high = arm.interpolated(tail)
    return max(0.0, arm.estimate - low), max(0.0, high - arm.estimate)


def _minus(one: float, other: float, undefined: float) -> float:
    return undefined if math.isinf(one) and one == other else one - other


def joint(one: float, other: float, together: float) -> float:
    """How far two arms' limits reach together (MOVER); `together`: the correlation of their estimates."""
    one, other = max(one, 0.0), max(other, 0.0)
    if math.isinf(one) or math.isinf(other):
        return math.inf
    return math.sqrt(max(0.0, one * one - 2 * together * one * other + other * other))


def turned_p_value(
    estimate: float, limits: Callable[[float], Interval], alternative: Alternative
) -> float:
    """Twice the largest tail whose interval still holds 0; one-sided, half of it or the rest."""
    two_sided = 2 * _largest_tail(limits)
    if alternative == "two-sided":
        return two_sided
    toward = estimate >= 0 if alternative == "greater" else estimate <= 0
    return two_sided / 2 if toward else 1 - two_sided / 2


def _largest_tail(limits: Callable[[float], Interval]) -> float:
    def holds_zero(tail: float) -> bool:
        low, high = limits(tail)
        return low <= 0 <= high

    holds, excludes = _SMALLEST_TAIL, 0.5
    if holds_zero(excludes):
        return excludes
    if not holds_zero(holds):
        return holds
    while excludes - holds > 1e-6 * holds:
        middle = math.sqrt(holds * excludes)
        holds, excludes = (middle, excludes) if holds_zero(middle) else (holds, middle)
    return holds


def _at(ordered: Floats, rank: int) -> float:
    if rank == 0:
        return -math.inf
    return math.inf if rank > len(ordered) else float(ordered[rank - 1])


def _needed(
    name: str, n: int, q: float, ask: Inference, placed: tuple[int, int]
) -> tuple[str, ...]:
    least = needed_n(q, ask.confidence, ask.alternative)
    open_ = ask.sides((float(placed[0]), float(placed[1])), (1.0, float(n)))
    if open_[0] >= 1 and open_[1] <= n:
        return ()
    return (
        f"{name}: a limit of {_name(q)} is infinite for lack of data: it needs n = {least}, has {n}",
    )


def _name(q: float) -> str:
    return f"p{100 * q:.10g}"
