"""What is not there of an experiment as it was written: found when it is opened, before anything is read. PURE.

Three things tell. Seqs and the numbers of words have no gaps. The tip (`keeping.Tip`), written in the
transaction of everything else, says how far they go and how many trials there are. And the mark, which is kept
outside the transactions, says how far the tip once was: when a journal has lost its last ones, nothing
inside it knows.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.keeping import KeptExperiment, Mark, Tip

Run = tuple[int, int]
"""First and last seq."""
KINDS: Final = ("shape", "model", "error")
MOST: Final = 20
"""Runs of missing events that are told of one by one."""
NAMED: Final = 5
"""Runs or words that a message names one by one."""


class Damage(Struct, frozen=True, kw_only=True):
    """What is damaged of one experiment; events by seq.

    `missing`: events that no block holds. `words`: numbers of the words that are not there, by kind.
    `trials`: how many are not there. `lost`: events at the end of an earlier run that had been committed and
    were gone when it was opened, their seqs given again since. `doubts`: events that may have been committed
    before the machine stopped, at most. `flaws`: rows that cannot be read, in words.
    """

    missing: tuple[Run, ...] = ()
    words: dict[str, frozenset[int]] = {}
    trials: int = 0
    lost: tuple[Run, ...] = ()
    doubts: tuple[Run, ...] = ()
    flaws: tuple[str, ...] = ()

    def told(self) -> tuple[str, ...]:
        """In words, one for each thing; none when all is there."""
        found = [f"{named(run)} are missing" for run in self.missing[:MOST]]
        if len(self.missing) > MOST:
            rest = self.missing[MOST:]
            found.append(f"and {_events(rest):,} more events in {len(rest):,} runs are missing")
        found += [
            f"{named(run)} were committed and are lost: the last transactions are gone"
            for run in self.lost
        ]
        found += [
            f"not closed on the machine that wrote it, before that stopped: {named(run)}, as far as there were any, are lost"
            for run in self.doubts
        ]
        found += [
            f"{kind} words {listed(sorted(numbers))} are damaged: events that use them cannot be read"
            for kind, numbers in self.words.items()
        ]
        if self.trials:
            found.append(f"{self.trials} trials are damaged")
        return (*found, *self.flaws)

    @property
    def marks(self) -> dict[str, int]:
        """Events by what happened to them, for a summary."""
        counts = {"missing": _events(self.missing), "lost": _events(self.lost)}
        return {name: count for name, count in counts.items() if count}


def damage_of(kept: KeptExperiment) -> Damage:
    """What an experiment lacks of what was written, losses that were gone on from included."""
    tip = kept.tip or Tip()
    lost, flaws = _lost(kept.tip, kept.mark)
    return Damage(
        missing=gaps(kept.blocks, tip.last_seq),
        words=_words(kept, tip),
        trials=max(tip.trials - len(kept.trials), 0),
        lost=(*tip.lost, *lost),
        doubts=(*tip.doubts, *_doubts(kept)),
        flaws=(*kept.flaws, *flaws),
    )


def end_of(kept: KeptExperiment) -> int:
    """The last seq that was written."""
    tip_seq = 0 if kept.tip is None else kept.tip.last_seq
    return max(tip_seq, max((block.last_seq for block in kept.blocks), default=0))


def gaps(blocks: Sequence[BlockInfo], last_seq: int) -> tuple[Run, ...]:
    """Runs of seqs up to `last_seq` that no block holds; blocks in order."""
    found, expected = [], 1
    for block in blocks:
        if block.first_seq > expected:
            found.append((expected, block.first_seq - 1))
        expected = max(expected, block.last_seq + 1)
    return (*found, *([(expected, last_seq)] if last_seq >= expected else []))


def _words(kept: KeptExperiment, tip: Tip) -> dict[str, frozenset[int]]:
    found = {}
    for kind in KINDS:
        there = {word.number for word in kept.words if word.kind == kind}
        gone = set(range(1, max([*there, tip.words.get(kind, 0)], default=0) + 1)) - there
        if gone:
            found[kind] = frozenset(gone)
    return found


def _lost(tip: Tip | None, mark: Mark | None) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Events of transactions that were committed and are not there; what else there was in these."""
    if tip is None or mark is None or mark.commit <= tip.commit:
        return (), ()
    if mark.last_seq > tip.last_seq:
        return ((tip.last_seq + 1, mark.last_seq),), ()
    return (), (f"the last {mark.commit - tip.commit} transactions are gone: no event was in them",)


def _doubts(kept: KeptExperiment) -> tuple[Run, ...]:
    mark = kept.mark or Mark(commit=0, last_seq=0)
    first = max(end_of(kept), mark.last_seq) + 1
    return ((first, mark.promised),) if mark.promised >= first else ()


def _events(runs: Sequence[Run]) -> int:
    return sum(last - first + 1 for first, last in runs)


def named(run: Run) -> str:
    """A run of events for a message."""
    return f"events {run[0]} to {run[1]}"


def listed(numbers: Sequence[int]) -> str:
    """The first few numbers, and how many more."""
    shown = ", ".join(map(str, numbers[:NAMED]))
    return shown if len(numbers) <= NAMED else f"{shown} and {len(numbers) - NAMED:,} more"


def runs_of(numbers: Sequence[int]) -> list[Run]:
    """Ascending numbers as runs."""
    found: list[Run] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
