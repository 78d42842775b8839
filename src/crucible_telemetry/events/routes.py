"""Who listens: handlers, process-wide experiments, and those who count what nobody takes.

Every field is a tuple that is replaced, never changed in place, so that an emit reads it without a lock.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError, HandlerExists
from crucible_telemetry.events.event import event_name, event_names, matches_pattern
from crucible_telemetry.events.mailbox import Mailbox

Name = str | tuple[str, ...]
Handler = Callable[[str, dict[str, Any], dict[str, Any], Any], None]

OWN: Final = ("crucible.", "telemetry.")
"""Prefixes of the library's own events: experiments hear them only when they name them."""
MAX_FOUND: Final = 4096


class HandlerEntry(Struct, frozen=True):
    """A handler as `list_handlers` shows it."""

    handler_id: str
    events: tuple[str, ...]
    handler: Handler
    config: Any = None


class ProcessRoute(Struct, frozen=True, eq=False):
    """An experiment that listens to the whole process: its mailbox, and the patterns it named."""

    box: Mailbox
    patterns: tuple[str, ...] | None

    def hears(self, name: str) -> bool:
        """Whether it takes this event; the library's own only when a pattern names them."""
        if name.startswith(OWN):
            named = [p for p in self.patterns or () if p.startswith(OWN)]
            return any(matches_pattern(pattern, name) for pattern in named)
        return self.patterns is None or any(matches_pattern(p, name) for p in self.patterns)


Found = tuple[tuple[Mailbox, ...], tuple[HandlerEntry, ...]]


class Routes:
    """`wide`: somebody listens beyond the scope; `quiet`: nobody does, and nobody counts either."""

    __slots__ = ("_found", "handlers", "processes", "quiet", "unheard", "wide")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Nobody listens."""
        self.handlers: tuple[HandlerEntry, ...] = ()
        self.processes: tuple[ProcessRoute, ...] = ()
        self.unheard: tuple[Callable[[str], None], ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Forget what was found under the old routes."""
        self._found: dict[str, Found] = {}
        self.wide = bool(self.handlers or self.processes)
        self.quiet = not (self.wide or self.unheard)

    def find(self, name: str) -> Found:
        """The process-wide mailboxes and the handlers of a name; remembered for up to 4,096 names."""
        found, known = self._found, self._found.get(name)
        if known is None:
            boxes = tuple(route.box for route in self.processes if route.hears(name))
            entries = tuple(
                e for e in self.handlers if any(matches_pattern(p, name) for p in e.events)
            )
            known = (boxes, entries)
            if len(found) < MAX_FOUND:
                found[name] = known
        return known


ROUTES: Final = Routes()
"""The one registry of the process."""


def attach(
    handler_id: str, events: Name | Iterable[Name], handler: Handler, config: Any = None
) -> None:
    """Call `handler(event, measurements, metadata, config)` for each event, in the emitter's thread.

    `events` is a name, a pattern (``"req_llm.*"``) or a list of them. Handlers are sync; the order in
    which several are called is not promised. A handler that raises is detached and announced by the
    event ``telemetry.handler.failure``; it breaks neither the emitter nor the others.

    Raises `HandlerExists` for a duplicate id, `ConfigurationError` for an `async def`.
    """
    _check_handler(handler_id, handler)
    entry = HandlerEntry(handler_id, event_names(events), handler, config)
    if any(other.handler_id == handler_id for other in ROUTES.handlers):
        raise HandlerExists(handler_id)
    ROUTES.handlers = (*ROUTES.handlers, entry)
    ROUTES.refresh()


def attach_many(
    handler_id: str, events: Iterable[Name], handler: Handler, config: Any = None
) -> None:
    """`attach` for several names; each item may be a dotted string, a pattern or a tuple."""
    attach(handler_id, list(events), handler, config)


def detach(handler_id: str) -> bool:
    """Remove a handler; whether there was one."""
    kept = tuple(entry for entry in ROUTES.handlers if entry.handler_id != handler_id)
    found = len(kept) < len(ROUTES.handlers)
    ROUTES.handlers = kept
    ROUTES.refresh()
    return found


def list_handlers(prefix: Name = "") -> list[HandlerEntry]:
    """Handlers that listen to some event whose name begins with `prefix`, in order of attachment."""
    stem = event_name(prefix)
    return [e for e in ROUTES.handlers if any(name.startswith(stem) for name in e.events)]


def open_route(route: ProcessRoute) -> None:
    """Let an experiment hear the whole process."""
    ROUTES.processes = (*ROUTES.processes, route)
    ROUTES.refresh()


def close_route(box: Mailbox) -> None:
    """Undo `open_route`; a second time changes nothing."""
    ROUTES.processes = tuple(route for route in ROUTES.processes if route.box is not box)
    ROUTES.refresh()


def count_unheard(note: Callable[[str], None], *, on: bool) -> None:
    """Have `note(name)` called for events no experiment takes, or stop that."""
    others = tuple(other for other in ROUTES.unheard if other != note)
    ROUTES.unheard = (*others, note) if on else others
    ROUTES.refresh()


def _check_handler(handler_id: object, handler: object) -> None:
    if not isinstance(handler_id, str):
        raise ConfigurationError("handler_id", f"must be a string, not {type(handler_id).__name__}")
    if not callable(handler):
        raise ConfigurationError("handler", f"must be callable, not {type(handler).__name__}")
    call = type(handler).__call__
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        raise ConfigurationError(
            "handler",
            "is an async function, and handlers run inside the emit, which cannot wait; "
            "use `async for event in exp.subscribe(patterns)`",
        )
