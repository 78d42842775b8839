"""The bus: emit an event, listen to events. It knows callables and mailboxes, no actors.

An emit takes no lock, waits for nothing (but `await execute` for room) and may come from a signal
handler, `__del__`, a handler or an enricher. Routes are tuples, replaced when somebody attaches; reading
them is free. Everything runs in the caller, in a straight line: find who listens, encode once, append.
"""

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.clock import wall_ns
from crucible_telemetry.errors import ConfigurationError, HandlerExists
from crucible_telemetry.events.event import event_name, matches_pattern
from crucible_telemetry.events.mailbox import LARGE_ROW, Mailbox
from crucible_telemetry.events.odd import depth_of, plain, shrink
from crucible_telemetry.events.scope import Scope, current_scope
from crucible_telemetry.events.shape import (
    ENCODER,
    MAX_SHAPES,
    SHAPES,
    Link,
    decode_rows,
    encode_row,
)

# No NullHandler: a researcher who loses events must read it, and Python's handler of last resort
# prints warnings when nothing is configured.
log = logging.getLogger("crucible_telemetry")

Name = str | tuple[str, ...]
Numbers = Mapping[str, Any]
Handler = Callable[[str, dict[str, Any], dict[str, Any], Any], None]

HANDLER_FAILURE: Final = "telemetry.handler.failure"
_OWN: Final = ("crucible.", "telemetry.")


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
        if name.startswith(_OWN):
            return any(
                matches_pattern(pattern, name)
                for pattern in self.patterns or ()
                if pattern.startswith(_OWN)
            )
        return self.patterns is None or any(matches_pattern(p, name) for p in self.patterns)


class _Bus:
    """Who listens. One per process; every field is replaced, never changed in place."""

    __slots__ = ("found", "handlers", "processes", "unheard")

    def __init__(self) -> None:
        self.handlers: tuple[HandlerEntry, ...] = ()
        self.processes: tuple[ProcessRoute, ...] = ()
        self.unheard: tuple[Callable[[str], None], ...] = ()
        self.found: dict[str, tuple[tuple[Mailbox, ...], tuple[HandlerEntry, ...]]] = {}

    def refresh(self) -> None:
        """Forget what was found under the old routes, and tell the hot path who is there at all."""
        global _quiet, _wide  # noqa: PLW0603 - two flags the hot path reads without a look-up
        self.found = {}
        _wide = bool(self.handlers or self.processes)
        _quiet = not (_wide or self.unheard)

    def find(self, name: str) -> tuple[tuple[Mailbox, ...], tuple[HandlerEntry, ...]]:
        """The process-wide mailboxes and the handlers of a name; remembered for up to 4,096 names."""
        found, known = self.found, self.found.get(name)
        if known is None:
            boxes = tuple(route.box for route in self.processes if route.hears(name))
            entries = tuple(
                entry
                for entry in self.handlers
                if any(matches_pattern(pattern, name) for pattern in entry.events)
            )
            known = (boxes, entries)
            if len(found) < MAX_SHAPES:
                found[name] = known
        return known


_bus: Final = _Bus()
_quiet = True  # nobody listens anywhere: no handler, no process-wide experiment, no lab that counts
_wide = False  # somebody listens beyond the scope
_current = current_scope.get
_by_key = SHAPES.by_key
_encode = ENCODER.encode
_NOTHING: Final[dict[str, Any]] = {}


async def execute(
    event: Name,
    measurements: Numbers | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    at_us: int | None = None,
) -> None:
    """Emit an event; wait while the mailbox of an experiment that takes it is full.

    The event is accepted before the wait: cancelled while waiting, it stays, once. With room this is no
    checkpoint. `at_us` (µs since the epoch, UTC) gives the event's own time, for replay and import.
    Never raises because of the data.
    """
    scope = _current()
    if scope is None and _quiet:
        return
    full = _emit(scope, event, measurements, metadata, at_us)
    if full is not None:
        await full.attendant.wait_for_room()


def execute_nowait(
    event: Name,
    measurements: Numbers | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    at_us: int | None = None,
) -> None:
    """Emit an event from sync code, in any thread; loses nothing and never waits for the loop.

    Who finds the mailbox full empties it. `at_us` as in `execute`. Never raises because of the data.
    """
    scope = _current()
    if scope is None and _quiet:
        return
    full = _emit(scope, event, measurements, metadata, at_us)
    if full is not None:
        full.attendant.drain_here()


def _emit(
    scope: Scope | None, event: Any, measurements: Any, metadata: Any, at_us: int | None
) -> Mailbox | None:
    """Encode once and append; the mailbox that is full now, if one is.

    The quick way, for a scoped experiment alone: 2.0 × of encoding and appending (benchmarks/emit.py).
    One tuple makes the key and one the row, because each further Python call is 50 ns.
    """
    if scope is None or _wide or (box := scope.box) is None or box.wants is not None:
        return _emit_wide(scope, event, measurements, metadata, at_us)
    if box.gate is not None or box.dropping:
        return _emit_wide(scope, event, measurements, metadata, at_us)
    if measurements is None:
        measurements = _NOTHING
    if metadata is None:
        metadata = _NOTHING
    try:
        shape = _by_key[(event, *measurements, None, *metadata)]
        row = _encode((
            wall_ns() // 1000 if at_us is None else at_us, shape, scope.trial, scope.link,
            *measurements.values(), *metadata.values(),
        ))  # fmt: skip
    except Exception:  # noqa: BLE001 - a new shape, or a value msgpack cannot hold: the careful way
        return _emit_wide(scope, event, measurements, metadata, at_us)
    if len(row) > LARGE_ROW or at_us is not None:
        return _emit_wide(scope, event, measurements, metadata, at_us)
    box.append(row)
    box.tick()
    if len(box.rows) > box.mark and box.attend():
        return box
    return None


def _emit_wide(
    scope: Scope | None, event: Any, measurements: Any, metadata: Any, at_us: int | None
) -> Mailbox | None:
    """The careful way: any value, any listener."""
    trial, link = (0, None) if scope is None else (scope.trial, scope.link)
    stamp = wall_ns() // 1000 if at_us is None else _stamp(at_us)
    return deliver(scope, event, measurements, metadata, (stamp, trial, link))


def deliver(
    scope: Scope | None,
    event: Any,
    measurements: Any,
    metadata: Any,
    header: tuple[int, int, Link | None],
    began: "Began | None" = None,
) -> Mailbox | None:
    """Route one event to the scope's mailbox, to process-wide ones and to handlers.

    `header` is (at_us, trial, link). `began` belongs to the end of a span: whom its start reached.
    Returns a mailbox that is full now, or None.
    """
    row, name = encode_row(header[0], event, measurements, metadata, header[1], header[2])
    boxes, entries = _bus.find(name)
    box = None if scope is None else scope.box
    if box is not None and (box.wants is None or box.wants(name)):
        boxes = (box, *(other for other in boxes if other is not box))
    full = None
    if len(row) > LARGE_ROW:
        row = _fitted(row, min((b.max_event_bytes for b in boxes), default=2**20))
    heard = False
    for target in boxes:
        heard = heard or target.gate is None or began is not None
        if began is not None and target in began.unheard_by:
            target.refuse("skipped")
        elif target.offer(row, began=began is not None and target in began.heard_by):
            full = target
    if not heard and _bus.unheard and not name.startswith(_OWN):
        for note in _bus.unheard:
            note(name)
    for entry in entries:
        _call(entry, name, measurements, metadata)
    return full


class Began(Struct, frozen=True, eq=False):
    """Whom the start of a span reached, and who was paused then: its end follows suit."""

    heard_by: tuple[Mailbox, ...]
    unheard_by: tuple[Mailbox, ...]


def listeners(scope: Scope | None, name: str) -> Began:
    """Who would hear this name now, and who would but is paused."""
    boxes, _ = _bus.find(name)
    box = None if scope is None else scope.box
    if box is not None and box not in boxes and (box.wants is None or box.wants(name)):
        boxes = (box, *boxes)
    return Began(
        tuple(b for b in boxes if b.gate is None),
        tuple(b for b in boxes if b.gate is not None and b.gate == "skipped"),
    )


def emit_span(
    scope: Scope,
    event: str,
    measurements: dict[str, Any],
    metadata: dict[str, Any],
    link: Link,
    began: Began | None,
) -> Mailbox | None:
    """Emit the start (`began` is None) or the end of a span, which hangs in the tree by `link`."""
    box = scope.box
    at_us = wall_ns() // 1000
    if (
        not _wide
        and box is not None
        and box.wants is None
        and box.gate is None
        and not box.dropping
    ):
        try:
            shape = _by_key[(event, *measurements, None, *metadata)]
            values = (*measurements.values(), *metadata.values())
            row = _encode((at_us, shape, scope.trial, link, *values))
        except Exception:  # noqa: BLE001 - as in _emit
            row = b""
        if 0 < len(row) <= LARGE_ROW and (began is None or not began.unheard_by):
            return box if box.offer(row) else None
    if box is None and _quiet:
        return None
    return deliver(scope, event, measurements, metadata, (at_us, scope.trial, link), began)


def quiet() -> bool:
    """Whether nobody listens beyond the present scope."""
    return _quiet


def _stamp(at_us: object) -> int:
    """A caller's time as int64 microseconds; the present when it is none."""
    try:
        stamp = int(at_us)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return wall_ns() // 1000
    return stamp if abs(stamp) < 2**62 else wall_ns() // 1000


def _fitted(row: bytes, limit_bytes: int) -> bytes:
    """A large row with what is too deep or, beyond `limit_bytes`, too long replaced by marks."""
    decoded = None
    if len(row) > limit_bytes:
        # A 100 MB text is hashed once here and never decoded by the collector.
        decoded = decode_rows([row])[0]
        decoded[4:] = shrink(decoded[4:], limit_bytes, _encode)
        row = _encode(decoded)
    try:
        decoded = decoded if decoded is not None else decode_rows([row])[0]
    except RecursionError:
        return row  # the collector, with a shallower stack, marks it
    if depth_of(decoded) <= 64:
        return row
    return _encode([plain(value, 1) for value in decoded])


def _call(entry: HandlerEntry, name: str, measurements: Any, metadata: Any) -> None:
    try:
        entry.handler(name, dict(measurements or {}), dict(metadata or {}), entry.config)
    except Exception as error:  # noqa: BLE001 - a handler may raise anything; it breaks nobody
        detach(entry.handler_id)
        log.warning("handler %r raised and is detached: %r", entry.handler_id, error)
        failure = {
            "handler_id": entry.handler_id,
            "event": name,
            "kind": type(error).__name__,
            "error": repr(error),
            "frames": [f"{f.name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)],
        }
        announce(HANDLER_FAILURE, {"count": 1}, failure)


def announce(event: str, measurements: Numbers, metadata: Mapping[str, Any]) -> None:
    """Emit one of the library's own events: outside any scope, to handlers and who named it."""
    if _wide:
        full = deliver(None, event, measurements, metadata, (wall_ns() // 1000, 0, None))
        if full is not None:
            full.attendant.drain_here()


def attach(
    handler_id: str, events: Name | Iterable[Name], handler: Handler, config: Any = None
) -> None:
    """Call `handler(event, measurements, metadata, config)` for each event, in the emitter's thread.

    `events` is a name, a pattern (``"req_llm.*"``) or a list of them. Handlers are sync; the order in
    which several are called is not promised. A handler that raises is detached and announced by the
    event ``telemetry.handler.failure``; it breaks neither the emitter nor the others.

    Raises `HandlerExists` for a duplicate id, `ConfigurationError` for an `async def`.
    """
    names = (events,) if isinstance(events, str) or _is_tuple_name(events) else tuple(events)
    _check_handler(handler_id, handler)
    entry = HandlerEntry(handler_id, tuple(event_name(name) for name in names), handler, config)
    if any(other.handler_id == handler_id for other in _bus.handlers):
        raise HandlerExists(handler_id)
    _bus.handlers = (*_bus.handlers, entry)
    _bus.refresh()


def attach_many(
    handler_id: str, events: Iterable[Name], handler: Handler, config: Any = None
) -> None:
    """`attach` for several names; each item may be a dotted string, a pattern or a tuple."""
    attach(handler_id, list(events), handler, config)


def detach(handler_id: str) -> bool:
    """Remove a handler; whether there was one."""
    kept = tuple(entry for entry in _bus.handlers if entry.handler_id != handler_id)
    found = len(kept) < len(_bus.handlers)
    _bus.handlers = kept
    _bus.refresh()
    return found


def list_handlers(prefix: Name = "") -> list[HandlerEntry]:
    """Handlers that listen to some event whose name begins with `prefix`, in order of attachment."""
    stem = event_name(prefix)
    return [e for e in _bus.handlers if any(name.startswith(stem) for name in e.events)]


def open_route(route: ProcessRoute) -> None:
    """Let an experiment hear the whole process."""
    _bus.processes = (*_bus.processes, route)
    _bus.refresh()


def close_route(box: Mailbox) -> None:
    """Undo `open_route`; a second time changes nothing."""
    _bus.processes = tuple(route for route in _bus.processes if route.box is not box)
    _bus.refresh()


def process_routes() -> tuple[ProcessRoute, ...]:
    """Who hears the whole process now."""
    return _bus.processes


def count_unheard(note: Callable[[str], None], *, on: bool) -> None:
    """Have `note(name)` called for events no experiment takes, or stop that."""
    others = tuple(other for other in _bus.unheard if other != note)
    _bus.unheard = (*others, note) if on else others
    _bus.refresh()


def _is_tuple_name(events: object) -> bool:
    """``("a", "b")`` is ambiguous; a tuple is a name when none of its parts has a dot or a star."""
    return (
        isinstance(events, tuple)
        and bool(events)
        and all(isinstance(part, str) and "." not in part and "*" not in part for part in events)
    )


def _check_handler(handler_id: object, handler: object) -> None:
    import inspect  # noqa: PLC0415 - 5 ms of import, needed by those who attach only

    if not isinstance(handler_id, str):
        raise ConfigurationError("handler_id", f"must be a string, not {type(handler_id).__name__}")
    if not callable(handler):
        raise ConfigurationError("handler", f"must be callable, not {type(handler).__name__}")
    call = getattr(handler, "__call__", None)  # noqa: B004 - its async-ness is asked, not its presence
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        raise ConfigurationError(
            "handler",
            "is an async function, and handlers run inside the emit, which cannot wait; "
            "use `async for event in exp.subscribe(patterns)`",
        )
