"""A durable store: the newest events in memory, the others as blocks in a keep, read the same way.

Appending touches memory only. The writer gathers what is new (`gather`) and says when it is on disk
(`written`); a segment is let go of after that, and fetched again when somebody reads it.
"""

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from anyio.lowlevel import checkpoint
from msgspec import Struct

from crucible_telemetry.errors import StoreDamaged, StoreError, StoreUnavailable
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import Tally, log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.shape import SHAPES, ShapeTable
from crucible_telemetry.metrics.rollups import Bucket, counted, merged
from crucible_telemetry.stores.base import check_count
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.keeping import ExperimentChange, Keep, KeptExperiment, News, Rollup
from crucible_telemetry.stores.lasting import FULL_ROWS, Lasting
from crucible_telemetry.stores.memory import SEGMENT_ROWS
from crucible_telemetry.stores.segments import Place, Segment, State
from crucible_telemetry.stores.shelf import Hands, Shelf, first_open, shelves_of
from crucible_telemetry.stores.spelling import Spelling
from crucible_telemetry.stores.spill import Spill
from crucible_telemetry.stores.totals import Totals, behind
from crucible_telemetry.stores.walked import WalkedStore, following
from crucible_telemetry.stores.writer import Writer

SPILL_ROWS: Final = 2 * FULL_ROWS
"""Events that may wait in memory; what emitters add beyond that goes to a temporary file."""
ANEW_ROWS: Final = 32_768
"""Events that are counted in one transaction while roll-ups are made anew."""
GATHER_ROWS: Final = FULL_ROWS
"""Events written in one transaction."""


class _Sent(Struct, frozen=True):
    """What was gathered, and what it makes true once it is written."""

    upto_seq: int
    shelves: tuple[Shelf, ...]
    parts: frozenset[tuple[int, int]]
    record: bytes | None
    touches: int


class KeptStore(WalkedStore, Lasting):
    """A `Store` in a keep; `writer` commits for it, and `news` says what else there is to write."""

    def __init__(
        self,
        kept: KeptExperiment,
        reader: Any,
        keep: Keep,
        writer: Writer,
        segment_rows: int = SEGMENT_ROWS,
        shapes: ShapeTable = SHAPES,
    ) -> None:
        check_count(segment_rows, "segment_rows")
        WalkedStore.__init__(self, reader)
        Lasting.__init__(self, writer, kept.blocks[-1].last_seq if kept.blocks else 0)
        self.id, self._keep, self._writer = kept.id, keep, writer
        self._segment_rows = segment_rows
        self._spelling = Spelling(reader, kept.words, shapes)
        self._hands = Hands()
        self._closed = False
        self._written_parts: frozenset[tuple[int, int]] = frozenset()
        self._sent: _Sent | None = None
        self._record: bytes | None = kept.record or None
        self._claims: list[bytes] = []
        self._touches, self._told = Tally(), 0
        self._spills, self._moving = Spill(), threading.Lock()
        self.news: News | None = None
        self.totals = Totals(keep, kept.id, min((b.min_us for b in kept.blocks), default=None))
        shelves = shelves_of(kept.blocks)
        for gap in (shelf for shelf in shelves if shelf.info is None):
            log.warning("%s: %s", keep.url, self._named(gap, "are missing"))
        self._begin(tuple(shelves), [])

    def _named(self, place: Place, what: str) -> str:
        return f"experiment {self.id!r}: events {place.first_seq} to {place.last_seq} {what}"

    def _begin(self, shelves: tuple[Shelf, ...], parts: list[Columns]) -> None:
        by_end = State().by_end
        by_end.update(shelves)
        sizes = (sum(map(len, parts)), sum(len(part.payload.blob) for part in parts))
        self._state = State(shelves, by_end, tuple(parts), sizes, self.written_seq)
        self._written_parts = frozenset((part.first_seq, part.last_seq) for part in parts)

    async def resume(self) -> None:
        """Take events again: the small blocks at the end are read, to be joined with what comes."""
        await self.totals.check(self.written_seq, self._state.max_us)
        shelves = [place for place in self._state.sealed if isinstance(place, Shelf)]
        cut = first_open(shelves, self._segment_rows)
        loose = [(await self._in_hand(shelf)).columns for shelf in shelves[cut:]]
        if not self._state.parts and not self.waiting_rows:
            self._begin(tuple(shelves[:cut]), loose)
        self._closed = False
        self._writer.members[self.id] = self

    # -- appending ------------------------------------------------------------------------------

    def append(self, columns: Columns) -> None:
        """Take a batch, in memory; the writer hears of it."""
        fresh = following(columns, self.last_seq, closed=self._closed)
        if fresh is None:
            return
        self._state = self._state.plus(fresh, self._segment_rows, Shelf.of)
        self._writer.touch(self.id)
        if not self.full:
            return
        self._writer.hurry()
        if self.waiting_rows - self.spilled_rows >= SPILL_ROWS:
            self._spill()

    def touch(self) -> None:
        """Something beside the events has changed: life, a trial. From any thread."""
        self._touches.add()
        self._writer.touch(self.id)

    @property
    def unwritten(self) -> str:
        """What of it is not on the disk, in words; empty when all is."""
        if self.waiting_rows:
            return f"{self.waiting_rows} events"
        return "its state and trials" if self._told < self._touches.value else ""

    async def commit(self) -> None:
        """See `Store.commit`; what is beside the events too."""
        touches = self._touches.value
        await super().commit()
        while self._told < touches:
            trouble = await self.settled()
            if trouble is not None and self._told < touches:
                raise trouble

    async def claim(self, record: bytes) -> KeptExperiment:
        """Put this record in the place of the last one; see `Keep.claim`."""
        async with self._writer.paused():
            # An answer that nobody heard: one of those may be there.
            earlier, self._claims = self._claims, [*self._claims, record]
            kept = await self._keep.claim(self.id, self._record or b"", record)
            while kept.record != record and kept.record in earlier:
                kept = await self._keep.claim(self.id, kept.record, record)
            if kept.record == record:
                self._record, self._claims = record, []
            return kept

    def _spill(self) -> None:
        """Relieve memory of the segments that have waited shortest: the oldest are written next."""
        unwritten = [p for p in self._state.sealed_after(self.written_seq) if isinstance(p, Shelf)]
        for shelf in unwritten[len(unwritten) // 2 :]:
            try:
                with self._moving:
                    self._spill_one(shelf)
            except Exception as error:  # noqa: BLE001 - it relieves memory, and keeps no event from being taken
                log.warning("experiment %r stays in memory: it cannot spill: %s", self.id, error)
                return

    def _spill_one(self, shelf: Shelf) -> None:
        segment = shelf.held
        if segment is None or shelf.info is not None:
            return  # written meanwhile
        shelf.spilled = self._spills.put(segment.columns)
        shelf.held = None
        self.spilled_rows += len(segment.columns)
        self.spilled_total += len(segment.columns)

    # -- what the writer asks -------------------------------------------------------------------

    async def gather(self) -> ExperimentChange | None:
        """See `Member.gather`; asked again before `written`, it says the same and what has come since."""
        touches, state, before = self._touches.value, self._state, self.written_seq
        shelves = self._next_shelves(state)
        all_sealed = not state.sealed or (shelves or [*state.sealed])[-1] is state.sealed[-1]
        # In order: what is open comes after everything that is sealed.
        parts = state.parts if all_sealed else ()
        loose = [p for p in parts if (p.first_seq, p.last_seq) not in self._written_parts]
        new = [*(self._columns(shelf) for shelf in shelves), *loose]
        numbered = [self._spelling.numbered(columns) for columns in new]
        numbers = {n for part in new for n in np.unique(part.trial).tolist()} - {0}
        record, trials = (None, ()) if self.news is None else self.news(numbers)
        self._sent = _Sent(
            upto_seq=new[-1].last_seq if new else before,
            shelves=shelves,
            parts=frozenset((part.first_seq, part.last_seq) for part in parts),
            record=record,
            touches=touches,
        )
        rollups = await self._rollups(state, new)
        words = self._spelling.news()
        changed = record != self._record
        if not (numbered or words or trials or changed or rollups):
            self._told = touches
            return None
        return ExperimentChange(
            id=self.id,
            record=record if changed else None,
            words=words,
            trials=trials,
            parts=tuple(numbered),
            rollups=rollups,
            forget_rollups=self.totals.voided,
        )

    async def _rollups(self, state: State, new: Sequence[Columns]) -> tuple[Rollup, ...]:
        """Roll-ups with what is new; what cannot be counted costs them, and no event."""
        try:
            self.totals.saw(new)
            return await self.totals.rollups(await self._uncounted(state, new))
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - figures that can be had from the events
            log.warning("experiment %r is kept without roll-ups: %s", self.id, placed(error))
            self.totals.end()
            return ()

    def _next_shelves(self, state: State) -> tuple[Shelf, ...]:
        """Sealed segments that are not written, the oldest, as many as one transaction takes."""
        found, rows = [], 0
        for place in state.sealed_after(self.written_seq):
            if isinstance(place, Shelf) and place.info is None and rows < GATHER_ROWS:
                found.append(place)
                rows += place.last_seq - place.first_seq + 1
        return tuple(found)

    async def _uncounted(self, state: State, new: Sequence[Columns]) -> list[Columns]:
        """Rows that roll-ups do not count yet: what is new; while they are made anew, some of what is old."""
        seq = self.totals.upto_seq
        if not self.totals.wanted or seq >= self.written_seq:
            return behind(new, seq) if self.totals.wanted else []
        found: list[Columns] = []
        for place in state.segments_after(seq):
            if place.last_seq > self.written_seq or sum(map(len, found)) >= ANEW_ROWS:
                break
            found.append((await self._in_hand(place)).columns)
        return behind(found, seq)

    def _columns(self, shelf: Shelf) -> Columns:
        held = shelf.held  # an emitter may spill it in this moment
        if held is not None:
            return held.columns
        assert shelf.spilled is not None  # noqa: S101 - it is held until it is spilled or written
        return self._spills.get(shelf.spilled)

    def written(self, infos: Sequence[BlockInfo]) -> None:
        """See `Member.written`."""
        sent, self._sent = self._sent, None
        if sent is None:
            return
        # First what nothing can keep from being so: it is on the disk, whatever fails below.
        self.written_seq = max(self.written_seq, sent.upto_seq)
        self._told = sent.touches
        self._written_parts, self._record = sent.parts, sent.record
        self.room.set()
        with self._moving:
            for shelf, info in zip(sent.shelves, infos, strict=False):
                self._let_go(shelf, info)
            if not self.spilled_rows:
                self._spills.clear()
        self._spelling.written()
        self.totals.written()
        if self.totals.wanted and self.totals.upto_seq < self.written_seq:
            self._writer.touch(self.id)
        if self.news is not None:
            self.news.written()

    def _let_go(self, shelf: Shelf, info: BlockInfo) -> None:
        """It is on the disk; what was read lately stays in hand."""
        shelf.info = info
        if shelf.held is not None:
            self._hands.put(shelf.held)
            shelf.held = None
        if shelf.spilled is not None:
            self.spilled_rows -= shelf.last_seq - shelf.first_seq + 1
            shelf.spilled = None

    # -- reading --------------------------------------------------------------------------------

    async def _in_hand(self, place: Place) -> Segment:
        """The open rows and what was read lately are in hand; the others are fetched."""
        if isinstance(place, Segment):
            await checkpoint()
            return place
        assert isinstance(place, Shelf)  # noqa: S101 - nothing else is sealed here
        found = place.held or self._hands.get(place)
        if found is not None:
            await checkpoint()
            return found
        if place.spilled is not None:
            return Segment(self._spills.get(place.spilled))
        if place.info is None:
            raise StoreDamaged(self._keep.url, self._named(place, "are missing"))
        columns = await self._keep.load(self.id, place.info)
        segment = Segment(self._spelling.localised(columns))
        self._hands.put(segment)
        return segment

    async def buckets(self, level_s: int) -> dict[int, Bucket] | None:
        """See `BucketStore.buckets`; what waits to be written is counted in."""
        if not await self._rolled_up():
            return None
        found: dict[int, Bucket] = {}
        async with self._writer.paused():
            mark, state = await self.totals.count(self.written_seq), self._state
            if mark is None:
                return None
            async for page in self.totals.between(level_s, mark.origin_us, state.max_us + 1):
                found |= page
        for place in state.segments_after(mark.upto_seq):
            if place.min_us < mark.origin_us:
                return None
            (part,) = behind([(await self._in_hand(place)).columns], mark.upto_seq)
            found = merged(found, counted(part, mark.origin_us, level_s))
        return found

    async def _rolled_up(self) -> bool:
        """Whether roll-ups count all that is on the disk; of an experiment that is written they are made to."""
        totals = self.totals
        await totals.check(self.written_seq, self._state.max_us)
        if self.id not in self._writer.members:
            return totals.upto_seq == self.written_seq
        totals.wanted = not totals.ended
        while totals.wanted and totals.upto_seq < self.written_seq:
            if await self.settled() is not None:
                return False
        return totals.wanted

    async def settled(self) -> StoreError | None:
        """See `Lasting.settled`; what is beside the events is written too."""
        self._writer.touch(self.id)
        return await super().settled()

    async def close(self, *, delete: bool = False) -> None:
        """Commit and take nothing more; with `delete` forget the experiment and all it has."""
        if not self._closed and not delete:
            await self.commit()
        self._closed = True
        async with self._writer.paused():  # what is being written of it would come after its end
            self._writer.members.pop(self.id, None)
            if delete:
                self._state = State()
                await self._keep.forget(self.id)
