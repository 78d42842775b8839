"""Verdicts on a claim: from an interval, never from a point. PURE."""

from typing import Literal

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.result import Interval, Result

Verdict = Literal["met", "missed", "undecided"]


def verdict(
    result: Result, *, at_least: float | None = None, at_most: float | None = None
) -> Verdict:
    """Whether the estimate is at least (at most) what was claimed, as far as its interval tells.

    ``"met"`` when the whole interval agrees with the claim, ``"missed"`` when all of it disagrees,
    ``"undecided"`` otherwise. Exactly one claim is needed.
    """
    low, high = result.interval
    if at_least is not None and at_most is None:
        return reaches(result.interval, at_least)
    if at_most is not None and at_least is None:
        return _judged(holds=high <= at_most, fails=low > at_most)
    raise ConfigurationError("at_least", "give either at_least or at_most")


def reaches(interval: Interval, claim: float) -> Verdict:
    """`verdict` of an interval on "at least `claim`"."""
    return _judged(holds=interval[0] >= claim, fails=interval[1] < claim)


def _judged(*, holds: bool, fails: bool) -> Verdict:
    if holds:
        return "met"
    return "missed" if fails else "undecided"
