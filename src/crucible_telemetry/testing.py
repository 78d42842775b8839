"""For users' own tests: see which events code emits, without a lab."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from crucible_telemetry.events.routes import Name, attach, detach

_numbers = itertools.count(1)


class Captured(Struct, frozen=True):
    """An event as it was emitted: name, and copies of its two dictionaries."""

    event_name: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]


@contextmanager
def capture(events: Name | Iterable[Name] = "*") -> Iterator[list[Captured]]:
    """``with ct.testing.capture("llm.*") as events:``: what is emitted meanwhile, in any task or thread.

    The list grows as events are emitted and stays when the block is left.
    """
    caught: list[Captured] = []

    def keep(name: str, measurements: dict[str, Any], metadata: dict[str, Any], _: Any) -> None:
        caught.append(Captured(name, measurements, metadata))

    handler_id = f"crucible.testing.capture.{next(_numbers)}"
    attach(handler_id, events, keep)
    try:
        yield caught
    finally:
        detach(handler_id)
