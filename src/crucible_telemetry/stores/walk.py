"""How a query is answered segment by segment, wherever the segments are. PURE.

A walk is a generator: it yields each segment before it looks into it, and is sent the segment with its
columns in hand. Whoever drives it decides what that takes: memory lets the loop go on meanwhile, a
durable store fetches the block. What a query means stands here once, for all stores.
"""

from collections.abc import Generator
from typing import Final, TypeVar

import numpy as np

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.events.event import Event
from crucible_telemetry.stores.base import Page, Position, Query, check_count
from crucible_telemetry.stores.segments import Place, Segment, State, taken
from crucible_telemetry.stores.selection import Selection, behind, place_of

T = TypeVar("T")
Walk = Generator[Place, Segment, T]
"""Yields where rows are, is sent the rows, returns the answer."""

CHUNK: Final = (256, 8192)
"""Rows decoded at once for a filter that needs events: the first look, and the most."""


def page(
    state: State, query: Query, reader: Reader, after: Position | None, limit: int
) -> Walk[Page]:
    """See `Store.page`; the cost is that of the rows looked at, and of decoding them."""
    check_count(limit, "limit")
    selection = Selection(state, query, reader)
    if query.after_seq is not None:
        events = yield from _newest(selection, after, limit)
    elif query.last_n is not None:
        events = yield from _last(selection, query.last_n, after, limit)
    else:
        events = yield from _first(selection, after, limit)
    return Page(events, place_of(events))


def count(state: State, query: Query, reader: Reader) -> Walk[int]:
    """See `Store.count`; decodes only for conditions that columns cannot tell."""
    selection = Selection(state, query, reader)
    total = 0
    for place in selection.everywhere():
        segment = yield place
        rows = selection.in_seq_order(segment)
        if not selection.needs_events:
            total += len(rows)
            continue
        for at in range(0, len(rows), CHUNK[0]):
            total += len(selection.events(segment, rows[at : at + CHUNK[0]]))
            yield segment
    return total if query.last_n is None else min(total, query.last_n)


def fitting(selection: Selection, segment: Segment) -> Columns:
    """The rows of one segment that fit, as columns; a segment that fits whole is given as it is."""
    rows = selection.in_seq_order(segment)
    if selection.needs_events:
        events = selection.events(segment, rows)
        rows = np.array([event.seq - segment.first_seq for event in events], np.intp)
    return taken(segment.columns, rows)


def _newest(selection: Selection, after: Position | None, limit: int) -> Walk[list[Event]]:
    events: list[Event] = []
    seq = selection.behind_seq(after)
    for place in selection.by_seq(seq):
        segment = yield place
        rows = selection.in_seq_order(segment)
        rows = rows[rows > seq - segment.first_seq]
        at = 0
        while at < len(rows) and len(events) < limit:
            step = limit - len(events)
            step = max(step, CHUNK[0]) if selection.needs_events else step
            events += selection.events(segment, rows[at : at + step])
            at += step
            yield segment
        if len(events) >= limit:
            break
    return events[:limit]


def _first(selection: Selection, after: Position | None, limit: int) -> Walk[list[Event]]:
    events: list[Event] = []
    chunk = max(limit, CHUNK[0]) if selection.needs_events else limit
    while True:
        _, seqs = yield from selection.first(after, chunk)
        read = yield from selection.decoded(seqs)
        events += selection.fitting(read)
        if len(read) < chunk or len(events) >= limit:
            return events[:limit]
        after = place_of(read)
        chunk = max(chunk, min(2 * chunk, CHUNK[1]))


def _last(selection: Selection, n: int, after: Position | None, limit: int) -> Walk[list[Event]]:
    if not selection.needs_events:
        places = yield from selection.last(None, n)
        _, seqs = behind(places, after)
        return (yield from selection.decoded(seqs[:limit]))
    events = yield from _last_fitting(selection, n)
    return [e for e in events if after is None or (e.timestamp_us, e.seq) > after][:limit]


def _last_fitting(selection: Selection, n: int) -> Walk[list[Event]]:
    """The last n that fit a filter which needs events: looks back until there are enough."""
    runs: list[list[Event]] = []
    before: Position | None = None
    missing, chunk = n, CHUNK[0]
    while missing > 0:
        _, seqs = yield from selection.last(before, chunk)
        read = yield from selection.decoded(seqs)
        runs.append(selection.fitting(read))
        missing -= len(runs[-1])
        if len(read) < chunk:
            break
        before = (read[0].timestamp_us, read[0].seq)
        chunk = min(2 * chunk, CHUNK[1])
    return [event for run in reversed(runs) for event in run][-n:]
