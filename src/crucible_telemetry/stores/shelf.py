"""What stands in memory for segments that are on a disk, and the few that are in hand."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.segments import Place, Segment
from crucible_telemetry.stores.spill import Extent

CACHE_BYTES: Final = 64 * 2**20
"""Payload of the segments that stay in hand because somebody read them."""


class Shelf:
    """The place of one sealed segment: held until it is written, then fetched when it is asked for."""

    __slots__ = ("first_seq", "held", "info", "last_seq", "max_us", "min_us", "size", "spilled")

    def __init__(
        self, first_seq: int, last_seq: int, span_us: tuple[int, int], info: BlockInfo | None
    ) -> None:
        self.first_seq, self.last_seq = first_seq, last_seq
        self.min_us, self.max_us = span_us
        self.info = info
        """None while it is not on the disk."""
        self.held: Segment | None = None
        self.size = 0
        """Bytes of its rows, of one that is sealed here."""
        self.spilled: Extent | None = None
        """Where it is while neither memory nor the keep has it."""

    @classmethod
    def of(cls, segment: Segment) -> "Shelf":
        """For a segment that is sealed now, and not yet written."""
        span_us = (segment.min_us, segment.max_us)
        shelf = cls(segment.first_seq, segment.last_seq, span_us, None)
        shelf.held, shelf.size = segment, len(segment.columns.payload.blob)
        return shelf

    @classmethod
    def written(cls, info: BlockInfo) -> "Shelf":
        """For a block that is there already."""
        return cls(info.first_seq, info.last_seq, (info.min_us, info.max_us), info)


Run = tuple[int, int]
"""First and last seq. Both: small blocks at the end are joined, and then begin where a longer one does."""


def shelves_of(blocks: Sequence[BlockInfo], missing: Sequence[Run]) -> list[Shelf]:
    """A shelf for each block, and for each run that is missing one that nothing can be fetched from.

    What is missing is taken to lie, in time, between its neighbours: other times read as ever.
    """
    found = [Shelf.written(block) for block in blocks]
    for first, last in missing:
        at = bisect_left(found, first, key=lambda shelf: shelf.first_seq)
        ends_us = [shelf.max_us + 1 for shelf in found[at - 1 : at] if at]
        ends_us += [shelf.min_us - 1 for shelf in found[at : at + 1]]
        span_us = (min(ends_us, default=0), max(ends_us, default=0))
        found.insert(at, Shelf(first, last, span_us, None))
    return found


class Hands:
    """Segments read lately, as many as `CACHE_BYTES` allow; used on one loop, or under its caller's care."""

    def __init__(self, most_bytes: int = CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._segments: OrderedDict[Run, Segment] = OrderedDict()
        self._bytes = 0

    def get(self, place: Place) -> Segment | None:
        """The segment of these events, if it is in hand."""
        run = (place.first_seq, place.last_seq)
        segment = self._segments.get(run)
        if segment is not None:
            self._segments.move_to_end(run)
        return segment

    def put(self, segment: Segment) -> None:
        """Take one, and let go of the ones that were used longest ago."""
        run = (segment.first_seq, segment.last_seq)
        if run in self._segments:
            return
        self._segments[run] = segment
        self._bytes += size_of(segment)
        while self._bytes > self._most_bytes and len(self._segments) > 1:
            _, oldest = self._segments.popitem(last=False)
            self._bytes -= size_of(oldest)

    def clear(self) -> None:
        """Let go of all."""
        self._segments.clear()
        self._bytes = 0


def size_of(segment: Segment) -> int:
    """Bytes of its rows and, about, of its columns."""
    return len(segment.columns.payload.blob) + 64 * len(segment.columns)


def first_open(shelves: Sequence[Shelf], segment_rows: int, last_seq: int) -> int:
    """Where the shelves at the end begin that together make no whole segment, and have no gap up to `last_seq`."""
    rows, cut = 0, len(shelves)
    while cut:
        shelf = shelves[cut - 1]
        rows += shelf.last_seq - shelf.first_seq + 1
        if rows >= segment_rows or shelf.first_seq + rows - 1 != last_seq:
            break
        cut -= 1
    return cut
