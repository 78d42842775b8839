"""A durable store: the newest events in memory, the others as blocks in a keep, read the same way.

Appending touches memory only. The writer gathers what is new (`gather`) and says when it is on disk
(`written`); a segment is let go of after that, and fetched again when somebody reads it.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import Tally, log
from crucible_telemetry.events.shape import SHAPES, ShapeTable
from crucible_telemetry.stores.base import check_count
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.keeping import (
    ExperimentChange,
    Keep,
    KeptExperiment,
    News,
    Tip,
)
from crucible_telemetry.stores.lasting import FULL_BYTES, FULL_ROWS
from crucible_telemetry.stores.memory import SEGMENT_ROWS
from crucible_telemetry.stores.segments import State
from crucible_telemetry.stores.shelf import Shelf, first_open, shelves_of
from crucible_telemetry.stores.shelved import ShelvedStore
from crucible_telemetry.stores.walked import LeftOut, following
from crucible_telemetry.stores.writer import Writer

SPILL_ROWS: Final = 2 * FULL_ROWS
"""Events that may wait in memory; what emitters add beyond that goes to a temporary file."""
SPILL_BYTES: Final = 2 * FULL_BYTES
GATHER_ROWS: Final = FULL_ROWS
"""Events written in one transaction."""
GATHER_BYTES: Final = FULL_BYTES


class _Sent(Struct, frozen=True):
    """What was gathered, and what it makes true once it is written."""

    shelves: tuple[Shelf, ...]
    parts: frozenset[tuple[int, int]]
    record: bytes | None
    touches: int
    trials: frozenset[int]
    tip: Tip
    upto_bytes: int


class KeptStore(ShelvedStore):
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
        super().__init__(kept, reader, keep, writer, shapes)
        self._segment_rows = segment_rows
        self._tip = msgspec.structs.replace(
            kept.tip or Tip(),
            commit=max(one.commit for one in (kept.tip or Tip(), kept.mark or Tip())),
            lost=self.damage.lost,
            doubts=self.damage.doubts,
        )
        self._closed = False
        self._taken_bytes = self._written_bytes = self._spilled_bytes = 0
        """Of events since it was opened: counted where they are appended, on the loop, and where they are spilled."""
        self._written_parts: frozenset[tuple[int, int]] = frozenset()
        self._sent: _Sent | None = None
        self._claims: list[bytes] = []
        self._touches, self._told = Tally(), 0
        self._moving = threading.Lock()
        self.news: News | None = None
        self._begin(tuple(shelves_of(kept.blocks, self.damage.missing)), [])

    def _begin(self, shelves: tuple[Shelf, ...], parts: list[Columns]) -> None:
        by_end = State().by_end
        by_end.update(shelves)
        sizes = (sum(map(len, parts)), sum(len(part.payload.blob) for part in parts))
        self._state = State(shelves, by_end, tuple(parts), sizes, self.written_seq)
        self._written_parts = frozenset((part.first_seq, part.last_seq) for part in parts)

    async def resume(self) -> None:
        """Take events again: the small blocks at the end are read, to be joined with what comes."""
        await self.totals.check(self.written_seq, self._state.max_us)
        closed, loose = await self._open_end()
        if not self._state.parts and not self.waiting_rows:
            self._begin(closed, loose)
        self._closed = False
        self._writer.members[self.id] = self

    async def _open_end(self) -> tuple[tuple[Shelf, ...], list[Columns]]:
        """What stays as it is, and the rows that together make no whole segment yet."""
        while True:
            shelves = [place for place in self._read_from.sealed if isinstance(place, Shelf)]
            cut = first_open(shelves, self._segment_rows, self.written_seq)
            with suppress(LeftOut):
                loose = [(await self._in_hand(shelf)).columns for shelf in shelves[cut:]]
                return tuple(shelves[:cut]), loose

    # -- appending ------------------------------------------------------------------------------

    def append(self, columns: Columns) -> None:
        """Take a batch, in memory; the writer hears of it."""
        fresh = following(columns, self.last_seq, closed=self._closed)
        if fresh is None:
            return
        self._state = self._state.plus(fresh, self._segment_rows, Shelf.of)
        self._taken_bytes += len(fresh.payload.blob)
        self._writer.touch(self.id)
        if not self.full:
            return
        self._writer.hurry()
        held_bytes = self.waiting_bytes - self._spilled_bytes
        if self.waiting_rows - self.spilled_rows >= SPILL_ROWS or held_bytes >= SPILL_BYTES:
            self._spill()

    @property
    def waiting_bytes(self) -> int:
        """See `Lasting.waiting_bytes`."""
        return self._taken_bytes - self._written_bytes if self.waiting_rows else 0

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
        self.look()
        await super().commit()
        while self._told < touches:
            trouble = await self.settled()
            if trouble is not None and self._told < touches:
                raise trouble

    def look(self) -> None:
        """Before events are made durable: what stands beside them and is complete goes with them."""
        if self.news is not None:
            self.news.look()

    @property
    def has_record(self) -> bool:
        """Whether the keep knows the experiment, as far as this store does."""
        return self._record is not None

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
                if kept.tip is not None:  # as whoever wrote it last left it
                    commit = max(kept.tip.commit, self._tip.commit)
                    self._tip = msgspec.structs.replace(self._tip, commit=commit)
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
        self._spilled_bytes += len(segment.columns.payload.blob)

    # -- what the writer asks -------------------------------------------------------------------

    async def gather(self) -> ExperimentChange | None:
        """See `Member.gather`; asked again before `written`, it says the same and what has come since."""
        self.look()
        touches, taken_bytes = self._touches.value, self._taken_bytes
        state, before = self._state, self.written_seq
        shelves = self._next_shelves(state)
        all_sealed = not state.sealed or (shelves or [*state.sealed])[-1] is state.sealed[-1]
        # In order: what is open comes after everything that is sealed.
        parts = state.parts if all_sealed else ()
        loose = [p for p in parts if (p.first_seq, p.last_seq) not in self._written_parts]
        new = [*(self._columns(shelf) for shelf in shelves), *loose]
        numbered = [self._spelling.numbered(columns) for columns in new]
        numbers = {n for part in new for n in np.unique(part.trial).tolist()} - {0}
        upto_seq = new[-1].last_seq if new else before
        record, trials = (None, ()) if self.news is None else self.news(numbers, upto_seq)
        rollups = await self._rollups(state, new)
        words = self._spelling.news()
        changed = record != self._record
        if not (numbered or words or trials or changed or rollups):
            self._told = touches
            self._ask_again()
            return None
        written = frozenset(number for number, _ in trials)
        tip = self._tip_with(upto_seq, written)
        self._sent = _Sent(
            shelves=shelves,
            parts=frozenset((part.first_seq, part.last_seq) for part in parts),
            record=record,
            touches=touches,
            trials=written,
            tip=tip,
            upto_bytes=taken_bytes - (0 if all_sealed else self._behind_bytes(state, shelves)),
        )
        return ExperimentChange(
            id=self.id,
            record=record if changed else None,
            words=words,
            trials=trials,
            parts=tuple(numbered),
            rollups=rollups,
            forget_rollups=self.totals.voided,
            tip=tip,
        )

    def _tip_with(self, upto_seq: int, trials: frozenset[int]) -> Tip:
        """How far it goes once these are written."""
        return Tip(
            commit=self._tip.commit + 1,
            last_seq=max(self.written_seq, upto_seq),
            words=self._spelling.numbers,
            trials=self._tip.trials + len(trials - self._trials),
            lost=self._tip.lost,
            doubts=self._tip.doubts,
        )

    def _next_shelves(self, state: State) -> tuple[Shelf, ...]:
        """Sealed segments that are not written, the oldest, as many as one transaction takes."""
        found, rows, size = [], 0, 0
        for place in state.sealed_after(self.written_seq):
            if rows >= GATHER_ROWS or size >= GATHER_BYTES:
                break
            if isinstance(place, Shelf) and place.info is None:
                found.append(place)
                rows += place.last_seq - place.first_seq + 1
                size += place.size
        return tuple(found)

    @staticmethod
    def _behind_bytes(state: State, shelves: tuple[Shelf, ...]) -> int:
        """Bytes of the events behind these."""
        rest = state.sealed_after(shelves[-1].last_seq)
        return state.open_bytes + sum(one.size for one in rest if isinstance(one, Shelf))

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
        self.written_seq, self._tip = sent.tip.last_seq, sent.tip
        self._trials |= sent.trials
        self._told, self._written_bytes = sent.touches, sent.upto_bytes
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
        self._ask_again()

    def _ask_again(self) -> None:
        if self.news is not None and self.news.waits:
            self._writer.touch(self.id)

    def _let_go(self, shelf: Shelf, info: BlockInfo) -> None:
        """It is on the disk; what was read lately stays in hand."""
        shelf.info = info
        if shelf.held is not None:
            self._hands.put(shelf.held)
            shelf.held = None
        if shelf.spilled is not None:
            self.spilled_rows -= shelf.last_seq - shelf.first_seq + 1
            self._spilled_bytes -= shelf.size
            shelf.spilled = None

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
