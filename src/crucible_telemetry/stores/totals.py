"""Keeps an experiment's roll-ups as events come: what each write adds to its minute, hour and day.

They are whole when they count every event that is on the disk. An event that is older than the first
voids them, since buckets begin there; somebody who wants them all the same has them made anew, some
blocks at each write. Which events they count stands among them, in a row of level 0.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec
import numpy as np
from anyio.lowlevel import checkpoint
from msgspec import Struct

from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.metrics.rollups import (
    LEVELS_S,
    US_PER_S,
    Bucket,
    counted,
    merged,
    packed,
    total,
    unpacked,
)
from crucible_telemetry.stores.keeping import Keep, Rollup
from crucible_telemetry.stores.segments import taken

MOST_BUCKETS: Final = 4_096
"""Buckets in memory; others are read again when an event falls into them."""
PAGE: Final = 4_096
"""Buckets read at once."""
MOST_PAGES: Final = 16
"""Pages read at once where there is little in them."""
SLICE: Final = 64
"""Buckets unpacked between two looks at the loop: about a millisecond."""
MARK_LEVEL: Final = 0

Key = tuple[int, int]


class Mark(Struct, frozen=True, array_like=True):
    """What roll-ups count: `events` events up to `upto_seq`; buckets begin at `origin_us`."""

    origin_us: int
    upto_seq: int
    events: int


class Totals:
    """Roll-ups of one experiment; buckets begin at its first event."""

    def __init__(self, keep: Keep, experiment_id: str, first_us: int | None) -> None:
        self._keep, self._id = keep, experiment_id
        self.first_us = first_us
        """The time of the first event of all; None: there is none yet."""
        is_new = first_us is None
        self.mark: Mark | None = None
        """What they count; None: nothing, or what there was is void."""
        self.known = is_new
        """Whether `mark` is known: of an experiment that was found it is read when it is needed."""
        self.wanted = is_new
        """Whether they are to be kept: not while they are void and nobody asked."""
        self.voided = False
        self.ended = False
        """Whether something made it impossible to keep them: figures are made from the events."""
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()
        self._newest: dict[int, int] = {}
        """The start of the newest bucket of each level; what begins later is not on the disk."""
        self._sent: dict[Key, Bucket] = {}
        self._sent_mark: Mark | None = None

    @property
    def upto_seq(self) -> int:
        """The events up to here are counted."""
        return 0 if self.mark is None else self.mark.upto_seq

    async def check(self, written_seq: int, last_us: int) -> None:
        """Find out what those on the disk count, once; `last_us`: the time of the last event there."""
        if self.known:
            return
        try:
            self.mark = await self._mark()
        except StoreDamaged as damage:
            self._give_up(damage)
        self.known, self.wanted = True, self.upto_seq == written_seq
        if self.mark is not None:
            origin_us = self.mark.origin_us
            self._newest = {level_s: start_of(last_us, origin_us, level_s) for level_s in LEVELS_S}

    async def _mark(self) -> Mark | None:
        rows = await self._keep.rollups(self._id, MARK_LEVEL, 0, 1)
        return msgspec.msgpack.decode(rows[0].cells, type=Mark) if rows else None

    async def count(self, written_seq: int) -> Mark | None:
        """What those on the disk count, if that is all that is written and nothing else."""
        if (
            self.mark is None
            or self.mark.upto_seq != written_seq
            or await self._mark() != self.mark
        ):
            return None  # or there was a write that nobody heard the end of
        return self.mark

    def saw(self, new: Sequence[Columns]) -> None:
        """These are going to be written: one that is older than the first event voids what there is."""
        self._sent, self._sent_mark = {}, None
        if not new:
            return
        first_us = min(int(part.timestamp_us.min()) for part in new)
        self.first_us = first_us if self.first_us is None else min(first_us, self.first_us)
        if self.mark is not None and self.first_us < self.mark.origin_us:
            self._void()

    async def whole(
        self, level_s: int, written_seq: int, last_us: int
    ) -> tuple[Mark, dict[int, Bucket]] | None:
        """All buckets of a level, and what they count; None when that is not all that is written.

        Damaged ones are told of and made anew when they are asked for again: events tell the same.
        """
        found: dict[int, Bucket] = {}
        try:
            mark = await self.count(written_seq)
            if mark is None:
                return None
            async for page in self.between(level_s, mark.origin_us, last_us + 1):
                found |= page
        except StoreDamaged as damage:
            self._give_up(damage)
            return None
        events = sum(bucket.events for bucket in found.values())
        if events == mark.events:
            return mark, found
        reason = f"experiment {self._id!r}: roll-ups of {mark.events} events count {events}"
        self._give_up(StoreDamaged(self._keep.url, reason))
        return None

    def _give_up(self, damage: StoreDamaged) -> None:
        log.warning("%s; they are made anew from the events", damage)
        self._void()

    async def rollups(self, fresh: Sequence[Columns]) -> tuple[Rollup, ...]:
        """The buckets as they are with these rows, which follow `upto_seq`; asked again it says the same."""
        if not fresh or self.first_us is None:
            return ()
        try:
            return await self._with(fresh, self.first_us)
        except StoreDamaged as damage:
            self._give_up(damage)
            self._sent, self._sent_mark = {}, None
            return ()

    async def _with(self, fresh: Sequence[Columns], first_us: int) -> tuple[Rollup, ...]:
        origin_us, events = first_us, sum(map(len, fresh))
        if self.mark is not None:
            origin_us, events = self.mark.origin_us, self.mark.events + events
        self._sent_mark = Mark(origin_us, fresh[-1].last_seq, events)
        minutes: dict[int, Bucket] = {}
        for part in fresh:
            minutes = merged(minutes, counted(part, origin_us, LEVELS_S[0]))
            await checkpoint()
        await self._add(minutes, origin_us)
        mark = Rollup(MARK_LEVEL, 0, msgspec.msgpack.encode(self._sent_mark))
        return (*[Rollup(*key, packed(bucket)) for key, bucket in self._sent.items()], mark)

    def end(self) -> None:
        """Keep none from now on; those on the disk are deleted."""
        self._void()
        self.ended = True
        self._sent, self._sent_mark = {}, None

    def _void(self) -> None:
        self.mark, self.voided, self.wanted = None, True, False
        self._buckets.clear()
        self._newest.clear()

    async def _add(self, minutes: dict[int, Bucket], origin_us: int) -> None:
        for level_s in LEVELS_S:
            more = united(minutes, origin_us, level_s)
            await self._fetch(level_s, list(more))
            for start_us, bucket in more.items():
                before = self._buckets.get((level_s, start_us))
                self._sent[level_s, start_us] = bucket if before is None else before.plus(bucket)
            await checkpoint()

    async def _fetch(self, level_s: int, starts_us: list[int]) -> None:
        """Have in memory what is written of these buckets."""
        newest = self._newest.get(level_s)
        if newest is None:  # there are none yet
            return
        missing = [s for s in starts_us if s <= newest and (level_s, s) not in self._buckets]
        if not missing:
            return
        found: dict[int, Bucket] = {}
        async for page in self.between(level_s, min(missing), max(missing) + 1):
            found |= page
        # Read once: a write that nobody heard the end of may follow, and is to be made again the same.
        self._buckets.update(((level_s, s), found.get(s, Bucket())) for s in missing)

    def written(self) -> None:
        """What was asked for last is on the disk."""
        for key, bucket in self._sent.items():
            self._buckets[key] = bucket
            self._buckets.move_to_end(key)
        for level_s, start_us in self._sent:
            self._newest[level_s] = max(start_us, self._newest.get(level_s, start_us))
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if self._sent_mark is not None:
            self.mark = self._sent_mark
        self._sent, self._sent_mark, self.voided = {}, None, False

    async def between(
        self, level_s: int, since_us: int, until_us: int
    ) -> AsyncIterator[dict[int, Bucket]]:
        """What is on the disk of a level by start, ``since_us <= start < until_us``: some at a time."""
        until_us = min(until_us, self._newest.get(level_s, until_us) + 1)
        pages = 1
        while since_us < until_us:
            end_us = min(until_us, since_us + pages * PAGE * level_s * US_PER_S)
            rows = await self._keep.rollups(self._id, level_s, since_us, end_us)
            for at in range(0, len(rows), SLICE):
                yield {row.start_us: unpacked(row.cells) for row in rows[at : at + SLICE]}
                await checkpoint()
            since_us = end_us
            pages = 1 if len(rows) > PAGE // MOST_PAGES else min(2 * pages, MOST_PAGES)


def start_of(time_us: int, origin_us: int, level_s: int) -> int:
    """Where the bucket of a time begins, µs."""
    return time_us - (time_us - origin_us) % (level_s * US_PER_S)


def united(minutes: dict[int, Bucket], origin_us: int, level_s: int) -> dict[int, Bucket]:
    """The buckets of a level from those of the first."""
    if level_s == LEVELS_S[0]:
        return minutes
    found: dict[int, list[Bucket]] = {}
    for start_us, bucket in minutes.items():
        found.setdefault(start_of(start_us, origin_us, level_s), []).append(bucket)
    return {start_us: total(buckets) for start_us, buckets in found.items()}


def behind(parts: Sequence[Columns], seq: int) -> list[Columns]:
    """The rows behind a seq."""
    found = []
    for part in parts:
        skip = max(seq + 1 - part.first_seq, 0)
        if skip < len(part):
            found.append(taken(part, np.arange(skip, len(part))) if skip else part)
    return found
