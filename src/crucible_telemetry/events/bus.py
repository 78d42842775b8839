"""The bus: emit an event. It knows callables and mailboxes, no actors.

An emit takes no lock, waits for nothing (but `await execute` for room) and may come from a signal
handler, `__del__`, a handler or an enricher. Everything runs in the caller, in a straight line: find who
listens, encode once, append.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from crucible_telemetry.clock import wall_ns
from crucible_telemetry.events.event import event_name
from crucible_telemetry.events.mailbox import LARGE_ROW, Began, Gate, Mailbox, log
from crucible_telemetry.events.odd import (
    MAX_DEPTH,
    cut_texts,
    depth_of,
    marked_repr,
    plain,
    plain_mapping,
    shrink,
    told,
)
from crucible_telemetry.events.raised import frames_of, placed
from crucible_telemetry.events.routes import OWN, ROUTES, HandlerEntry, Name, detach_entry
from crucible_telemetry.events.scope import Scope, current_scope
from crucible_telemetry.events.shape import (
    ENCODER,
    HEADER,
    SHAPES,
    Link,
    decode_rows,
    encode_row,
)

Numbers = Mapping[str, Any]
Words = Mapping[str, Any]

HANDLER_FAILURE: Final = "telemetry.handler.failure"
_routes: Final = ROUTES
_current = current_scope.get
_by_key = SHAPES.by_key
_encode = ENCODER.encode
_NOTHING: Final[dict[str, Any]] = {}


async def execute(
    event: Name,
    measurements: Numbers | None = None,
    metadata: Words | None = None,
    *,
    at_us: int | None = None,
) -> None:
    """Emit an event; wait while the mailbox of an experiment that takes it is full.

    The event is accepted before the wait: cancelled while waiting, it stays, once. With room this is no
    checkpoint. `at_us` (µs since the epoch, UTC) gives the event's own time, for replay and import.
    Never raises because of the data.
    """
    scope = _current()
    if scope is None and _routes.quiet:
        return
    full = _emit(scope, event, measurements, metadata, at_us)
    if full is not None:
        await full.attendant.wait_for_room()


def execute_nowait(
    event: Name,
    measurements: Numbers | None = None,
    metadata: Words | None = None,
    *,
    at_us: int | None = None,
) -> None:
    """Emit an event from sync code, in any thread; loses nothing and never waits for the loop.

    Who finds the mailbox full empties it. `at_us` as in `execute`. Never raises because of the data.
    """
    scope = _current()
    if scope is None and _routes.quiet:
        return
    full = _emit(scope, event, measurements, metadata, at_us)
    if full is not None:
        full.attendant.drain_here()


def _emit(
    scope: Scope | None, event: Any, measurements: Any, metadata: Any, at_us: int | None
) -> Mailbox | None:
    """Encode once and append; the mailbox that is full now, if one is.

    The quick way, for a scoped experiment alone: about 2 × of encoding and appending (benchmarks/emit.py).
    One tuple makes the key and one the row, because each further Python call is 50 ns.
    """
    if scope is None or _routes.wide or (box := scope.box) is None or box.slow or at_us is not None:
        return _emit_wide(scope, event, measurements, metadata, at_us)
    if measurements is None:
        measurements = _NOTHING
    if metadata is None:
        metadata = _NOTHING
    try:
        shape = _by_key[(event, *measurements, None, *metadata)]
        row = _encode((
            wall_ns() // 1000, shape, scope.trial, scope.link,
            *measurements.values(), *metadata.values(),
        ))  # fmt: skip
    except Exception:  # noqa: BLE001 - a new shape, or a value msgpack cannot hold: the careful way
        return _emit_wide(scope, event, measurements, metadata, at_us)
    if len(row) > LARGE_ROW and not box.takes_large(row, measurements, metadata):
        if len(row) > (limit := box.max_event_bytes):
            del row  # as large as what it was made of
            measurements, metadata = cut_texts(measurements, limit), cut_texts(metadata, limit)
        return _emit_wide(scope, event, measurements, metadata, at_us)
    try:
        box.append(row)
    finally:  # an alarm may strike between the two
        box.tick()
    if len(box.rows) > box.mark and box.attend():
        return box
    return None


def _emit_wide(
    scope: Scope | None, event: Any, measurements: Any, metadata: Any, at_us: int | None
) -> Mailbox | None:
    """The careful way: any value, any listener."""
    if scope is None and not _routes.wide:
        _unheard(event_name(event))
        return None
    trial, link = (0, None) if scope is None else (scope.trial, scope.link)
    stamp = wall_ns() // 1000 if at_us is None else _stamp(at_us)
    if stamp is None:  # no time: the event is stamped now, and marked
        stamp = wall_ns() // 1000
        metadata = {**plain_mapping(metadata), "at_us": marked_repr(at_us)}
    return deliver(scope, event, measurements, metadata, (stamp, trial, link))


def deliver(
    scope: Scope | None,
    event: Any,
    measurements: Any,
    metadata: Any,
    header: tuple[int, int, Link | None],
    began: Began | None = None,
) -> Mailbox | None:
    """Route one event to the scope's mailbox, to process-wide ones and to handlers.

    `header` is (at_us, trial, link). `began` belongs to a span: whom its start reached.
    Returns a mailbox that is full now, or None.
    """
    row, name = encode_row(header[0], event, measurements, metadata, header[1], header[2])
    boxes, entries = _routes.find(name)
    box = None if scope is None else scope.box
    if box is not None and (box.wants is None or box.wants(name)):
        boxes = (box, *(other for other in boxes if other is not box))
    full, heard = _give(row, name, header[1], boxes, began) if boxes else (None, False)
    if not heard:
        _unheard(name)
    for entry in entries:
        _call(entry, name, measurements, metadata)
    return full


def _give(
    row: bytes, name: str, trial: int, boxes: tuple[Mailbox, ...], began: Began | None
) -> tuple[Mailbox | None, bool]:
    """(a mailbox that is full now, whether any took it or is merely paused)."""
    if len(row) > LARGE_ROW:
        row = _fitted(row, min(box.max_event_bytes for box in boxes))
    full, heard = None, False
    for box in boxes:
        heard = heard or box.gate is None or box.gate is Gate.SKIPPED
        if began is not None and box in began.unheard_by:
            box.refuse(began.unheard_by[box])
        elif began is None and not box.admits(name, trial, starts=False):
            box.refuse(Gate.LATE)
        elif box.offer(row, began=began is not None and box in began.heard_by):
            full = box
    return full, heard


def _unheard(name: str) -> None:
    if not name.startswith(OWN):
        for note in _routes.unheard:
            note(name)


def listeners(scope: Scope | None, name: str) -> Began:
    """Who hears a span of this name that starts now."""
    box = None if scope is None else scope.box
    if box is not None and not box.slow and not _routes.wide:
        return box.alone
    boxes, _ = _routes.find(name)
    if box is not None and box not in boxes and (box.wants is None or box.wants(name)):
        boxes = (box, *boxes)
    refusing: dict[Mailbox, str] = {}
    trial = 0 if scope is None else scope.trial
    for each in boxes:
        if each.gate is not None:
            refusing[each] = each.gate
        elif not each.admits(name, trial, starts=True):
            refusing[each] = Gate.LATE
    return Began(tuple(each for each in boxes if each not in refusing), refusing)


def emit_span(
    scope: Scope,
    event: str,
    measurements: dict[str, Any],
    metadata: dict[str, Any],
    link: Link,
    began: Began | None,
) -> Mailbox | None:
    """Emit the start or the end of a span, which hangs in the tree by `link`."""
    box = scope.box
    at_us = wall_ns() // 1000
    if box is not None and not _routes.wide and not box.slow and began is box.alone:
        try:
            shape = _by_key[(event, *measurements, None, *metadata)]
            values = (*measurements.values(), *metadata.values())
            row = _encode((at_us, shape, scope.trial, link, *values))
        except Exception:  # noqa: BLE001 - as in _emit
            row = b""
        if row and (len(row) <= LARGE_ROW or box.takes_large(row, measurements, metadata)):
            try:
                box.append(row)
            finally:  # an alarm may strike between the two
                box.tick()
            return box if len(box.rows) > box.mark and box.attend() else None
    elif box is None and _routes.quiet:
        return None
    return deliver(scope, event, measurements, metadata, (at_us, scope.trial, link), began)


def _stamp(at_us: object) -> int | None:
    """A caller's time in µs since the epoch: a number, or a datetime that knows its zone; else None."""
    try:
        if isinstance(at_us, datetime):
            return None if at_us.tzinfo is None else round(at_us.timestamp() * 1e6)
        stamp = None if isinstance(at_us, (str, bytes)) else int(at_us)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return None
    return stamp if stamp is not None and abs(stamp) < 2**62 else None


def _fitted(row: bytes, limit_bytes: int) -> bytes:
    """A large row with what is too deep or, beyond `limit_bytes`, too long replaced by marks."""
    if len(row) > limit_bytes:
        # A 100 MB text is hashed once here and never decoded by the collector.
        large = decode_rows([row])[0]
        large[HEADER:] = shrink(large[HEADER:], limit_bytes, _encode)
        row = _encode(large)
    try:
        decoded = decode_rows([row])[0]
    except RecursionError:
        return row  # the collector, with a shallower stack, marks it
    if depth_of(decoded) <= MAX_DEPTH:
        return row
    return _encode([plain(value, 1) for value in decoded])


def _call(entry: HandlerEntry, name: str, measurements: Any, metadata: Any) -> None:
    # Outside the try: what the caller gave for a mapping is no failure of the handler.
    numbers, words = dict(plain_mapping(measurements)), dict(plain_mapping(metadata))
    try:
        entry.handler(name, numbers, words, entry.config)
    except Exception as error:  # noqa: BLE001 - a handler may raise anything; it breaks nobody
        if not detach_entry(entry):
            return  # it failed elsewhere at the same time, and that was told
        log.warning("handler %r raised and is detached: %s", entry.handler_id, placed(error))
        failure = {
            "handler_id": entry.handler_id,
            "event": name,
            "kind": type(error).__name__,
            "error": told(error),
            "frames": frames_of(error),
        }
        announce(HANDLER_FAILURE, {"count": 1}, failure)


def announce(event: str, measurements: Numbers, metadata: Words) -> None:
    """Emit one of the library's own events: outside any scope, to handlers and who named it."""
    if _routes.wide:
        full = deliver(None, event, measurements, metadata, (wall_ns() // 1000, 0, None))
        if full is not None:
            full.attendant.drain_here()


def quiet() -> bool:
    """Whether nobody listens beyond the present scope."""
    return _routes.quiet
