"""Who listens: handlers, process-wide experiments, and those who count what nobody takes.

What an emit reads is a tuple that is replaced, never changed in place, so that it needs no lock. Who
changes something does so in one step of a dictionary and then makes the tuples anew: threads, signal
handlers and finalisers may do that at once, and a lock held by one of them would hold up an emit.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError, HandlerExists
from crucible_telemetry.events.event import event_name, event_patterns, matches_pattern
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

    __slots__ = (
        "_found", "_latest", "by_box", "by_id", "handlers", "notes", "processes", "quiet", "unheard", "wide",
    )  # fmt: skip

    def __init__(self) -> None:
        self.by_id: dict[str, HandlerEntry] = {}
        self.by_box: dict[Mailbox, ProcessRoute] = {}
        self.notes: dict[Callable[[str], None], None] = {}
        self.refresh()

    def refresh(self) -> None:
        """Show emits what the dictionaries say now, and forget what was found before."""
        while True:
            latest = self._latest = object()
            self.handlers: tuple[HandlerEntry, ...] = tuple(self.by_id.copy().values())
            self.processes: tuple[ProcessRoute, ...] = tuple(self.by_box.copy().values())
            self.unheard: tuple[Callable[[str], None], ...] = tuple(self.notes.copy())
            self._found: dict[str, Found] = {}
            self.wide = bool(self.handlers or self.processes)
            self.quiet = not (self.wide or self.unheard)
            if self._latest is latest:
                return  # else another has begun since, and some of this may stand over what it wrote

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

    Raises `HandlerExists` for a duplicate id, `ConfigurationError` for an `async def` and for what is no
    pattern.
    """
    _check_handler(handler_id, handler)
    entry = HandlerEntry(handler_id, event_patterns("events", events), handler, config)
    if ROUTES.by_id.setdefault(handler_id, entry) is not entry:
        raise HandlerExists(handler_id)
    ROUTES.refresh()


def attach_many(
    handler_id: str, events: Iterable[Name], handler: Handler, config: Any = None
) -> None:
    """`attach` for several names; each item may be a dotted string, a pattern or a tuple."""
    attach(handler_id, [events] if isinstance(events, str) else list(events), handler, config)


def detach(handler_id: str) -> bool:
    """Remove a handler; whether there was one."""
    found = ROUTES.by_id.pop(handler_id, None) is not None
    ROUTES.refresh()
    return found


def detach_entry(entry: HandlerEntry) -> bool:
    """Remove just this one; whether it was still there (its id may be another's by now)."""
    if ROUTES.by_id.get(entry.handler_id) is not entry:
        return False
    return detach(entry.handler_id)


def list_handlers(prefix: Name = "") -> list[HandlerEntry]:
    """Handlers that listen to some event whose name begins with `prefix`, in order of attachment."""
    stem = event_name(prefix)
    return [e for e in ROUTES.handlers if any(name.startswith(stem) for name in e.events)]


def open_route(route: ProcessRoute) -> None:
    """Let an experiment hear the whole process."""
    ROUTES.by_box[route.box] = route
    ROUTES.refresh()


def close_route(box: Mailbox) -> None:
    """Undo `open_route`; a second time changes nothing."""
    ROUTES.by_box.pop(box, None)
    ROUTES.refresh()


def count_unheard(note: Callable[[str], None], *, on: bool) -> None:
    """Have `note(name)` called for events no experiment takes, or stop that."""
    if on:
        ROUTES.notes[note] = None
    else:
        ROUTES.notes.pop(note, None)
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
