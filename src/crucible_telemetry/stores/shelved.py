"""The reading half of a durable store: what is in hand, what is fetched, what its roll-ups count."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from anyio.lowlevel import checkpoint

from crucible_telemetry.errors import StoreDamaged, StoreError, StoreUnavailable
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.shape import ShapeTable
from crucible_telemetry.metrics.rollups import Bucket, counted, merged
from crucible_telemetry.stores.base import StoreHealth
from crucible_telemetry.stores.damage import damage_of, end_of
from crucible_telemetry.stores.keeping import Keep, KeptExperiment, Rollup
from crucible_telemetry.stores.lasting import Lasting
from crucible_telemetry.stores.segments import Place, Segment, State
from crucible_telemetry.stores.shelf import Hands, Shelf
from crucible_telemetry.stores.spelling import Spelling
from crucible_telemetry.stores.spill import Spill
from crucible_telemetry.stores.totals import Totals, behind
from crucible_telemetry.stores.walked import LeftOut, WalkedStore
from crucible_telemetry.stores.writer import Writer

WAY_OUT: Final = (
    "a lab that is opened with on_damage='skip' (crucible --skip-damaged) reads the rest"
)
ANEW_ROWS: Final = 32_768
"""Events that are counted in one transaction while roll-ups are made anew."""


class ShelvedStore(WalkedStore, Lasting):
    """Reads the events of one experiment of a keep; see `KeptStore`, which writes them."""

    def __init__(
        self, kept: KeptExperiment, reader: Any, keep: Keep, writer: Writer, shapes: ShapeTable
    ) -> None:
        WalkedStore.__init__(self, reader)
        Lasting.__init__(self, writer, end_of(kept))
        self.id, self._keep, self._writer = kept.id, keep, writer
        self.damage = damage_of(kept)
        self._spelling = Spelling(reader, kept.words, shapes, self.damage.words)
        self._trials = {number for number, _ in kept.trials}
        self._record: bytes | None = kept.record or None
        self._hands, self._spills = Hands(), Spill()
        self.skips = False
        """Whether what is damaged is left out and noted, so that the rest is read; else reading it raises."""
        self._left_out: list[Shelf] = []
        self.totals = Totals(keep, kept.id, min((b.min_us for b in kept.blocks), default=None))

    @property
    def _read_from(self) -> State:
        """See `WalkedStore`; the state itself is changed by who appends, in any thread, and by nobody else."""
        state = self._state
        for shelf in self._left_out:
            state = state.without(shelf)
        return state

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
        if place in self._left_out:
            raise LeftOut
        try:
            segment = await self._fetched(place)
        except StoreDamaged as damage:
            if not self.skips:
                raise StoreDamaged(damage.store, f"{damage.reason}; {WAY_OUT}") from damage
            self._leave_out(place, damage)
            raise LeftOut from damage
        self._hands.put(segment)
        return segment

    async def _fetched(self, shelf: Shelf) -> Segment:
        """From the keep; `StoreDamaged` names the events that cannot be read."""
        named = f"experiment {self.id!r}: events"
        if shelf.info is None:
            run = f"{shelf.first_seq} to {shelf.last_seq}"
            raise StoreDamaged(self._keep.url, f"{named} {run} are missing")
        columns = await self._keep.load(self.id, shelf.info)
        unread = self._spelling.unreadable(columns, self._unknown_trials)
        if unread and not self.skips:
            raise StoreDamaged(self._keep.url, f"{named} {unread}")
        return Segment(self._spelling.localised(columns))

    def _leave_out(self, shelf: Shelf, damage: StoreDamaged) -> None:
        run = (shelf.first_seq, shelf.last_seq)
        log.warning("%s: left out", damage)
        self._left_out.append(shelf)
        missing = sorted({*self.damage.missing, run})
        self.damage = msgspec.structs.replace(self.damage, missing=tuple(missing))

    def check_whole(self, command: str) -> None:
        """`StoreDamaged` when something that was written is known to be damaged, for who passes on all or nothing."""
        damage = self.damage
        if damage.missing or damage.words or damage.trials:
            told = "; ".join(damage.told())
            raise StoreDamaged(
                self._keep.url,
                f"cannot {command} experiment {self.id!r}, which is not whole: {told}; `export` writes"
                f" the rest where {WAY_OUT}",
            )

    @property
    def _unknown_trials(self) -> set[int] | None:
        """The trials that are known, when some are not there."""
        return self._trials if self.damage.trials else None

    def check_record(self) -> None:
        """`StoreDamaged` when the record that was found is damaged: nobody knows how it was to go on."""
        if self._record is None and self.damage.flaws:
            raise StoreDamaged(self._keep.url, f"experiment {self.id!r}: {self.damage.flaws[0]}")

    def health(self) -> StoreHealth:
        """See `Lasting.health`; what is damaged too."""
        return msgspec.structs.replace(super().health(), damage=self.damage.told())

    async def buckets(self, level_s: int) -> dict[int, Bucket] | None:
        """See `BucketStore.buckets`; what waits to be written is counted in."""
        if not await self._rolled_up():
            return None
        async with self._writer.paused():
            state = self._state
            rolled = await self.totals.whole(level_s, self.written_seq, state.max_us)
        if rolled is None:
            return None
        mark, found = rolled
        for place in state.segments_after(mark.upto_seq):
            if place.min_us < mark.origin_us:
                return None
            for part in behind(await self._readable([place]), mark.upto_seq):
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
            before = totals.upto_seq
            if await self.settled() is not None or totals.upto_seq == before:
                return False  # or there is nothing more that can be read
        return totals.wanted

    async def settled(self) -> StoreError | None:
        """See `Lasting.settled`; what is beside the events is written too."""
        self._writer.touch(self.id)
        return await super().settled()

    # -- roll-ups -------------------------------------------------------------------------------

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

    async def _uncounted(self, state: State, new: Sequence[Columns]) -> list[Columns]:
        """Rows that roll-ups do not count yet: what is new; while they are made anew, some of what is old."""
        seq = self.totals.upto_seq
        if not self.totals.wanted or seq >= self.written_seq:
            return behind(new, seq) if self.totals.wanted else []
        found: list[Columns] = []
        for place in state.segments_after(seq):
            if place.last_seq > self.written_seq or sum(map(len, found)) >= ANEW_ROWS:
                break
            found += await self._readable([place])
        return behind(found, seq)

    async def _readable(self, places: Sequence[Place]) -> list[Columns]:
        """The rows of these places, but of those that are left out."""
        found = []
        for place in places:
            with suppress(LeftOut):
                found.append((await self._in_hand(place)).columns)
        return found
