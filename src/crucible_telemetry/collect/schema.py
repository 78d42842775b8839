"""Registered types: which events are not as `ct.catalog.register(measurements=, metadata=)` said. PURE.

An event that does not fit is stored all the same, marked and counted as ``schema``. A batch is tried in
one go; only when that fails each event is looked at.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from crucible_telemetry.events.rows import EventInfo

Pair = tuple[dict[str, Any], dict[str, Any]]
"""(measurements, metadata) as they were emitted, before privacy."""


class Schema:
    """The types of one event's measurements and metadata; either may be None."""

    __slots__ = ("_types",)

    def __init__(self, measurements: Any, metadata: Any) -> None:
        self._types = tuple(
            (at, wanted) for at, wanted in enumerate((measurements, metadata)) if wanted is not None
        )

    def misfits(self, events: Sequence[Pair]) -> list[int]:
        """Positions of the events that do not fit, ascending; never raises."""
        bad: set[int] = set()
        for at, wanted in self._types:
            values = [event[at] for event in events]
            every: Any = list[wanted]  # type: ignore[valid-type]
            if not _fits(values, every):
                bad.update(i for i, value in enumerate(values) if not _fits(value, wanted))
        return sorted(bad)


def schema_of(info: EventInfo) -> Schema | None:
    """What an event must fit, if it was registered with types."""
    if info.measurements is None and info.metadata is None:
        return None
    return Schema(info.measurements, info.metadata)


def _fits(value: Any, wanted: Any) -> bool:
    try:
        msgspec.convert(value, wanted)
    except Exception:  # noqa: BLE001 - a struct's own checks may raise anything
        return False
    return True
