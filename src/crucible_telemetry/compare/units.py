"""What is counted as one: a trial with all its attempts, an attempt, or (without trials) a call. PURE."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.stats.arguments import Floats

Codes = NDArray[np.uint8]
Key = tuple[Any, ...]

CENSORED: Final = (Outcome.NONE, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.UNKNOWN)
"""Ends that leave open when it would have succeeded; `NONE` is still running."""
_LABELS: Final = {outcome.label: int(outcome) for outcome in Outcome}


class Units(Struct, frozen=True, eq=False):
    """The units of one experiment, arrays ``(n,)``; the item of a call may be known or not.

    `outcome`: codes of `Outcome`, `NONE` while it runs; `elapsed_ms`: wall time so far; `scores`: what
    each was scored last; `keys`: (item, repeat) or (item, repeat, attempt), empty for calls.
    """

    kind: str
    items: NDArray[Any] | None
    outcome: Codes
    elapsed_ms: Floats
    started_us: NDArray[np.int64]
    ended_us: NDArray[np.int64]
    scores: Sequence[Mapping[str, Any]] = ()
    keys: Sequence[Key] = ()

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def span_us(self) -> tuple[int, int]:
        """From the first start to the last end."""
        return int(self.started_us.min(initial=2**62)), int(self.ended_us.max(initial=-(2**62)))


class Watched(Struct, frozen=True):
    """How long an experiment was watched: until `now_us`, but for `gaps_us`, when no process had it."""

    now_us: int
    gaps_us: Sequence[tuple[int, int]] = ()

    def until(self, started_us: int) -> int:
        """Until when something that started then, and never ended, was seen to run: its process died with it."""
        return min((gap for gap, _ in self.gaps_us if gap >= started_us), default=self.now_us)


def trial_units(
    records: Iterable[TrialRecord], watched: Watched, *, attempts: bool = False
) -> Units:
    """Trials as units: attempts of one (item, repeat) are one, whose outcome and scores are the last's.

    `elapsed_ms` sums its attempts. What is open has run for as long as it was watched; a run that never ended
    and was run again lost its process, which tells nothing of its arm, and takes no time. `attempts`: each its
    own.
    """
    groups: dict[Key, list[TrialRecord]] = {}
    for record in records:
        key = (*record.key, record.attempt) if attempts else record.key
        groups.setdefault(key, []).append(record)
    runs = [
        sorted(group, key=lambda one: (one.attempt, one.started_us)) for group in groups.values()
    ]
    last = [run[-1] for run in runs]
    return Units(
        kind="attempt" if attempts else "trial",
        items=np.array([record.item for record in last], dtype=np.str_),
        outcome=np.array([_LABELS[record.outcome] for record in last], np.uint8),
        elapsed_ms=np.array([_elapsed_ns(run, watched) / 1e6 for run in runs], float),
        started_us=np.array([run[0].started_us for run in runs], np.int64),
        ended_us=np.array(
            [one.ended_us or watched.until(one.started_us) for one in last], np.int64
        ),
        scores=[record.scores for record in last],
        keys=list(groups),
    )


def _elapsed_ns(run: Sequence[TrialRecord], watched: Watched) -> int:
    ended = sum(record.duration_ns or 0 for record in run)
    last = run[-1]
    if last.duration_ns is not None:
        return ended
    return ended + max(watched.until(last.started_us) - last.started_us, 0) * 1000


def score_of(units: Units, name: str) -> tuple[Floats, bool]:
    """A score a unit, NaN where it has none; and whether all there are, are True or False."""
    return numbers_of([scores.get(name) for scores in units.scores])


def numbers_of(found: Sequence[Any]) -> tuple[Floats, bool]:
    """The values as numbers, NaN for what is none; and whether all that are, are True or False."""
    numbers = [value if isinstance(value, (bool, int, float)) else None for value in found]
    there = [value for value in numbers if value is not None]
    values = np.array([np.nan if value is None else value for value in numbers], np.float64)
    return values, bool(there) and all(isinstance(value, bool) for value in there)
