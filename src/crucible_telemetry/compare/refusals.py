"""What would not be honest to compare, and what has to be said of what is. PURE."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.compare.gathering import Gathered
from crucible_telemetry.compare.metric import Metric
from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.events.event import IDENTITY
from crucible_telemetry.stores.base import Where

_SAME: Final = 0.5
"""Share of the event times while both ran, to the µs, that two have in common when they heard the same events."""
_FEWEST: Final = 2
_LOOKED_AT: Final = 100
"""So many of these times are looked at: replayed traces may share their times, and not one event."""


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
    _check_custom(metric, arms)
    if metric.needs_events or arms[0].units.kind == "call":
        _check_events(metric, arms)
    else:
        _check_where(metric, arms[0].where)


def _check_custom(metric: Metric, arms: Sequence[Gathered]) -> None:
    for arm in arms:
        if metric.source == "custom" and metric.key not in arm.custom.names:
            known = ", ".join(sorted(arm.custom.names)) or "none"
            raise ComparisonError(
                metric.name, f"{arm.name} was given no custom metric of this name, but {known}"
            )


def _check_where(metric: Metric, where: Where | None) -> None:
    """A filter of events must not look as if it had chosen trials."""
    if where is not None and replace(where, **dict.fromkeys(IDENTITY)) != Where():
        raise ComparisonError(
            metric.name,
            "is a figure of trials, and `where` chooses events: of trials only "
            f"{', '.join(IDENTITY)} can be asked for",
        )


def _check_shared(metric: Metric, arm: Gathered, other: Gathered) -> None:
    """What two heard in the time both ran; a file does not say how it was captured, so it may be anything."""
    if not (arm.process_wide or other.process_wide):
        return
    one, two = (np.unique(each.events.column("timestamp_us")) for each in (arm, other))
    together = _while_both(one, two), _while_both(two, one)
    times = np.intersect1d(*together, assume_unique=True)
    if len(times) < _FEWEST or len(times) <= _SAME * min(map(len, together)):
        return
    looked_at = times[np.linspace(0, len(times) - 1, min(len(times), _LOOKED_AT)).astype(np.intp)]
    equal = arm.events.known_by(looked_at) & other.events.known_by(looked_at)
    if len(equal) > _SAME * len(looked_at):
        raise ComparisonError(
            metric.name,
            f"{other.name} and {arm.name} share events (equal ones at {len(times):,} of "
            f"{min(map(len, together)):,} times): one captured the whole process while the other ran; "
            "capture='scope' keeps them apart",
        )


def _while_both(times: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The times that lie between the first and the last of the others."""
    if not len(others):
        return times[:0]
    between: NDArray[np.int64] = times[(times >= others[0]) & (times <= others[-1])]
    return between


def _check_events(metric: Metric, arms: Sequence[Gathered]) -> None:
    for arm in arms:
        if arm.sampled:
            raise ComparisonError(
                metric.name, f"{arm.name} is a sample, whose calls were not drawn one by one"
            )
    if metric.source == "custom":
        return  # it is given every event, and has no pool
    billed = metric.source in ("cost", "ratio", "tokens")
    pools = {arm.events.billed_name if billed else arm.events.pool_name for arm in arms}
    if len(pools) > 1:
        raise ComparisonError(
            metric.name, f"of different operations: {' and '.join(sorted(pools))}"
        )
    for arm in arms:
        if metric.key == "cost_usd" and arm.costs is not None and arm.costs.unpriced:
            raise ComparisonError(
                metric.name,
                f"{arm.name} has {arm.costs.unpriced} calls of unknown price beside "
                f"{arm.costs.count} priced ones: the cost of these is not the cost of all",
            )


def notes_on(
    metric: Metric, arms: Sequence[Gathered], losses: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """What holds for the comparison as a whole; `losses`: units without a value first."""
    found = [f"{arm.name} is not whole: {'; '.join(arm.damage)}" for arm in arms if arm.damage]
    if arms[0].units.kind == "call" and metric.source == "custom":
        found.append(
            "nothing ran in trials, so a custom metric has one value an experiment: they differ by the "
            "estimate, and no interval is possible"
        )
    elif arms[0].units.kind == "call":
        items = arms[0].units.items is not None
        found.append(
            "nothing ran in trials: the unit is the call, "
            + ("grouped by the item it names" if items else "and calls are taken as independent")
        )
    return (*found, *unlike(arms, losses), *_drift(arms))


def _drift(arms: Sequence[Gathered]) -> tuple[str, ...]:
    """Arms that did not run side by side differ by whatever else changed meanwhile."""
    if not all(len(arm.units) for arm in arms):
        return ()
    spans = [arm.units.span_us for arm in arms]
    together = min(end for _, end in spans) - max(start for start, _ in spans)
    shortest = min(end - start for start, end in spans)
    if together >= shortest / 2:
        return ()
    return (
        "the arms ran at different times: what drifted meanwhile (load, model versions) is part of the difference",
    )


def unlike(arms: Sequence[Gathered], losses: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Different shares without a value bend its mean."""
    shares = [lost / max(len(arm.units), 1) for arm, (lost, _) in zip(arms, losses, strict=True)]
    if not any(shares):
        return ()
    told = ", ".join(f"{share:.1%} of {arm.name}" for arm, share in zip(arms, shares, strict=True))
    return (
        f"without a value, and so left out: {told}; if that depends on the value, the difference is bent",
    )
