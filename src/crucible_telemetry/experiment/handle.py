"""The handle users hold: one experiment's verbs."""

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from crucible_telemetry.analysis.reading import Reading
from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.progress import FlushResult
from crucible_telemetry.collect.quota import Quota
from crucible_telemetry.collect.recount import LookingBack
from crucible_telemetry.collect.spec import ExperimentSpec, State
from crucible_telemetry.collect.subscription import Subscription
from crucible_telemetry.collect.trial import Trial
from crucible_telemetry.collect.trials import TrialRecord, Trials
from crucible_telemetry.errors import ExperimentFailed, LabClosed, no_attribute
from crucible_telemetry.events.mailbox import Gate
from crucible_telemetry.events.odd import encodable
from crucible_telemetry.events.raised import crash_of
from crucible_telemetry.events.routes import Name, close_route
from crucible_telemetry.events.scope import current_scope
from crucible_telemetry.events.span import Span
from crucible_telemetry.experiment.archives import Archives
from crucible_telemetry.experiment.questions import LATER_VERBS, Questions
from crucible_telemetry.experiment.scopes import ExperimentScope, ExperimentSpan
from crucible_telemetry.experiment.series import ExperimentSeries
from crucible_telemetry.experiment.standing import Standing
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.stores.base import Query, committed, whole_number


class Experiment(Standing, Questions, Archives):
    """One experiment of a lab. Made by `Lab.start_experiment` and `Lab.experiment`."""

    def __init__(
        self,
        experiment_id: str,
        spec: ExperimentSpec,
        collector: Collector,
        life: Life,
        lab: Any,
    ) -> None:
        self.id, self._lab, self._life = experiment_id, lab, life
        self._since: Board | None = None
        self._failure = None
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._cleaned_up = False
        """Whether its data was given up; see `cleanup`."""
        self._exported: bool
        """Whether `export_on_exit` has been seen to."""
        self.export_error: Exception | None
        """Why it could not be written; the lab's log says so too."""
        self._adopt(spec, collector)

    def _adopt(self, spec: ExperimentSpec, collector: Collector) -> None:
        """Be collected by this collector from now on: at the start, and when it is reopened."""
        self.spec, self._collector, self._reader = spec, collector, collector.reader
        self._trials: Trials = collector.reader.trials
        self._reading = Reading(collector.store, self._reader)
        self._custom = CustomMetrics(dict(spec.custom_metrics), self._reader)
        self._released = Signal()
        self._looking_back = None
        self._exported, self.export_error = False, None
        collector.owner = self
        if self._custom.streams:
            collector.followers.follow(self._custom.tell)

    def _rest(self, life: Life, collector: Collector) -> None:
        """It has ended in an earlier process, or runs in another: nothing of it is to be done here."""
        if collector is not self._collector:  # what was written of it since
            self._life = life
            self._adopt(collector.reader.spec, collector)
        self._looking_back = LookingBack(self._collector)
        self._exported = True
        self._released.set()

    def _interrupt(self) -> None:
        """Reopening did not come to its end: nothing is collected."""
        if self._life.living:
            self._life.interrupt(wall_us(), monotonic_ns())
            close_route(self._collector.box)
            self._collector.close(Gate.LATE)
            self._released.set()

    async def reopen(self, **code: Any) -> Self:
        """Go on with an interrupted or stopped experiment of a durable lab; see `Lab.reopen_experiment`."""
        await self._lab.reopen_experiment(self.id, **code)
        return self

    async def _tell_again(self) -> None:
        """Show streaming custom metrics every stored event: a reopened experiment makes them anew."""
        if self._custom.streams:
            async for part in self._collector.store.columns(Query()):
                self._custom.tell(part)

    def _check_kept(self, command: str) -> None:
        """`LabClosed` too: what a durable lab kept is read by opening it again."""
        super()._check_kept(command)
        if self._lab._shut:
            raise LabClosed(command, "closed: open it again to read what it kept")

    if not TYPE_CHECKING:  # a type checker knows no names but those that are there

        def __getattr__(self, name: str) -> Any:
            """Of names to come, say so."""
            raise no_attribute("'Experiment' object", name, LATER_VERBS)

    def __repr__(self) -> str:
        return f"<Experiment {self.id} {self.state.value}, {self.counts.stored} events>"

    @property
    def series(self) -> ExperimentSeries:
        """Training metrics by step, kept as events: ``exp.series.record("run-1", "loss", 0.3, step=1)``."""
        return ExperimentSeries(self, self._collector)

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
        """One run of one item; opens this experiment's scope, and its identity is on all events inside.

        `repeat`, `attempt`: whole numbers of 64 bits; `ConfigurationError` names one that is none.
        """
        identity = {
            "item": encodable(str(item)),
            "repeat": whole_number("repeat", repeat), "attempt": whole_number("attempt", attempt),
            "session": _word(session), "user": _word(user), "cohort": _word(cohort),
        }  # fmt: skip
        return Trial(self, self._trials, self._collector, identity)

    def _planned_trial(self, item: str, repeat: int, release: Callable[[], None]) -> Trial:
        """A trial of a plan; `release` is called when it has ended."""
        identity = {"item": item, "repeat": repeat}
        return Trial(self, self._trials, self._collector, identity, release)

    @property
    def _takes_trials(self) -> bool:
        """Whether further trials may start: it runs, and its sample is not complete."""
        quota = self._collector.box.quota
        full = isinstance(quota, Quota) and len(quota.trials) >= quota.size
        return self._life.living and not full

    async def trials(self) -> list[TrialRecord]:
        """All trials in the order they started, open ones included."""
        self._check_kept("read")
        return self._trials.all()

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
        self._lab._check_writes("pause")
        self._life.move("pause", wall_us(), monotonic_ns())
        self._collector.box.gate = Gate.SKIPPED
        self._collector.release()
        return self

    async def resume(self) -> Self:
        """Collect again."""
        self._lab._check_writes("resume")
        self._life.move("resume", wall_us(), monotonic_ns())
        self._collector.box.gate = None
        return self

    async def stop(self) -> Self:
        """End it: what was accepted is stored, what comes later counts as `late`; data stays readable.

        What waits is drained first, the loop going on in between (and prices that are needed and not loaded
        yet are waited for); cancelled meanwhile, it does the rest on the loop and has stopped all the same.
        Stopping again changes nothing.
        """
        if self._life.living:
            self._lab._check_writes("stop")
        try:
            if self._life.living:
                self._collector.box.gate = Gate.LATE
                await self._collector.drain_in_slices()
        finally:
            await self._end()
        return self

    async def _end(self) -> None:
        if self._freeze():
            try:
                await self._lab._release(self)
            finally:
                self._released.set()
        elif self.state is State.STOPPED:
            await self._released.wait()

    def _freeze(self) -> bool:
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

    def _freeze_if_living(self) -> None:
        """`_freeze` for a lab that closes."""
        if self._life.living:
            self._freeze()
            self._wake_subscribers()
            self._released.set()

    def _wake_subscribers(self) -> None:
        """Let those who follow see that it has ended."""
        for subscription in list(self._subscriptions):
            subscription.wake()

    def _fail(self, error: BaseException) -> None:
        """The supervisor gave up: emits neither wait nor raise from now on, data stays readable."""
        if not self._life.living:
            return
        self._failure = error
        self._life.move("fail", wall_us(), monotonic_ns())
        close_route(self._collector.box)
        self._collector.close(Gate.REFUSED)
        self._wake_subscribers()
        self._released.set()

    async def flush(self, timeout_s: float | None = None) -> FlushResult:
        """A barrier: every emit that returned before this call, in any thread, is visible after it.

        Later ones do not delay it. Raises `ExperimentFailed` on a failed experiment. Of one that has ended in
        an earlier process `live` is whole after it.
        """
        collector = self._collector
        target = collector.box.accepted
        before, failed = collector.progress.consumed, 0
        with anyio.move_on_after(timeout_s) as limit:
            while collector.progress.consumed < target:
                self._check_not_failed("flush")
                if not collector.drain_now(target):
                    await collector.until_release()  # another thread's, or the collector's answer
                else:
                    await anyio.lowlevel.checkpoint()
            failed = await committed(collector.store)
            if self._looking_back is not None:
                await self._looking_back.wait()
        if limit.cancelled_caught:
            failed = int(getattr(collector.store, "waiting_rows", 0))
        self._check_not_failed("flush")
        done = max(min(collector.progress.consumed, target) - before, 0)
        return FlushResult(
            flushed=done,
            spilled=int(getattr(collector.store, "spilled_rows", 0)),
            failed=failed,
            timed_out=limit.cancelled_caught,
        )

    def _check_not_failed(self, command: str) -> None:
        if self.state is State.FAILED:
            raise ExperimentFailed(self.id, self.state.value, command, crash_of(self._failure))

    async def cleanup(self, *, keep_data: bool = False) -> None:
        """Forget the experiment (stopped first if need be); with `keep_data` its handle still reads.

        Without, what reads, follows or exports raises `LifecycleError` from now on.
        """
        self._lab._check_writes("clean up")
        if self._life.living:
            await self.stop()
        await self._lab._clean_up(self, keep_data=keep_data)


def _word(text: str | None) -> str | None:
    """An id that any file takes."""
    return None if text is None else encodable(str(text))


def current_experiment() -> Experiment | None:
    """The experiment in whose scope this runs, if any."""
    scope = current_scope.get()
    # A stream made outside every experiment stays outside wherever it is read: no look further out.
    owner = None if scope is None or scope.box is None else scope.box.attendant.owner
    return owner if isinstance(owner, Experiment) else None
