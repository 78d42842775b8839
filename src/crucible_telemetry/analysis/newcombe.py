"""The difference of two rates, from counts alone. PURE."""

import math
from statistics import NormalDist

from msgspec import Struct

from crucible_telemetry.metrics.summary import wilson


class Rate(Struct, frozen=True):
    """`successes` of `n` tries."""

    successes: int
    n: int

    @property
    def value(self) -> float:
        """The rate, 0 … 1; NaN without a try."""
        return self.successes / self.n if self.n else math.nan


class RateResult(Struct, frozen=True, kw_only=True):
    """Treatment minus control, as a difference of rates in −1 … 1, with a two-sided interval.

    Where an arm has no tries the estimate is NaN, the interval −1 … 1, and `notes` says so.
    """

    estimate: float
    interval: tuple[float, float]
    confidence: float
    n: tuple[int, int]
    test: str = "Newcombe's hybrid score interval"
    notes: tuple[str, ...] = ()


def newcombe(control: Rate, treatment: Rate, *, confidence: float = 0.95) -> RateResult:
    """Treatment minus control, for independent tries.

    Raises ValueError for a confidence outside (0, 1). Source: Newcombe, Statistics in Medicine 17 (1998)
    873-890, method 10: the Wilson intervals of both rates, combined as squares.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} is not between 0 and 1")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    old, new = (wilson(rate.successes, rate.n, z) for rate in (control, treatment))
    sizes = control.n, treatment.n
    if old is None or new is None:
        reason = f"needs a try in each arm, has {control.n} and {treatment.n}"
        return RateResult(
            estimate=math.nan, interval=(-1, 1), confidence=confidence, n=sizes, notes=(reason,)
        )
    estimate = treatment.value - control.value
    below = math.hypot(treatment.value - new[0], old[1] - control.value)
    above = math.hypot(new[1] - treatment.value, control.value - old[0])
    interval = (max(estimate - below, -1.0), min(estimate + above, 1.0))
    return RateResult(estimate=estimate, interval=interval, confidence=confidence, n=sizes)
