"""What can be asked of an experiment, and taken away from it, at any time of its life."""

import os
import weakref
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from crucible_telemetry.analysis.reading import Extras, Reading, extras_of
from crucible_telemetry.analysis.windows import WindowRow
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.formats import check_format
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.progress import FlushResult
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.recount import LookingBack
from crucible_telemetry.collect.spec import ExperimentSpec, State
from crucible_telemetry.collect.subscription import Subscription
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.errors import LifecycleError
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.routes import Name
from crucible_telemetry.experiment.frames import Frames
from crucible_telemetry.experiment.taking import content, write
from crucible_telemetry.export.files import squeezed, target_of
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.export.writing import Wishes, wishes_of
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stores.base import Query, Where, Window

LIVE_DRAIN_NS: Final = 100_000_000
"""How long `live` may keep the loop to catch up; a full mailbox takes a quarter of it."""
LATER_VERBS: Final = {
    "quality": "data quality reports come with sequential tests",
    "plot": "plots come with the live page",
}
"""Verbs of an experiment whose part is not built yet, and what they wait for."""


class Questions(Frames):
    """The reading verbs of an `Experiment`; all flush first while it runs, and read what is stored after."""

    _collector: Collector
    _life: Life
    _reading: Reading
    _custom: CustomMetrics
    _looking_back: LookingBack | None
    """What counts the events of an earlier process for `live`; None: they are counted as they come."""
    _subscriptions: "weakref.WeakSet[Subscription]"

    @property
    def state(self) -> State:
        """See `Experiment.state`."""
        raise AttributeError("state")

    async def flush(self, timeout_s: float | None = None) -> FlushResult:
        """See `Experiment.flush`."""
        raise AttributeError("flush")

    async def trials(self) -> list[TrialRecord]:
        """See `Experiment.trials`."""
        raise AttributeError("trials")

    async def _known_trials(self) -> list[TrialRecord]:
        """Trials for a file beside that of events."""
        return await self.trials()

    async def _joined_trials(self) -> list[TrialRecord]:
        """Trials under the numbers that stand in the columns of events."""
        return await self._known_trials()

    @property
    def name(self) -> str:
        """The experiment's name; ids tell those of one name apart."""
        return self.spec.name

    id: str
    _cleaned_up: bool

    spec: ExperimentSpec

    def _check_kept(self, command: str) -> None:
        """`LifecycleError` when the data was given up by `cleanup`: nothing reads as if it were empty."""
        if self._cleaned_up:
            raise LifecycleError(self.id, "cleaned up", command)

    # -- reading --------------------------------------------------------------------------------

    def live(self, *, by: str | None = None) -> Summary:
        """The metrics so far, without waiting and without I/O; `upto_seq` says how far they reach.

        On the lab's loop what waits in the mailbox is counted first (and the price library loaded, once in a
        process and on the loop, when that needs a price before anything else did). Quantiles lie within
        `quantile_error` of the exact ones. ``by="event"`` adds the figures of each event name.

        Of an experiment that ended in an earlier process, or runs in another, what is stored is counted from
        the first look on, a part at a time: `upto_seq` grows, and `await flush()` waits until all is counted.
        """
        collector = self._collector
        self._catch_up()
        if self._looking_back is not None:
            self._looking_back.begin()
        progress = collector.progress
        board = progress.live
        return self._reading.live(
            board, progress.live_us, self._life, self._extras(self._custom.live()), by
        )

    def reset_live(self) -> None:
        """Begin the live figures anew with the next event; `metrics()` and custom metrics ignore this.

        On the lab's loop what waits in the mailbox belongs to what was before, as far as `live` would show it.
        """
        self._catch_up()
        if self._looking_back is not None:
            self._looking_back.stop()
        self._collector.reset_live()

    def _catch_up(self) -> None:
        """On the lab's loop: drain what was emitted so far, unless another thread is at it."""
        self._check_kept("read")
        if self._collector.loop.is_here():
            self._collector.drain_for(LIVE_DRAIN_NS)

    async def metrics(self, where: Where | None = None, *, by: str | None = None) -> Summary:
        """The metrics at rest of everything emitted so far (or of what fits `where`): quantiles are exact.

        A streaming custom metric has seen every event and so has no answer (None) with `where`.
        """
        await self._settle()
        events = await self.events(where) if self._custom.calculates else []
        custom = self._custom.at_rest(events, filtered=where is not None)
        return await self._reading.metrics(self._life, lambda: self._extras(custom), by, where)

    def _extras(self, custom: dict[str, Any]) -> Extras:
        return extras_of(self._collector, custom)

    async def _settle(self) -> None:
        """Reads see what was emitted before them; of a failed experiment, what was stored."""
        self._check_kept("read")
        if self._life.living:
            await self.flush()
            self._check_kept("read")

    async def events(self, where: Where | None = None) -> list[Event]:
        """All events that fit, in order of time; for more than memory holds see `pages`."""
        await self._settle()
        return await self._reading.events(where)

    async def pages(
        self, where: Where | None = None, size: int = 1024
    ) -> AsyncIterator[list[Event]]:
        """Events that fit, `size` at a time, in order of time, as they were at the first page."""
        await self._settle()
        async for page in self._reading.pages(where, size):
            yield page
            self._check_kept("read on from")  # meanwhile, which would read as the end

    async def count_events(self, where: Where | None = None) -> int:
        """How many events fit."""
        await self._settle()
        return await self._reading.count(where)

    async def window(self, window: Window, where: Where | None = None) -> list[Event]:
        """Events of ``Last(minutes=5)``, ``LastN(200)`` or ``Between(a_us, b_us)`` that fit, in order of time.

        A `Last` without `now=` ends now while running, else at the stop; at the newest event when
        events carry their own time (`at_us`).
        """
        await self._settle()
        return await self._reading.window(window, where, self._life)

    async def windowed_metrics(
        self,
        size: timedelta | float,
        step: timedelta | float | None = None,
        where: Where | None = None,
    ) -> list[WindowRow]:
        """Half-open windows of `size` every `step` (timedelta or seconds; default: `size`)."""
        await self._settle()
        return await self._reading.windowed(size, size if step is None else step, where, self._life)

    def subscribe(self, patterns: Name | Iterable[Name] = "*") -> Subscription:
        """``async for event in exp.subscribe("llm.*")``: events as they are stored, until it ends.

        A slow reader falls behind and loses nothing: it reads from the store.
        """
        self._check_kept("subscribe to")
        subscription = Subscription(self, self._collector, patterns)
        self._subscriptions.add(subscription)
        return subscription

    async def _parts(self, where: Where | None) -> tuple[list[Columns], ExperimentReader]:
        """All events that fit, as columns, and who reads them."""
        await self._settle()
        store, reader = self._reading.source
        return [part async for part in store.columns(Query(where=where))], reader

    # -- taking away ----------------------------------------------------------------------------

    async def export(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        format: str | None = None,  # noqa: A002 - the word users know
        where: Where | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> Path:
        """Write the events that fit `where` to a file, as they are at this moment; returns its path.

        The format comes from the name (``.csv``, ``.jsonl``, with ``.gz`` or ``.zst`` behind it; ``.parquet``,
        ``.arrow``) or from `format` and `compression`; without a path, or in a folder, the file is called
        ``NAME_YYYYmmddTHHMMSSZ.jsonl``. Folders are made; the file is whole or not there (`ExportError`).

        Where trials have run they are written beside, ``x.trials.csv`` beside ``x.csv``; ``what="trials"``
        writes them alone, to `path`, and ``what="events"`` leaves them out. Further options (`columns`,
        `transformers`, `flat`): see `export.writing.Wishes`.
        """
        wishes = wishes_of(where, options)
        trials = wishes.what == "trials"
        target = target_of(path, format, compression, self.spec.name, trials=trials)
        return await write([self], target, wishes)

    async def _moment(self, wishes: Wishes) -> Walk:
        """This moment of the experiment, for an export."""
        await self._settle()
        return self._walk(wishes)

    def _walk(self, wishes: Wishes) -> Walk:
        return Walk(*self._reading.source, wishes.where, lambda: self._check_kept("export"))

    async def stream(
        self,
        format: str = "jsonl",  # noqa: A002 - the word users know
        *,
        where: Where | None = None,
        compression: str | None = None,
        **options: Any,
    ) -> AsyncIterator[bytes]:
        """What `export` writes to its path, in chunks, for an HTTP response: ``async for chunk in exp.stream("csv")``."""
        chosen = check_format(format, compression)
        wishes = wishes_of(where, options)
        chunks = await content([self], chosen.kind, wishes)
        async with aclosing(squeezed(chunks, chosen.compression)) as ready:
            async for chunk in ready:
                yield chunk
