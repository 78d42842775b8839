"""A user's own metric of each unit: from its events alone, decoded unit by unit."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.compare.measures import Events
from crucible_telemetry.compare.metric import Metric
from crucible_telemetry.compare.units import numbers_of
from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.raised import placed
from crucible_telemetry.stats.arguments import Floats


def custom_values(
    events: Events, custom: CustomMetrics, metric: Metric, unit_of: NDArray[np.int64], n: int
) -> tuple[Floats, bool]:
    """The metric of each of `n` units, NaN where it answers None; and whether all are True or False."""
    order = np.argsort(unit_of, kind="stable")
    edges = np.searchsorted(unit_of[order], np.arange(n + 1))
    mine = (order[edges[unit] : edges[unit + 1]] for unit in range(n))
    return numbers_of([_figure(events, custom, metric, at) for at in mine])


def _figure(events: Events, custom: CustomMetrics, metric: Metric, at: NDArray[np.intp]) -> Any:
    try:
        found = custom.figure(metric.key, _decoded(events, at))
    except Exception as error:
        why = str(error) if isinstance(error, TypeError) else placed(error)
        raise ComparisonError(metric.name, f"the custom metric raised: {why}") from error
    found = found.item() if isinstance(found, np.generic) else found
    if not isinstance(found, (bool, int, float, type(None))):
        kind = type(found).__name__
        raise ComparisonError(metric.name, f"the custom metric answers a {kind}, and no number")
    return found


def _decoded(events: Events, at: NDArray[np.intp]) -> Iterator[Event]:
    """The events at these positions, in order of seq."""
    starts = np.cumsum([0, *map(len, events.parts)])
    for place in np.argsort([part.first_seq for part in events.parts]).tolist():
        start, stop = np.searchsorted(at, starts[place : place + 2])
        yield from events.reader.events(
            events.parts[place], (at[start:stop] - starts[place]).tolist()
        )
