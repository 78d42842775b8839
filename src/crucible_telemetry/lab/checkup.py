"""Whether a keep holds what it should: every block as it was written, every seq, roll-ups that equal their rows."""

from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.lab.durable import Found, here, keep_of, record_of
from crucible_telemetry.metrics.rollups import LEVELS_S, Bucket, counted, merged
from crucible_telemetry.runtime.headway import headway
from crucible_telemetry.stores.damage import damage_of, end_of
from crucible_telemetry.stores.keeping import Keep, KeptExperiment, Tip
from crucible_telemetry.stores.totals import Mark, Totals


class Checked(Struct, frozen=True, kw_only=True):
    """What was found of one experiment. `problems` is empty when it is whole.

    `owner`: host and process that wrote it last; `alive`: whether that runs. `rollups`: ``ok``,
    ``differ``, or ``not whole`` where they do not count every event (they are made anew when read). `elsewhere`:
    the store of its own that has the events, which are not looked at; None: they are here.
    """

    id: str
    name: str
    state: str
    events: int
    blocks: int
    owner: str
    alive: bool
    rollups: str
    problems: list[str]
    elsewhere: str | None = None


class Lookout(Struct, frozen=True):
    """A keep that is open to be looked through, and what it says of itself."""

    keep: Keep
    kept: list[KeptExperiment]
    about: dict[str, Any]

    async def experiments(self) -> AsyncIterator[Checked]:
        """One after the other, each read whole."""
        for kept in self.kept:
            yield await _checked(self.keep, kept)


async def look(url: str) -> Lookout:
    """Open what is there, to be read; whoever calls closes `keep`."""
    keep = keep_of(url, "normal", read_only=True)
    assert keep is not None  # noqa: S101 - memory is refused before
    try:
        kept = await keep.open()
        about: dict[str, Any] = await keep.about()  # type: ignore[attr-defined]
    except BaseException:
        await keep.close()
        raise
    return Lookout(keep, kept, about)


async def _checked(keep: Keep, kept: KeptExperiment) -> Checked:
    record = record_of(kept, here())
    found = Found(kept, record)
    problems = [*_damage(kept), *_twice(kept)]
    again: dict[int, dict[int, Bucket]] = {level_s: {} for level_s in LEVELS_S}
    totals = Totals(keep, kept.id, min((block.min_us for block in kept.blocks), default=None))
    last_seq = end_of(kept)
    last_us = max((block.max_us for block in kept.blocks), default=0)
    mark = await _mark(totals, last_seq, last_us, problems)
    for done, block in enumerate(kept.blocks):
        headway(kept.id, done / len(kept.blocks))
        try:
            columns = await keep.load(kept.id, block)
        except StoreDamaged as damage:
            problems.append(damage.reason)
            continue
        if mark is not None:
            again = {s: merged(of, counted(columns, mark.origin_us, s)) for s, of in again.items()}
    rollups = "not whole"
    if mark is not None and not problems:
        rollups = "ok" if await _equal(totals, last_seq, last_us, again) else "differ"
    if rollups == "differ" or totals.voided:
        problems.append(
            "roll-ups are not what the events say; they are made anew when they are asked for"
        )
    return Checked(
        id=kept.id, name=record.name, state=found.state.value, elsewhere=record.store,
        events=record.counts.stored if record.store else sum(b.rows for b in kept.blocks),
        blocks=len(kept.blocks), owner=f"{record.owner.host}, process {record.owner.pid}",
        alive=found.elsewhere is not None, rollups=rollups, problems=problems,
    )  # fmt: skip


def _damage(kept: KeptExperiment) -> list[str]:
    """What is damaged; a loss that was found before, and gone on from, is history."""
    damage = damage_of(kept)
    known = kept.tip or Tip()
    new = replace(
        damage, lost=damage.lost[len(known.lost) :], doubts=damage.doubts[len(known.doubts) :]
    )
    return list(new.told())


def _twice(kept: KeptExperiment) -> list[str]:
    """Seqs that more than one block holds."""
    problems, expected = [], 1
    for block in kept.blocks:
        if block.first_seq < expected:
            problems.append(f"events {block.first_seq} to {expected - 1} are there twice")
        expected = max(expected, block.last_seq + 1)
    return problems


async def _mark(totals: Totals, last_seq: int, last_us: int, problems: list[str]) -> Mark | None:
    """How far the roll-ups count, where that is to the end."""
    try:
        await totals.check(last_seq, last_us)
    except StoreDamaged as damage:
        problems.append(f"its roll-ups cannot be read: {damage.reason}")
        return None
    return totals.mark if totals.upto_seq == last_seq else None


async def _equal(
    totals: Totals, last_seq: int, last_us: int, again: dict[int, dict[int, Bucket]]
) -> bool:
    for level_s, counted_now in again.items():
        try:
            kept = await totals.whole(level_s, last_seq, last_us)
        except StoreDamaged:
            return False
        if kept is None or kept[1] != counted_now:
            return False
    return True
