"""What stores of segments have in common: every read, as a walk that fetches segments when it comes to them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import numpy as np

from crucible_telemetry.errors import LabClosed, SequenceGap
from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.stores import walk
from crucible_telemetry.stores.base import Page, Position, Query
from crucible_telemetry.stores.segments import Place, Segment, State, taken
from crucible_telemetry.stores.selection import Selection

T = TypeVar("T")


class LeftOut(Exception):
    """A place is passed over from now on, since nobody can read it and somebody reads on all the same."""


class WalkedStore(ABC):
    """The reading half of a `Store` over a `State`; a subclass says how a segment comes to hand."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._state = State()

    @property
    def last_seq(self) -> int:
        """The greatest seq appended; 0 when empty."""
        return self._state.last_seq

    @property
    def _read_from(self) -> State:
        """What a walk goes through: all there is, but for what is `LeftOut`."""
        return self._state

    async def page(self, query: Query, after: Position | None, limit: int) -> Page:
        """See `Store.page`."""
        return await self._walked(
            lambda: walk.page(self._read_from, query, self._reader, after, limit)
        )

    async def count(self, query: Query) -> int:
        """See `Store.count`."""
        return await self._walked(lambda: walk.count(self._read_from, query, self._reader))

    async def columns(self, query: Query) -> AsyncIterator[Columns]:
        """See `Store.columns`; one segment at a time is in hand."""
        selection = Selection(self._read_from, query, self._reader)
        for place in selection.everywhere():
            try:
                found = walk.fitting(selection, await self._in_hand(place))
            except LeftOut:
                continue
            if len(found):
                yield found

    async def _walked(self, walk_of: Callable[[], walk.Walk[T]]) -> T:
        while True:
            try:
                return await self._to_its_end(walk_of())
            except LeftOut:
                continue

    async def _to_its_end(self, steps: walk.Walk[T]) -> T:
        try:
            place = next(steps)
            while True:
                place = steps.send(await self._in_hand(place))
        except StopIteration as end:
            answer: T = end.value
            return answer

    @abstractmethod
    async def _in_hand(self, place: Place) -> Segment:
        """The segment that a place stands for, its columns in memory; lets the loop go on meanwhile.

        `LeftOut` when it cannot be read, and is no part of `_read_from` any more: who walks begins again.
        """


def following(columns: Columns, last_seq: int, *, closed: bool = False) -> Columns | None:
    """The rows of a batch that a store has not got (None: it has all); see `Store.append` for what it raises."""
    known = last_seq + 1 - columns.first_seq
    if closed:
        raise LabClosed("append", "closed")
    if known < 0:
        raise SequenceGap(last_seq, columns.first_seq)
    if known >= len(columns):
        return None
    return taken(columns, np.arange(known, len(columns))) if known else columns
