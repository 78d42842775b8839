"""The store in memory: sealed segments in a sorted list, late events kept in their place.

A million typical events take their payload and about fifty bytes each; no object per event, so the
garbage collector has nothing to walk. Every change is one assignment of a new immutable state:
a crash, at whatever line, leaves the old one, and a reader in another thread has one or the other.
"""

from typing import Final

import numpy as np
from anyio.lowlevel import checkpoint

from crucible_telemetry.errors import LabClosed, SequenceGap
from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.events.event import Event
from crucible_telemetry.stores.base import Page, Position, Query, check_count
from crucible_telemetry.stores.segments import Segment, State, taken
from crucible_telemetry.stores.selection import Selection, behind, place_of

SEGMENT_ROWS: Final = 8192
CHUNK: Final = (256, 8192)
"""Rows decoded at once for a filter that needs events: the first look, and the most."""


class MemoryStore:
    """A `Store` that lasts as long as the process; reads answer after `close` too, unless deleted."""

    def __init__(self, reader: Reader, segment_rows: int = SEGMENT_ROWS) -> None:
        check_count(segment_rows, "segment_rows")
        self._reader = reader
        self._segment_rows = segment_rows
        self._state = State()
        self._closed = False

    @property
    def last_seq(self) -> int:
        """The greatest seq appended; 0 when empty."""
        return self._state.last_seq

    def append(self, columns: Columns) -> None:
        """Take a batch: O(1) beside the amortised joining; sealing a segment copies it once."""
        state = self._state
        known = state.last_seq + 1 - columns.first_seq
        if self._closed:
            raise LabClosed("append", "closed")
        if known < 0:
            raise SequenceGap(state.last_seq, columns.first_seq)
        if known >= len(columns):
            return
        if known:
            columns = taken(columns, np.arange(known, len(columns)))
        self._state = state.plus(columns, self._segment_rows)

    async def commit(self) -> None:
        """Nothing to do: memory is as durable at once as it will ever be."""
        await checkpoint()

    async def page(self, query: Query, after: Position | None, limit: int) -> Page:
        """See `Store.page`; the cost is that of the rows looked at, and of decoding them."""
        check_count(limit, "limit")
        selection = Selection(self._state, query, self._reader)
        if query.after_seq is not None:
            events = await _newest(selection, after, limit)
        elif query.last_n is not None:
            events = await _last(selection, query.last_n, after, limit)
        else:
            events = await _first(selection, after, limit)
        return Page(events, place_of(events))

    async def count(self, query: Query) -> int:
        """See `Store.count`; decodes only for conditions that columns cannot tell."""
        selection = Selection(self._state, query, self._reader)
        total = 0
        for segment, rows in selection.everywhere():
            if not selection.needs_events:
                total += len(rows)
                continue
            for at in range(0, len(rows), CHUNK[0]):
                total += len(selection.events(segment, rows[at : at + CHUNK[0]]))
                await checkpoint()
        return total if query.last_n is None else min(total, query.last_n)

    async def columns(self, query: Query) -> list[Columns]:
        """See `Store.columns`; segments that fit whole are given as they are, not copied."""
        selection = Selection(self._state, query, self._reader)
        found = []
        for segment, fitting in selection.everywhere():
            rows = fitting
            if selection.needs_events:
                events = selection.events(segment, fitting)
                rows = np.array([event.seq - segment.first_seq for event in events], np.intp)
                await checkpoint()
            found.append(taken(segment.columns, rows))
        return [part for part in found if len(part)]

    async def close(self, *, delete: bool = False) -> None:
        """Take nothing more; `delete` frees the events, and reads find nothing then."""
        self._closed = True
        if delete:
            self._state = State()

    def _check(self) -> None:
        """Raise AssertionError unless every invariant holds."""
        state = self._state
        _hold([*state.by_end] == sorted(state.sealed, key=lambda one: one.key), "by_end is sorted")
        _hold(state.open_rows == sum(map(len, state.parts)), "open_rows counts the parts")
        _hold(state.open_rows < self._segment_rows, "a full segment is sealed")
        blobs = [len(part.payload.blob) for part in state.parts]
        _hold(state.open_bytes == sum(blobs), "open_bytes sums the parts")
        expected = 1
        for segment in state.segments():
            _hold(segment.first_seq == expected, f"seq goes on at {expected}")
            expected = segment.last_seq + 1
            _check_segment(segment)
        _hold(state.last_seq == expected - 1, "last_seq is that of the last row")


def _check_segment(segment: Segment) -> None:
    columns, rows = segment.columns, np.arange(len(segment.columns))
    times, blob = columns.timestamp_us, columns.payload.blob
    _hold(len(columns.payload) == len(rows) > 0, "a payload for each row")
    _hold(int(columns.payload.offsets[-1]) == len(blob), "the offsets end with the blob")
    _hold(all(len(c) == len(rows) for c in columns.optional().values()), "columns are of a length")
    _hold((segment.min_us, segment.max_us) == (times.min(), times.max()), "the span is exact")
    order = rows if segment.order is None else segment.order
    _hold(np.array_equal(order, np.lexsort((rows, times))), "order sorts by (time, seq)")


def _hold(fact: bool, invariant: str) -> None:  # noqa: FBT001 - it is the fact that is checked
    if not fact:
        raise AssertionError(invariant)


async def _newest(selection: Selection, after: Position | None, limit: int) -> list[Event]:
    events: list[Event] = []
    for segment, rows in selection.by_seq(after):
        at = 0
        while at < len(rows) and len(events) < limit:
            step = limit - len(events)
            step = max(step, CHUNK[0]) if selection.needs_events else step
            events += selection.events(segment, rows[at : at + step])
            at += step
            await checkpoint()
        if len(events) >= limit:
            break
    return events[:limit]


async def _first(selection: Selection, after: Position | None, limit: int) -> list[Event]:
    events: list[Event] = []
    chunk = max(limit, CHUNK[0]) if selection.needs_events else limit
    while True:
        _, seqs = selection.first(after, chunk)
        read = selection.decoded(seqs)
        events += selection.fitting(read)
        await checkpoint()
        if len(read) < chunk or len(events) >= limit:
            return events[:limit]
        after = place_of(read)
        chunk = max(chunk, min(2 * chunk, CHUNK[1]))


async def _last(selection: Selection, n: int, after: Position | None, limit: int) -> list[Event]:
    if not selection.needs_events:
        _, seqs = behind(selection.last(None, n), after)
        await checkpoint()
        return selection.decoded(seqs[:limit])
    events = await _last_fitting(selection, n)
    return [e for e in events if after is None or (e.timestamp_us, e.seq) > after][:limit]


async def _last_fitting(selection: Selection, n: int) -> list[Event]:
    """The last n that fit a filter which needs events: looks back until there are enough."""
    runs: list[list[Event]] = []
    before: Position | None = None
    missing, chunk = n, CHUNK[0]
    while missing > 0:
        _, seqs = selection.last(before, chunk)
        read = selection.decoded(seqs)
        runs.append(selection.fitting(read))
        missing -= len(runs[-1])
        await checkpoint()
        if len(read) < chunk:
            break
        before = (read[0].timestamp_us, read[0].seq)
        chunk = min(2 * chunk, CHUNK[1])
    return [event for run in reversed(runs) for event in run][-n:]
