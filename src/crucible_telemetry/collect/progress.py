"""How far a collector has come, as one immutable value, and the counts users see. PURE."""

from collections import Counter
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.stores.base import StoreHealth

KEPT_QUARANTINED: Final = 100


class Counts(Struct, frozen=True, kw_only=True):
    """What became of every event offered to an experiment.

    ``emitted == stored + filtered + sampled_out + skipped + dropped + quarantined + late + refused +
    in_flight``. `skipped`: while paused; `late`: after stop; `refused`: after failure; `in_flight`:
    accepted and not yet through. Exact on the loop's thread; while threads emit, after `flush()`.
    """

    emitted: int = 0
    stored: int = 0
    filtered: int = 0
    sampled_out: int = 0
    skipped: int = 0
    dropped: int = 0
    quarantined: int = 0
    late: int = 0
    refused: int = 0
    in_flight: int = 0

    @property
    def accounted(self) -> int:
        """The right side of the law; equal to `emitted`."""
        return (
            self.stored + self.filtered + self.sampled_out + self.skipped + self.dropped
            + self.quarantined + self.late + self.refused + self.in_flight
        )  # fmt: skip


class Quarantined(Struct, frozen=True, kw_only=True):
    """An event that could not be collected: what it was, what it raised, where."""

    position: int
    event_name: str
    error: str
    frames: tuple[str, ...]


class Prepared(Struct, frozen=True, gc=False):
    """What became of `taken` rows: columns to keep (None when none is), and counts of the others.

    `priced`: tokens × price has been filled in; until then `beyond` holds (provider, model) by row, where
    the vocabulary had no number left for them.
    """

    consumed: int
    taken: int
    columns: Columns | None
    filtered: int
    sampled_out: int
    quarantined: int
    marks: "Counter[str]"
    casualties: tuple[Quarantined, ...] = ()
    beyond: dict[int, tuple[str | None, str | None]] = {}
    priced: bool = False


class Progress(Struct, frozen=True, kw_only=True):
    """Everything a batch changes, replaced in one assignment: a crash leaves the old one or the new one.

    `live` is the board since the last reset, `live_us` the time of its first and last event; `consumed` rows have left the mailbox for good; `stored` is also the last seq given.
    """

    live: Board
    live_us: tuple[int | None, int | None] = (None, None)
    consumed: int = 0
    stored: int = 0
    filtered: int = 0
    sampled_out: int = 0
    quarantined: int = 0
    marks: "Counter[str]" = Counter()
    quarantine: tuple[Quarantined, ...] = ()


class Health(Struct, frozen=True, kw_only=True):
    """How collecting goes. Times in ms, sizes in events; `marks` counts what was replaced, by kind.

    `store`: whether what was collected can be kept, see `StoreHealth`.
    """

    state: str
    in_flight: int
    mailbox_capacity: int
    mailbox_peak: int
    batches: int
    drained_by_emitters: int
    mean_batch: float
    drain_ms_last: float
    drain_ms_max: float
    lag_ms: float
    restarts: int
    scope_leaks: int
    marks: dict[str, int]
    quarantine: tuple[Quarantined, ...]
    errors: dict[str, str]
    store: StoreHealth = StoreHealth()


class FlushResult(Struct, frozen=True, kw_only=True):
    """What `flush` did: events made visible, spilled to a file, failed (visible, and not durable when it
    returned: they wait, and are tried again); whether the time ran out.
    """  # noqa: D205 - the summary is one sentence

    flushed: int = 0
    spilled: int = 0
    failed: int = 0
    timed_out: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything emitted before the call is visible now."""
        return not self.failed and not self.timed_out


def merged(marks: "Counter[str]", more: "Counter[str]") -> "Counter[str]":
    """Two counts of marks as a new one."""
    return marks + more if more else marks


def advanced(progress: Progress, prepared: Prepared, reader: Reader) -> Progress:
    """The progress once this batch is stored."""
    live, live_us, stored = progress.live, progress.live_us, progress.stored
    if prepared.columns is not None:
        live = live.plus(prepared.columns, reader)
        live_us = widened(live_us, prepared.columns)
        stored += len(prepared.columns)
    return replace(
        progress,
        live=live,
        live_us=live_us,
        consumed=progress.consumed + prepared.taken,
        stored=stored,
        filtered=progress.filtered + prepared.filtered,
        sampled_out=progress.sampled_out + prepared.sampled_out,
        quarantined=progress.quarantined + prepared.quarantined,
        marks=merged(progress.marks, prepared.marks),
        quarantine=(progress.quarantine + prepared.casualties)[:KEPT_QUARANTINED],
    )


def widened(span_us: tuple[int | None, int | None], columns: Columns) -> tuple[int, int]:
    """A span of time (first, last event, µs) that takes in these rows."""
    low, high = int(columns.timestamp_us.min()), int(columns.timestamp_us.max())
    first, last = span_us
    return (low if first is None else min(first, low)), (high if last is None else max(last, high))
