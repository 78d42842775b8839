"""The rows a query means, found on columns: which segments to look at, and when to stop looking. PURE."""

from collections.abc import Generator, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Reader
from crucible_telemetry.events.event import Event
from crucible_telemetry.stores.base import Position, Query
from crucible_telemetry.stores.filter import ColumnFilter, Rows
from crucible_telemetry.stores.segments import Place, Segment, State
from crucible_telemetry.stores.where import INT64_MAX, rest_of

Ints = NDArray[np.int64]
Places = tuple[Ints, Ints]
"""Places in the stored order: timestamps (µs) and seqs, same length, ascending."""

FIRST_SEQ: Final = -1


class _Best:
    """The first `k` places of all that were added, or with `sign` -1 the last."""

    def __init__(self, k: int, sign: int) -> None:
        self.k, self.sign = k, sign
        self._times: list[Ints] = []
        self._seqs: list[Ints] = []
        self._count = 0

    def add(self, times: Ints, seqs: Ints) -> None:
        self._times.append(times * self.sign)
        self._seqs.append(seqs * self.sign)
        self._count += len(seqs)

    def beats(self, time_us: int) -> bool:
        """Whether nothing at this time or beyond it can be among the k any more."""
        if self._count < self.k:
            return False
        times, _ = self._trimmed()
        return time_us * self.sign > int(times[-1])

    def places(self) -> Places:
        """The k, in stored order."""
        times, seqs = self._trimmed()
        return times[:: self.sign] * self.sign, seqs[:: self.sign] * self.sign

    def _trimmed(self) -> Places:
        none = np.zeros(0, np.int64)
        times = np.concatenate([none, *self._times])
        seqs = np.concatenate([none, *self._seqs])
        if not _in_order(times, seqs):
            order = np.lexsort((seqs, times))
            times, seqs = times[order], seqs[order]
        times, seqs = times[: self.k], seqs[: self.k]
        self._times, self._seqs, self._count = [times], [seqs], len(seqs)
        return times, seqs


class Selection:
    """A query against one state: what columns can tell; `needs_events` says whether that is all of it."""

    def __init__(self, state: State, query: Query, reader: Reader) -> None:
        since_us, until_us = query.bounds_us()
        self.state = state
        self.low: Position = (since_us, FIRST_SEQ)
        self.high: Position = (until_us, INT64_MAX)
        self._reader = reader
        self._rest = [] if query.where is None else rest_of(query.where)
        self._filter = ColumnFilter(query.where, reader)
        self._after_seq = query.after_seq or 0
        self._upto_seq = INT64_MAX if query.upto_seq is None else query.upto_seq
        self.needs_events = bool(self._rest)

    def first(self, after: Position | None, k: int) -> Generator[Place, Segment, Places]:
        """The first k places behind `after`; looks at few segments unless their times overlap widely."""
        low = self.low if after is None else max(self.low, after)
        best = _Best(k, 1)
        for place in self.state.ending_from(low[0]):
            if place.min_us > self.high[0] or best.beats(place.min_us):
                break
            segment = yield place
            self._add(best, segment, self._rows(segment, low, self.high)[:k])
        return best.places()

    def last(self, before: Position | None, k: int) -> Generator[Place, Segment, Places]:
        """The last k places before `before`, in stored order."""
        high = self.high if before is None else min(self.high, before)
        best = _Best(k, -1)
        for place in self.state.backwards():
            if place.max_us < self.low[0] or best.beats(place.max_us):
                break
            if place.min_us <= high[0]:
                segment = yield place
                self._add(best, segment, self._rows(segment, self.low, high)[::-1][:k])
        return best.places()

    def behind_seq(self, after: Position | None) -> int:
        """The seq behind which a reader goes on in seq order."""
        return self._after_seq if after is None else max(self._after_seq, after[1])

    def by_seq(self, seq: int) -> Iterator[Place]:
        """Segments with rows behind a seq, in seq order."""
        for place in self.state.after_seq(seq):
            if place.first_seq > self._upto_seq:
                break
            yield place

    def everywhere(self) -> Iterator[Place]:
        """All segments that may hold rows of the query, in seq order."""
        for place in self.state.segments():
            in_time = place.min_us <= self.high[0] and place.max_us >= self.low[0]
            if in_time and place.first_seq <= self._upto_seq and place.last_seq > self._after_seq:
                yield place

    def in_seq_order(self, segment: Segment) -> Rows:
        """Its rows that fit what columns can tell."""
        return self._kept(segment, segment.within_us(self.low[0], self.high[0]))

    def events(self, segment: Segment, rows: Rows) -> list[Event]:
        """The rows decoded, without those the rest of the filter refuses."""
        return self.fitting(self._reader.events(segment.columns, rows.tolist()))

    def fitting(self, events: list[Event]) -> list[Event]:
        """Those events that the part of the filter fits that columns cannot tell."""
        for test in self._rest:
            events = [event for event in events if test(event)]
        return events

    def decoded(self, seqs: Ints) -> Generator[Place, Segment, list[Event]]:
        """The events of these seqs, in the order given; one call of the reader per segment."""
        places = self.state.segments()
        home = np.searchsorted([one.first_seq for one in places], seqs, "right") - 1
        events: dict[int, Event] = {}
        for at in np.flatnonzero(np.bincount(home)).tolist() if len(seqs) else ():
            segment = yield places[at]
            mine = seqs[home == at]
            read = self._reader.events(segment.columns, (mine - segment.first_seq).tolist())
            events.update(zip(mine.tolist(), read, strict=True))
        return [events[seq] for seq in seqs.tolist()]

    def _add(self, best: _Best, segment: Segment, rows: Rows) -> None:
        if len(rows):
            best.add(segment.columns.timestamp_us[rows], rows + segment.first_seq)

    def _rows(self, segment: Segment, low: Position, high: Position) -> Rows:
        return self._kept(segment, segment.between(low, high))

    def _kept(self, segment: Segment, rows: Rows) -> Rows:
        if segment.last_seq > self._upto_seq:
            rows = rows[rows <= self._upto_seq - segment.first_seq]
        if segment.first_seq <= self._after_seq:
            rows = rows[rows > self._after_seq - segment.first_seq]
        return self._filter.kept(segment.columns, rows)


def behind(places: Places, after: Position | None) -> Places:
    """The places beyond a position."""
    if after is None:
        return places
    times, seqs = places
    mask = (times > after[0]) | ((times == after[0]) & (seqs > after[1]))
    return times[mask], seqs[mask]


def place_of(events: Sequence[Event]) -> Position | None:
    """Where the last of the events stands."""
    return (events[-1].timestamp_us, events[-1].seq) if events else None


def _in_order(times: Ints, seqs: Ints) -> bool:
    later = times[1:] > times[:-1]
    same = (times[1:] == times[:-1]) & (seqs[1:] > seqs[:-1])
    return bool((later | same).all())
