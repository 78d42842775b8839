"""Sealed segments and the immutable state that holds them: how a memory store finds rows. PURE."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedKeyList

from crucible_telemetry.events.columns import FIXED, Columns, Payload
from crucible_telemetry.stores.base import Position
from crucible_telemetry.stores.filter import Rows

MAX_PARTS: Final = 64
"""More open parts than this are joined: a reader never joins hundreds, an append joins rarely."""
MAX_OPEN_BYTES: Final = 64 * 2**20
"""Payload at which a segment is sealed early: its offsets are 32 bits."""


def taken(columns: Columns, rows: Rows) -> Columns:
    """The rows at these positions (ascending) as columns of their own; copies."""
    if len(rows) == len(columns):
        return columns
    arrays = {name: getattr(columns, name)[rows] for name in FIXED}
    arrays |= {name: column[rows] for name, column in columns.optional().items()}
    first = int(rows[0]) if len(rows) else 0
    cut = Columns(columns.first_seq + first, _payload_of(columns.payload, rows), arrays)
    if len(rows) and int(rows[-1]) - first + 1 > len(rows):
        cut.gapped = columns.seqs(rows)
    return cut


def _payload_of(payload: Payload, rows: Rows) -> Payload:
    if len(rows) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
        offsets = payload.offsets[int(rows[0]) : int(rows[-1]) + 2]
        start, end = int(offsets[0]), int(offsets[-1])
        return Payload(payload.blob[start:end], offsets - np.uint32(start))
    return Payload.of(payload.some(rows))


class Place(Protocol):
    """Where rows are: which seqs, from when; a segment, or what stands for one that is on a disk."""

    @property
    def first_seq(self) -> int:
        """`seq` of the first row."""
        ...

    @property
    def last_seq(self) -> int:
        """`seq` of the last row."""
        ...

    @property
    def min_us(self) -> int:
        """Earliest time of a row, µs."""
        ...

    @property
    def max_us(self) -> int:
        """Latest time of a row, µs."""
        ...


class Segment:
    """Rows in seq order with their span of time; `order` sorts them by time, None when they are sorted."""

    __slots__ = ("columns", "first_seq", "last_seq", "max_us", "min_us", "order")

    def __init__(self, columns: Columns) -> None:
        times = columns.timestamp_us
        self.columns = columns
        self.first_seq = columns.first_seq
        self.last_seq = columns.last_seq
        self.min_us = int(times.min())
        self.max_us = int(times.max())
        self.order: NDArray[np.int32] | None = None
        if not bool((times[1:] >= times[:-1]).all()):
            # Stable, so that rows of one timestamp stay in seq order.
            self.order = np.argsort(times, kind="stable").astype(np.int32)

    def between(self, low: Position, high: Position) -> Rows:
        """Positions of the rows strictly between two places of the stored order, in that order."""
        if self.order is None:
            times = self.columns.timestamp_us
            return np.arange(
                self._rank(times, low, side="right"), self._rank(times, high, side="left")
            )
        times = self.columns.timestamp_us[self.order]
        start, end = self._rank(times, low, side="right"), self._rank(times, high, side="left")
        return self.order[start:end].astype(np.int64)

    def _rank(self, times: NDArray[np.int64], place: Position, *, side: str) -> int:
        """How many rows, in time order, stand before the place (`side` left) or up to it (right)."""
        at_us, seq = place
        if at_us < self.min_us:
            return 0
        if at_us > self.max_us:
            return len(times)
        left = int(np.searchsorted(times, at_us, "left"))
        right = int(np.searchsorted(times, at_us, "right"))
        wanted = seq - self.first_seq + (side == "right")
        if self.order is None:
            return min(max(wanted, left), right)
        return left + int(np.searchsorted(self.order[left:right], wanted, "left"))

    def within_us(self, since_us: int, until_us: int) -> Rows:
        """Positions of the rows within inclusive bounds, in seq order."""
        times = self.columns.timestamp_us
        if since_us <= self.min_us and self.max_us <= until_us:
            return np.arange(len(times))
        return np.flatnonzero((times >= since_us) & (times <= until_us))


Shelve = Callable[[Segment], Place]
"""What a store puts in the place of a segment that is sealed."""


def by_end_of(place: Place) -> Position:
    """Where a segment ends, in time; unique."""
    return (place.max_us, place.first_seq)


class State:
    """Everything a store holds at one moment; never changed, only replaced.

    `sealed` in seq order, `by_end` the same sorted by (last time, first seq), `parts` the open
    batches, `tail` all of them as one segment, made when a reader first asks.
    """

    __slots__ = ("_tail", "by_end", "last_seq", "open_bytes", "open_rows", "parts", "sealed")

    def __init__(
        self,
        sealed: tuple[Place, ...] = (),
        by_end: "SortedKeyList[Place, Position] | None" = None,
        parts: tuple[Columns, ...] = (),
        rows_bytes: tuple[int, int] = (0, 0),
        last_seq: int = 0,
    ) -> None:
        self.sealed = sealed
        self.by_end = SortedKeyList(key=by_end_of) if by_end is None else by_end
        self.parts = parts
        self.open_rows, self.open_bytes = rows_bytes
        self.last_seq = last_seq
        self._tail: Segment | None = None

    def plus(self, batch: Columns, segment_rows: int, shelve: Shelve | None = None) -> "State":
        """This state with a batch that follows it; O(batch), the joining and sealing amortised.

        `shelve` says what stands for a segment that is sealed now.
        """
        parts = (*self.parts, batch)
        rows = self.open_rows + len(batch)
        size = self.open_bytes + len(batch.payload.blob)
        last_seq = self.last_seq + len(batch)
        if rows >= segment_rows or size >= MAX_OPEN_BYTES:
            return self._sealing(parts, last_seq, shelve)
        if len(parts) > MAX_PARTS:
            parts = compacted(parts)
        return State(self.sealed, self.by_end, parts, (rows, size), last_seq)

    def _sealing(self, parts: tuple[Columns, ...], last_seq: int, shelve: Shelve | None) -> "State":
        segment = Segment(Columns.joined(parts))
        place: Place = segment if shelve is None else shelve(segment)
        by_end = self.by_end.copy()
        by_end.add(place)
        return State((*self.sealed, place), by_end, (), (0, 0), last_seq)

    def without(self, place: Place) -> "State":
        """This state without a sealed segment; seqs go on as they were."""
        by_end = self.by_end.copy()
        by_end.discard(place)
        sealed = tuple(one for one in self.sealed if one is not place)
        sizes = (self.open_rows, self.open_bytes)
        return State(sealed, by_end, self.parts, sizes, self.last_seq)

    @property
    def tail(self) -> Segment | None:
        """The open rows as one segment. Two readers may both make it: they make the same."""
        if self._tail is None and self.parts:
            self._tail = Segment(Columns.joined(self.parts))
        return self._tail

    def segments(self) -> list[Place]:
        """All rows, in seq order."""
        return [*self.sealed, *self._open()]

    def _open(self) -> list[Place]:
        return [] if self.tail is None else [self.tail]

    def ending_from(self, since_us: int) -> list[Place]:
        """Segments with rows at or after a time, by their first time."""
        found = [*self.by_end.irange_key(min_key=(since_us, -1)), *self._open()]
        return sorted(found, key=lambda segment: segment.min_us)

    def backwards(self) -> Iterator[Place]:
        """Segments from the one that ends last."""
        waiting = self.tail
        for segment in reversed(self.by_end):
            if waiting is not None and waiting.max_us >= segment.max_us:
                yield waiting
                waiting = None
            yield segment
        if waiting is not None:
            yield waiting

    def sealed_after(self, seq: int) -> tuple[Place, ...]:
        """Sealed segments with rows behind a seq, in seq order."""
        return self.sealed[bisect_right(self.sealed, seq, key=lambda one: one.last_seq) :]

    def segments_after(self, seq: int) -> list[Place]:
        """Segments with rows behind a seq, in seq order, the open rows as one."""
        return [place for place in (*self.sealed_after(seq), *self._open()) if place.last_seq > seq]

    @property
    def max_us(self) -> int:
        """The latest time of a row, µs; 0 without rows."""
        ends = [place.max_us for place in (*self.by_end[-1:], *self._open())]
        return max(ends, default=0)

    def after_seq(self, seq: int) -> Iterator[Place]:
        """Segments with rows behind a seq, in seq order; at the tail only the newest parts are joined."""
        yield from self.sealed_after(seq)
        newest = self.parts[bisect_right(self.parts, seq, key=lambda part: part.last_seq) :]
        if newest:
            yield Segment(Columns.joined(newest))


def compacted(parts: tuple[Columns, ...]) -> tuple[Columns, ...]:
    """The parts with the small ones at the end joined, as in a log-structured merge: each row moves rarely."""
    cut, rows = len(parts) - 1, len(parts[-1])
    while cut and len(parts[cut - 1]) <= max(rows, MAX_PARTS):
        cut -= 1
        rows += len(parts[cut])
    return (*parts[:cut], Columns.joined(parts[cut:]))
