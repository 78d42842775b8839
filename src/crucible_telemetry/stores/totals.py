"""Keeps an experiment's roll-ups as events come: what each write adds to its minute, hour and day."""

from collections import OrderedDict
from typing import Final

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.metrics.rollups import LEVELS_S, Bucket, counted, packed, unpacked
from crucible_telemetry.stores.keeping import Keep, Rollup

MOST_BUCKETS: Final = 4_096
"""Buckets in memory; others are read again when an event falls into them."""

Key = tuple[int, int]


class Totals:
    """Roll-ups of one experiment. Buckets begin at its first event: an older one that comes later voids them."""

    def __init__(self, keep: Keep, experiment_id: str, origin_us: int | None) -> None:
        self._keep, self._id = keep, experiment_id
        self.origin_us = origin_us
        self.valid = True
        """Whether what is kept says the same as the events; else windows are made from these."""
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()
        self._sent: dict[Key, Bucket] = {}
        self.voided = False

    async def check(self) -> None:
        """Find out whether there are any that begin where the events do."""
        if self.origin_us is not None:
            self.valid = bool(
                await self._keep.rollups(self._id, LEVELS_S[-1], self.origin_us, self.origin_us + 1)
            )

    async def rollups(self, fresh: list[Columns]) -> tuple[Rollup, ...]:
        """The buckets as they are with these rows; asked again with the same rows it says the same."""
        self._sent = {}
        first_us = min((int(part.timestamp_us.min()) for part in fresh), default=None)
        if first_us is None or not self.valid:
            return ()
        if self.origin_us is None:
            self.origin_us = first_us
        elif first_us < self.origin_us:
            self.valid, self.voided = False, True
            self._buckets.clear()
            return ()
        sent: dict[Key, Bucket] = {}
        for level_s in LEVELS_S:
            for part in fresh:
                await self._add(counted(part, self.origin_us, level_s), level_s, sent)
        self._sent = sent
        return tuple(
            Rollup(level_s, start_us, packed(bucket))
            for (level_s, start_us), bucket in self._sent.items()
        )

    async def _add(self, more: dict[int, Bucket], level_s: int, sent: dict[Key, Bucket]) -> None:
        for start_us, bucket in more.items():
            key = (level_s, start_us)
            before = sent.get(key) or await self._before(key)
            sent[key] = before.plus(bucket)

    async def _before(self, key: Key) -> Bucket:
        """What is written of a bucket: read once, since a write that nobody heard the end of may follow."""
        found = self._buckets.get(key)
        if found is None:
            level_s, start_us = key
            rows = await self._keep.rollups(self._id, level_s, start_us, start_us + 1)
            found = self._buckets[key] = unpacked(rows[0].cells) if rows else Bucket()
        return found

    def written(self) -> None:
        """What was asked for last is on the disk."""
        for key, bucket in self._sent.items():
            self._buckets[key] = bucket
            self._buckets.move_to_end(key)
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        self._sent, self.voided = {}, False

    async def between(self, level_s: int, since_us: int, until_us: int) -> dict[int, Bucket]:
        """Buckets of a level by their start, ``since_us <= start < until_us``."""
        rows = await self._keep.rollups(self._id, level_s, since_us, until_us)
        return {row.start_us: unpacked(row.cells) for row in rows}
