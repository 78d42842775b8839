"""What can be asked of one experiment's stored events, over whatever store keeps them."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

from anyio import to_thread
from anyio.lowlevel import checkpoint
from msgspec import Struct

from crucible_telemetry.analysis.flat import first_pass, in_passes
from crucible_telemetry.analysis.pools import Pools
from crucible_telemetry.analysis.rolled import rolled
from crucible_telemetry.analysis.windows import WindowRow, windowed
from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.account import marks_of
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import State
from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event
from crucible_telemetry.metrics import summary as figures
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Privacy, Sampling, Summary, Timing
from crucible_telemetry.metrics.rest import at_rest
from crucible_telemetry.metrics.rollups import Bucket, levels_for
from crucible_telemetry.stores.base import (
    BucketStore,
    Last,
    Query,
    Store,
    Where,
    Window,
    to_us,
    window_query,
)
from crucible_telemetry.stores.memory import MemoryStore

PAGE: Final = 4096
AT_ONCE: Final = 131_072
"""Events whose figures are made with all of them in memory; of more only where they are there anyway."""
IN_PLACE: Final = 32_768
"""Events whose figures are made on the loop, in about 3 ms; those of more in a thread, mostly NumPy's work."""
Span = tuple[int | None, int | None]
T = TypeVar("T")


class Extras(Struct, frozen=True):
    """What a summary says beside the figures: marks by kind, custom results, what was left out or redacted."""

    marks: dict[str, int]
    custom: dict[str, Any]
    sampling: Sampling | None
    privacy: Privacy


def extras_of(collector: Collector, custom: dict[str, Any]) -> Extras:
    """What a collector knows beside its events."""
    progress, spec = collector.progress, collector.reader.spec
    privacy = Privacy(level=spec.privacy, redacted=progress.marks["redacted"])
    if not spec.sampled:
        return Extras(marks_of(collector), custom, None, privacy)
    offered = progress.stored + progress.sampled_out
    sampling = Sampling(
        rule="rate" if spec.sampling_strategy is None else "strategy",
        rate=spec.sampling_rate,
        kept=progress.stored,
        left_out=progress.sampled_out,
        share=progress.stored / offered if offered else None,
    )
    return Extras(marks_of(collector), custom, sampling, privacy)


class Reading:
    """The reading side of one experiment; callers flush first."""

    def __init__(self, store: Store, reader: ExperimentReader) -> None:
        self._store, self._reader = store, reader

    @property
    def source(self) -> tuple[Store, ExperimentReader]:
        """The store, and what reads its rows."""
        return self._store, self._reader

    async def pages(self, where: Where | None, size: int) -> AsyncIterator[list[Event]]:
        """Events that fit in order of time, as they were at the first page."""
        query = Query(where=where, upto_seq=self._store.last_seq)
        after = None
        while True:
            page = await self._store.page(query, after, size)
            if page.events:
                yield page.events
            if len(page.events) < size:
                return
            after = page.position

    async def events(self, where: Where | None) -> list[Event]:
        """All events that fit."""
        return [event async for page in self.pages(where, PAGE) for event in page]

    async def count(self, where: Where | None) -> int:
        """How many events fit."""
        return await self._store.count(Query(where=where))

    async def window(self, window: Window, where: Where | None, life: Life) -> list[Event]:
        """Events of a window that fit."""
        now_us = await self._now_us(life) if isinstance(window, Last) and window.now is None else 0
        query = window_query(window, where, now_us=now_us)
        page = await self._store.page(query, None, max(self._store.last_seq, 1))
        return page.events

    async def _now_us(self, life: Life) -> int:
        """Where a `Last` ends: see `Experiment.window`."""
        end_us = wall_us() if life.ended_us is None else life.ended_us
        newest = await self._store.page(Query(last_n=1), None, 1)
        if not newest.events:
            return end_us
        newest_us = newest.events[-1].timestamp_us
        # Events that carry their own time (replay, import) lie outside the experiment's own.
        own_time = newest_us < life.started_us or newest_us > end_us
        return newest_us if own_time else end_us

    async def windowed(
        self, size: timedelta | float, step: timedelta | float, where: Where | None, life: Life
    ) -> list[WindowRow]:
        """Figures per window: from the store's roll-ups where these can tell them."""
        size_us, step_us = to_us(size, "size"), to_us(step, "step")
        pools = Pools(self._reader.spec.metrics_config, self._reader)
        pauses = life.pauses(wall_us())
        levels = [] if where is not None or pools.named else levels_for(size_us, step_us)
        buckets = await self._buckets(levels)
        if buckets is None:
            parts = await self._parts(where)
            work = partial(windowed, parts, size_us, step_us, pauses, pools)
            return await _made_of(parts, work)
        return await _in_turns(rolled(buckets, size_us, step_us, pauses, pools.config))

    async def _buckets(self, levels: Sequence[int]) -> dict[int, Bucket] | None:
        if levels and isinstance(self._store, BucketStore):
            return await self._store.buckets(levels[0])
        return None

    async def metrics(
        self,
        life: Life,
        extras: Callable[[], Extras],
        by: str | None,
        where: Where | None,
    ) -> Summary:
        """Figures at rest; `extras` are asked for when all has been read, which may find damage."""
        if self._store.last_seq > AT_ONCE and not isinstance(self._store, MemoryStore):
            query = Query(where=where, upto_seq=self._store.last_seq)
            parts_of = partial(self._store.columns, query)
            first = await first_pass(parts_of(), self._reader)
            said, config = extras(), self._reader.spec.metrics_config
            timing = _timing(life, first.span_us, said)
            made = partial(
                figures.summarised,
                figures=figures.Figures(self._reader, timing, config),
                custom=said.custom,
                by_event=_by_event(by),
                exact=True,
            )
            if not first.crowded:
                return await in_passes(first.board, made, parts_of, self._reader)
        parts = await self._parts(where)
        first_us = min((int(part.timestamp_us.min()) for part in parts), default=None)
        last_us = max((int(part.timestamp_us.max()) for part in parts), default=None)
        said = extras()
        timing = _timing(life, (first_us, last_us), said)
        work = partial(
            at_rest,
            parts,
            self._reader,
            timing,
            custom=said.custom,
            by_event=_by_event(by),
            config=self._reader.spec.metrics_config,
        )
        return await _made_of(parts, work)

    async def _parts(self, where: Where | None) -> list[Columns]:
        return [part async for part in self._store.columns(Query(where=where))]

    def live(
        self,
        board: Board,
        span_us: Span,
        life: Life,
        extras: Extras,
        by: str | None,
    ) -> Summary:
        """Figures of a board; `span_us` is the time of the first and last event."""
        timing = _timing(life, span_us, extras)
        return figures.live(
            board,
            self._reader,
            timing,
            custom=extras.custom,
            by_event=_by_event(by),
            config=self._reader.spec.metrics_config,
        )


async def _made_of(parts: Sequence[Columns], work: Callable[[], T]) -> T:
    """What `work` makes of these; where they are many the loop goes on meanwhile."""
    if sum(map(len, parts)) <= IN_PLACE:
        return work()
    return await to_thread.run_sync(work, abandon_on_cancel=True)


async def _in_turns(steps: Iterator[list[WindowRow]]) -> list[WindowRow]:
    """All rows; the loop gets its turn between some and the next."""
    found: list[WindowRow] = []
    for some in steps:
        found += some
        await checkpoint()
    return found


def _by_event(by: str | None) -> bool:
    if by not in (None, "event"):
        raise QueryError("by", f"want None or 'event', not {by!r}")
    return by == "event"


def _timing(life: Life, span_us: Span, extras: Extras) -> Timing:
    now_ns = monotonic_ns()
    return Timing(
        first_us=span_us[0],
        last_us=span_us[1],
        active_s=life.seconds(State.RUNNING, now_ns),
        paused_s=life.seconds(State.PAUSED, now_ns),
        marks=extras.marks,
        sampling=extras.sampling,
        privacy=extras.privacy,
    )
