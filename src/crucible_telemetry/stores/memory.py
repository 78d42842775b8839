"""The store in memory: sealed segments in a sorted list, late events kept in their place.

A million typical events take their payload and about fifty bytes each; no object per event, so the
garbage collector has nothing to walk. Every change is one assignment of a new immutable state:
a crash, at whatever line, leaves the old one, and a reader in another thread has one or the other.
"""

from typing import Final

import numpy as np
from anyio.lowlevel import checkpoint

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.stores.base import check_count
from crucible_telemetry.stores.segments import Place, Segment, State, by_end_of
from crucible_telemetry.stores.walked import WalkedStore, following

SEGMENT_ROWS: Final = 8192


class MemoryStore(WalkedStore):
    """A `Store` that lasts as long as the process; reads answer after `close` too, unless deleted."""

    def __init__(self, reader: Reader, segment_rows: int = SEGMENT_ROWS) -> None:
        check_count(segment_rows, "segment_rows")
        super().__init__(reader)
        self._segment_rows = segment_rows
        self._closed = False

    def append(self, columns: Columns) -> None:
        """Take a batch: O(1) beside the amortised joining; sealing a segment copies it once."""
        fresh = following(columns, self.last_seq, closed=self._closed)
        if fresh is not None:
            self._state = self._state.plus(fresh, self._segment_rows)

    async def commit(self) -> None:
        """Nothing to do: memory is as durable at once as it will ever be."""
        await checkpoint()

    async def close(self, *, delete: bool = False) -> None:
        """Take nothing more; `delete` frees the events, and reads find nothing then."""
        self._closed = True
        if delete:
            self._state = State()

    async def _in_hand(self, place: Place) -> Segment:
        """What is in memory is in hand; the loop goes on between segments."""
        await checkpoint()
        assert isinstance(place, Segment)  # noqa: S101 - nothing else is ever sealed here
        return place

    def _check(self) -> None:
        """Raise AssertionError unless every invariant holds."""
        state = self._state
        _hold([*state.by_end] == sorted(state.sealed, key=by_end_of), "by_end is sorted")
        _hold(state.open_rows == sum(map(len, state.parts)), "open_rows counts the parts")
        _hold(state.open_rows < self._segment_rows, "a full segment is sealed")
        blobs = [len(part.payload.blob) for part in state.parts]
        _hold(state.open_bytes == sum(blobs), "open_bytes sums the parts")
        expected = 1
        for segment in (one for one in state.segments() if isinstance(one, Segment)):
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
