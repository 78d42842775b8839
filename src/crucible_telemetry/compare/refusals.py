"""What would not be honest to compare, and what has to be said of what is. PURE."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from crucible_telemetry.compare.gathering import Gathered
from crucible_telemetry.compare.metric import Metric
from crucible_telemetry.errors import ComparisonError

_SAME: Final = 0.5
"""Share of one experiment's event times, to the µs, that another has too when both heard the same events."""


def check(metric: Metric, arms: Sequence[Gathered]) -> None:
    """ComparisonError for experiments that are one, share events, or have no honest figure of the metric."""
    if len({arm.id for arm in arms}) < len(arms):
        raise ComparisonError(metric.name, "the same experiment, or id, stands for two arms")
    if len({arm.units.kind for arm in arms}) > 1:
        raise ComparisonError(
            metric.name, "some arms ran trials and others did not: no common unit"
        )
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            _check_shared(metric, arm, other)
    if metric.needs_events or arms[0].units.kind == "call":
        _check_events(metric, arms)


def _check_shared(metric: Metric, arm: Gathered, other: Gathered) -> None:
    if not (arm.process_wide or other.process_wide):
        return
    one, two = (np.unique(each.events.column("timestamp_us")) for each in (arm, other))
    both = len(np.intersect1d(one, two, assume_unique=True))
    if both and both > _SAME * min(len(one), len(two)):
        raise ComparisonError(
            metric.name,
            f"{other.name} and {arm.name} share events ({both:,} of {min(len(one), len(two)):,} times): one "
            "captured the whole process while the other ran; capture='scope' keeps them apart",
        )


def _check_events(metric: Metric, arms: Sequence[Gathered]) -> None:
    billed = metric.source in ("cost", "ratio", "tokens")
    pools = {arm.events.billed_name if billed else arm.events.pool_name for arm in arms}
    if len(pools) > 1:
        raise ComparisonError(
            metric.name, f"of different operations: {' and '.join(sorted(pools))}"
        )
    for arm in arms:
        if arm.sampled:
            raise ComparisonError(
                metric.name, f"{arm.name} is a sample, whose calls were not drawn one by one"
            )
        if metric.key == "cost_usd" and arm.costs is not None and arm.costs.unpriced:
            raise ComparisonError(
                metric.name,
                f"{arm.name} has {arm.costs.unpriced} calls of unknown price beside "
                f"{arm.costs.count} priced ones: the cost of these is not the cost of all",
            )


def notes_on(metric: Metric, arms: Sequence[Gathered]) -> tuple[str, ...]:
    """What holds for the comparison as a whole."""
    found = []
    if arms[0].units.kind == "call":
        items = arms[0].units.items is not None
        found.append(
            "nothing ran in trials: the unit is the call, "
            + ("grouped by the item it names" if items else "and calls are taken as independent")
        )
    return (*found, *_unlike(metric, arms), *_drift(arms))


def _drift(arms: Sequence[Gathered]) -> tuple[str, ...]:
    """Arms that did not run side by side differ by whatever else changed meanwhile."""
    spans = [arm.units.span_us for arm in arms]
    together = min(end for _, end in spans) - max(start for start, _ in spans)
    shortest = min(end - start for start, end in spans)
    if together >= shortest / 2:
        return ()
    return (
        "the arms ran at different times: what drifted meanwhile (load, model versions) is part of the difference",
    )


def _unlike(metric: Metric, arms: Sequence[Gathered]) -> tuple[str, ...]:
    """Different shares without a score bend its mean."""
    if metric.source not in ("score", "success"):
        return ()
    shares = [float(np.isnan(arm.arm(metric)[0].values).mean()) for arm in arms]
    if not any(shares):
        return ()
    told = ", ".join(f"{share:.1%} of {arm.name}" for arm, share in zip(arms, shares, strict=True))
    return (
        f"without a value, and so left out: {told}; if that depends on the value, the difference is bent",
    )
