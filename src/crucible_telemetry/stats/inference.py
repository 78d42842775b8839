"""How sure, and against which side: p-values and intervals from an estimate and its error. PURE."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, get_args

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.result import UNBOUNDED, Alternative, Interval, Result, Told


class Inference(Struct, frozen=True):
    """Confidence and alternative of one question; ConfigurationError where they are none.

    A one-sided alternative has a one-sided interval: ``"greater"`` bounds the estimate from below only.
    """

    confidence: float = 0.95
    alternative: Alternative = "two-sided"

    def __post_init__(self) -> None:
        number = isinstance(self.confidence, Real)
        if not (number and 0 < self.confidence < 1):
            raise ConfigurationError("confidence", f"{self.confidence!r} is not between 0 and 1")
        if self.alternative not in get_args(Alternative):
            raise ConfigurationError(
                "alternative", f"{self.alternative!r} is none of {', '.join(get_args(Alternative))}"
            )

    @property
    def tail(self) -> float:
        """What may lie beyond each limit that is used."""
        return (1 - self.confidence) / (2 if self.alternative == "two-sided" else 1)

    def critical(self, df: float = math.inf) -> float:
        """The quantile of Student's t (infinite `df`: the normal) that gives an interval its reach."""
        return t_quantile(1 - self.tail, df)

    def p_value(self, statistic: float, df: float = math.inf) -> float:
        """Of a statistic that follows Student's t (infinite `df`: the normal) under no difference."""
        if self.alternative == "two-sided":
            return min(1.0, 2 * t_below(-abs(statistic), df))
        return t_below(statistic if self.alternative == "less" else -statistic, df)

    def interval(self, estimate: float, error: float, df: float = math.inf) -> Interval:
        """Estimate ± critical value × error, on the sides asked for."""
        reach = self.critical(df) * error
        return self.sides((estimate - reach, estimate + reach))

    def sides(self, limits: Interval, support: Interval = UNBOUNDED) -> Interval:
        """The limits asked for; the other side is the end of what is possible."""
        low, high = limits
        return (
            support[0] if self.alternative == "less" else low,
            support[1] if self.alternative == "greater" else high,
        )

    def result(self, **fields: Any) -> Result:
        """A result at this confidence, against this alternative."""
        return Result(confidence=self.confidence, alternative=self.alternative, **fields)

    def undecided(self, reason: str, notes: Sequence[str] = (), **fields: Any) -> Result:
        """A result that the data do not allow: nothing is excluded, and the first note says why."""
        told: Told = {"interval": UNBOUNDED, **fields}
        return self.result(notes=(reason, *notes), **told)


def from_t(ask: Inference, error: float, df: float, **fields: Any) -> Result:
    """The result of an estimate whose distance from `null` (0) is measured in units of its error."""
    estimate, null = fields["estimate"], fields.pop("null", 0.0)
    statistic = (estimate - null) / error
    return ask.result(
        statistic=statistic,
        df=() if math.isinf(df) else (df,),
        p_value=ask.p_value(statistic, df),
        interval=ask.interval(estimate, error, df),
        **fields,
    )


def with_notes(result: Result, *notes: str) -> Result:
    """The same result with more said about it."""
    return replace(result, notes=result.notes + notes) if notes else result


def disagreeing(result: Result) -> Result:
    """The same result, told where its p-value and its interval, of different methods, disagree about 0."""
    held = result.interval[0] <= 0 <= result.interval[1]
    if (
        math.isnan(result.p_value)
        or math.isnan(result.interval[0])
        or held == (result.p_value >= 1 - result.confidence)
    ):
        return result
    return with_notes(
        result, "p-value and interval are of different methods and disagree here: it is close"
    )


def t_below(statistic: float, df: float = math.inf) -> float:
    """P(T ≤ statistic)."""
    functions = special()
    return float(functions.ndtr(statistic) if math.isinf(df) else functions.stdtr(df, statistic))


def t_quantile(probability: float, df: float = math.inf) -> float:
    """The inverse of `t_below`; taken in the lower tail, where probabilities are exact."""
    functions = special()
    tail = min(probability, 1 - probability)
    lower = functions.ndtri(tail) if math.isinf(df) else functions.stdtrit(df, tail)
    return float(lower if probability < 0.5 else -lower)
