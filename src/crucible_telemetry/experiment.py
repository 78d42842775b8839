"""The handle users hold: one experiment's verbs."""

import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import anyio
import anyio.lowlevel

from crucible_telemetry.analysis.reading import Reading
from crucible_telemetry.analysis.windows import WindowRow
from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.progress import Counts, FlushResult, Health
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import FORMATS, ExperimentSpec, State
from crucible_telemetry.collect.subscription import Subscription
from crucible_telemetry.collect.trial import Trial
from crucible_telemetry.collect.trials import TrialRecord, Trials
from crucible_telemetry.errors import ExperimentFailed, NotBuiltYet
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.mailbox import Gate
from crucible_telemetry.events.routes import Name, close_route
from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import Span, span_of
from crucible_telemetry.export.jsonl import write_jsonl
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.stores.base import Where, Window

_LIVING: Final = (State.RUNNING, State.PAUSED)


class Experiment:
    """One experiment of a lab. Made by `Lab.start_experiment` and `Lab.experiment`."""

    def __init__(
        self,
        experiment_id: str,
        spec: ExperimentSpec,
        collector: Collector,
        trials: Trials,
        lab: Any,
    ) -> None:
        self.id, self.spec = experiment_id, spec
        self._collector, self._trials, self._lab = collector, trials, lab
        self._reader: ExperimentReader = collector.reader
        self._life = Life(experiment_id, wall_us(), monotonic_ns())
        self._reading = Reading(collector.store, self._reader)
        self._custom = CustomMetrics(dict(spec.custom_metrics), self._reader)
        self._since: Board | None = None
        self._failure: BaseException | None = None
        self._released = Signal()
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self.exported = False
        """Whether `export_on_exit` has been seen to."""
        collector.owner = self
        if self._custom.streams:
            collector.after_commit = (*collector.after_commit, self._custom.tell)

    def __repr__(self) -> str:
        return f"<Experiment {self.id} {self.state.value}, {self.counts.stored} events>"

    # -- what it is -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name it was started with; ids tell experiments of one name apart."""
        return self.spec.name

    @property
    def state(self) -> State:
        """One of running, paused, stopped, archived, interrupted, failed."""
        return self._life.state

    @property
    def failure(self) -> BaseException | None:
        """What a failed experiment failed of."""
        return self._failure

    @property
    def pause_count(self) -> int:
        """How often it was paused."""
        return self._life.pause_count

    @property
    def active_seconds(self) -> float:
        """Seconds it ran, pauses left out."""
        return self._life.seconds(State.RUNNING, monotonic_ns())

    @property
    def paused_seconds(self) -> float:
        """Seconds it was paused."""
        return self._life.seconds(State.PAUSED, monotonic_ns())

    @property
    def counts(self) -> Counts:
        """What became of every event offered; see `Counts`."""
        collector = self._collector
        box, progress = collector.box, collector.progress
        refusals = {gate: tally.value for gate, tally in box.refusals.items()}
        return Counts(
            emitted=box.ticks.value,
            stored=progress.stored,
            filtered=progress.filtered,
            sampled_out=progress.sampled_out,
            skipped=refusals[Gate.SKIPPED],
            dropped=refusals["dropped"],
            quarantined=progress.quarantined,
            late=refusals[Gate.LATE],
            refused=refusals[Gate.REFUSED],
            in_flight=box.accepted - progress.consumed,
        )

    def health(self) -> Health:
        """How collecting goes: lag, drain time, mailbox peak, what was replaced, what was quarantined."""
        collector = self._collector
        box, progress = collector.box, collector.progress
        return Health(
            state=self.state.value,
            in_flight=box.accepted - progress.consumed,
            mailbox_capacity=box.capacity,
            mailbox_peak=max(box.peak, len(box)),
            batches=collector.batches,
            drained_by_emitters=collector.drained_by_emitters,
            mean_batch=progress.consumed / max(collector.batches, 1),
            drain_ms_last=collector.drain_ns_last / 1e6,
            drain_ms_max=collector.drain_ns_max / 1e6,
            lag_ms=collector.lag_ns / 1e6,
            restarts=max(collector.runs - 1, 0),
            scope_leaks=box.scope_leaks,
            marks=dict(progress.marks),
            quarantine=progress.quarantine,
            errors={**collector.preparer.guard.first_error, **self._custom.failed},
        )

    # -- scopes ---------------------------------------------------------------------------------

    def scope(self) -> "ExperimentScope":
        """``with exp.scope():`` (or ``async with``): events emitted inside go to this experiment."""
        return ExperimentScope(self._collector)

    def span(self, event: Name, metadata: dict[str, Any] | None = None) -> "ExperimentSpan":
        """`ct.span` in this experiment's scope, wherever it is opened."""
        return ExperimentSpan(self._collector, event, metadata)

    def trial(
        self,
        *,
        item: object,
        repeat: int = 0,
        attempt: int = 0,
        session: str | None = None,
        user: str | None = None,
        cohort: str | None = None,
    ) -> Trial:
        """One run of one item; opens this experiment's scope, and its identity is on all events inside."""
        identity = {
            "item": str(item), "repeat": repeat, "attempt": attempt,
            "session": session, "user": user, "cohort": cohort,
        }  # fmt: skip
        return Trial(self, self._trials, self._collector, identity)

    def planned_trial(self, item: str, repeat: int, release: Callable[[], None]) -> Trial:
        """A trial of a plan; `release` is called when it has ended."""
        identity = {"item": item, "repeat": repeat}
        return Trial(self, self._trials, self._collector, identity, release)

    @property
    def takes_trials(self) -> bool:
        """Whether further trials may start: it runs, and its sample is not complete."""
        full = self.spec.stop_at_sample_size and len(self._trials.records) >= (
            self.spec.sample_size or 0
        )
        return self.state in _LIVING and not full

    async def trials(self) -> list[TrialRecord]:
        """All trials in the order they started, open ones included."""
        return list(self._trials.records.values())

    def trials_done(self) -> set[tuple[str, int]]:
        """(item, repeat) of the trials that ended well."""
        return self._trials.done()

    def open_spans(self) -> list[Span]:
        """Spans that have started and not ended, oldest first: a hung call is seen here."""
        return sorted(
            self._collector.box.open_spans.values(), key=lambda span: int(span.started_ns)
        )

    # -- life -----------------------------------------------------------------------------------

    async def pause(self) -> Self:
        """Stop collecting and keep everything; what is emitted from now on counts as `skipped`."""
        self._life.move("pause", wall_us(), monotonic_ns())
        self._collector.box.gate = Gate.SKIPPED
        self._collector.release()
        return self

    async def resume(self) -> Self:
        """Collect again."""
        self._life.move("resume", wall_us(), monotonic_ns())
        self._collector.box.gate = None
        return self

    async def stop(self) -> Self:
        """End it: what was accepted is stored, what comes later counts as `late`; data stays readable.

        Stopping again changes nothing.
        """
        if self.freeze():
            try:
                await self._lab.release(self)
            finally:
                self._released.set()
        elif self.state is State.STOPPED:
            await self._released.wait()
        return self

    def freeze(self) -> bool:
        """The part of `stop` that waits for nothing: no cancellation comes between. False when done."""
        before = self.state
        after = self._life.move("stop", wall_us(), monotonic_ns())
        if after is before:
            return False
        collector = self._collector
        collector.box.gate = Gate.LATE
        close_route(collector.box)
        collector.drain_all()
        collector.close(Gate.LATE)
        return True

    def freeze_if_living(self) -> None:
        """`freeze` for a lab that closes."""
        if self.state in _LIVING:
            self.freeze()
            self.wake_subscribers()
            self._released.set()

    def wake_subscribers(self) -> None:
        """Let those who follow see that it has ended."""
        for subscription in list(self._subscriptions):
            subscription.wake()

    def fail(self, error: BaseException) -> None:
        """The supervisor gave up: emits neither wait nor raise from now on, data stays readable."""
        if self.state not in _LIVING:
            return
        self._failure = error
        self._life.move("fail", wall_us(), monotonic_ns())
        close_route(self._collector.box)
        self._collector.close(Gate.REFUSED)
        self.wake_subscribers()
        self._released.set()

    async def flush(self, timeout_s: float | None = None) -> FlushResult:
        """A barrier: every emit that returned before this call, in any thread, is visible after it.

        Later ones do not delay it. Raises `ExperimentFailed` on a failed experiment.
        """
        collector = self._collector
        target = collector.box.accepted
        before = collector.progress.consumed
        with anyio.move_on_after(timeout_s) as limit:
            while collector.progress.consumed < target:
                self._check_not_failed("flush")
                if not collector.drain_now(target):
                    await anyio.sleep(0.001)  # another thread drains, or the collector must answer
                else:
                    await anyio.lowlevel.checkpoint()
            await collector.store.commit()
        self._check_not_failed("flush")
        done = max(min(collector.progress.consumed, target) - before, 0)
        return FlushResult(flushed=done, timed_out=limit.cancelled_caught)

    def _check_not_failed(self, command: str) -> None:
        if self.state is State.FAILED:
            raise ExperimentFailed(self.id, self.state.value, command, repr(self._failure))

    async def cleanup(self, *, keep_data: bool = False) -> None:
        """Forget the experiment (stopped first if need be); with `keep_data` its handle still reads."""
        if self.state in _LIVING:
            await self.stop()
        self._life.move("cleanup", wall_us(), monotonic_ns())
        self._lab.forget(self.id)
        await self._collector.store.close(delete=not keep_data)

    # -- reading --------------------------------------------------------------------------------

    def live(self, *, by: str | None = None) -> Summary:
        """The metrics so far, without waiting and without I/O; `upto_seq` says how far they reach.

        On the lab's loop what waits in the mailbox is counted first. Quantiles lie within
        `quantile_error` of the exact ones. ``by="event"`` adds the figures of each event name.
        """
        collector = self._collector
        self._catch_up()
        progress = collector.progress
        board = progress.live
        return self._reading.live(
            board, progress.live_us, self._life, (dict(progress.marks), self._custom.live()), by
        )

    def reset_live(self) -> None:
        """Begin the live figures anew with the next event; `metrics()` ignores this.

        On the lab's loop what waits in the mailbox belongs to what was before.
        """
        self._catch_up()
        self._collector.reset_live()

    def _catch_up(self) -> None:
        """On the lab's loop: drain what was emitted so far, unless another thread is at it."""
        collector = self._collector
        if collector.loop.is_here():
            target = collector.box.accepted
            while collector.drain_now(target):
                pass

    async def metrics(self, where: Where | None = None, *, by: str | None = None) -> Summary:
        """The metrics at rest of everything emitted so far (or of what fits `where`): quantiles are exact."""
        await self._settle()
        events = await self.events(where) if self._custom.calculates else []
        custom = self._custom.at_rest(events)
        marks = dict(self._collector.progress.marks)
        return await self._reading.metrics(self._life, (marks, custom), by, where)

    async def _settle(self) -> None:
        """Reads see what was emitted before them; of a failed experiment, what was stored."""
        if self.state in _LIVING:
            await self.flush()

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
        subscription = Subscription(self, self._collector, patterns)
        self._subscriptions.add(subscription)
        return subscription

    # -- taking away ----------------------------------------------------------------------------

    async def export(self, path: str | Path, **options: Any) -> Path:
        """Write all events to `path`: ``.jsonl`` or ``.jsonl.gz``; returns the path. Streams; atomic."""
        target = Path(path)
        if not target.name.endswith(FORMATS):
            raise NotBuiltYet(
                f"export to {target.name!r}", f"this version writes {', '.join(FORMATS)}"
            )
        for option in options:
            raise NotBuiltYet(option, "export options come with the other formats")
        return await write_jsonl(target, self.pages(size=2048))

    async def archive(self, url: str) -> None:
        """Not in this version."""
        raise NotBuiltYet("archive", "archives come with the stores that last")


class ExperimentScope:
    """See `Experiment.scope`. Leaving never raises, in whatever task; several may be inside at once."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._scopes: list[Scope] = []

    def __enter__(self) -> Self:
        box, outer = self._collector.box, current_scope.get()
        if outer is None or outer.box is not box:
            scope = Scope(box, 0, None, None, outer)
        else:  # innermost already: its trial and its span are still those of what happens inside
            scope = Scope(box, outer.trial, outer.link, span_of(outer), outer)
        self._scopes.append(scope)
        enter(scope)
        return self

    def __exit__(self, *_: object) -> None:
        if not leave(self._entered_here()):
            self._collector.box.scope_leaks += 1

    def _entered_here(self) -> Scope:
        """The last one entered in this task or thread; others may have entered since, elsewhere."""
        here = current_scope.get()
        while here is not None:
            if here in self._scopes:
                self._scopes.remove(here)
                return here
            here = here.outer
        return self._scopes.pop()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()


class ExperimentSpan(Span):
    """A span whose scope is a given experiment's."""

    __slots__ = ("_home",)

    def __init__(self, collector: Collector, event: Name, metadata: dict[str, Any] | None) -> None:
        super().__init__(event, metadata)
        self._home = collector

    def start(self, outer: Scope | None) -> None:
        """Begin in the experiment's scope unless that is the innermost already."""
        if outer is not None and outer.box is self._home.box:
            super().start(outer)
            return
        super().start(Scope(self._home.box, 0, None, None, outer))
        # Leaving leads back to where it was opened, not into the scope made for it.
        self.outer = outer


def current_experiment() -> Experiment | None:
    """The experiment in whose scope this runs, if any."""
    scope = current_scope.get()
    # A stream made outside every experiment stays outside wherever it is read: no look further out.
    owner = None if scope is None or scope.box is None else scope.box.attendant.owner
    return owner if isinstance(owner, Experiment) else None
