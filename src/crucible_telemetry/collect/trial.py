"""One run of one item: `async with exp.trial(item=…) as trial`; its identity is on every event inside."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.trials import TrialRecord, Trials
from crucible_telemetry.errors import LifecycleError
from crucible_telemetry.events.mailbox import Gate, log
from crucible_telemetry.events.odd import plain, text_of
from crucible_telemetry.events.outcome import failure
from crucible_telemetry.events.privacy import MARK_REDACTED
from crucible_telemetry.events.routes import ROUTES
from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import span_of

_NUMBERS: Final = (bool, int, float, type(None))
_OPEN: Final = (None, Gate.SKIPPED)
"""Gates behind which an experiment still goes on."""


class Trial:
    """A trial, not yet begun; begin it with `with` or `async with`, in whatever task does the work.

    `experiment` is the experiment it belongs to; `item`, `repeat`, `attempt` say which trial it is.
    """

    def __init__(
        self,
        experiment: Any,
        trials: Trials,
        collector: Collector,
        identity: dict[str, Any],
        release: Callable[[], None] | None = None,
    ) -> None:
        self.experiment = experiment
        self._trials, self._collector, self._identity = trials, collector, identity
        self._release = release
        self._scope: Scope | None = None
        self._record: TrialRecord | None = None
        self._began_ns = 0
        self._failed: str | None = None
        self._scores: dict[str, Any] = {}

    @property
    def item(self) -> str:
        """The item, as text."""
        return str(self._identity["item"])

    @property
    def repeat(self) -> int:
        """Which repeat of the item, from 0."""
        return int(self._identity.get("repeat", 0))

    @property
    def record(self) -> TrialRecord | None:
        """The stored record; None before the trial has begun."""
        return None if self._record is None else self._trials.records[self._record.number]

    def score(self, **scores: float | bool | str | None) -> None:
        """Record scores; the last value of each name stands: ``trial.score(correct=True, bleu=0.31)``.

        Also after the trial has ended (a grader may come later), until the experiment stops; then it
        says so in the log and changes nothing. A text is kept as privacy lets it.
        """
        self._scores.update({name: self._plain(name, value) for name, value in scores.items()})
        self._amend("score")

    def fail(self, reason: str) -> None:
        """Say that the trial failed although nothing was raised; as with `score`, also afterwards."""
        self._failed = reason if isinstance(reason, str) else text_of(reason)
        self._amend("fail")

    def _amend(self, command: str) -> None:
        """Write to a record that is closed already."""
        record = self.record
        if record is None or record.ended_us is None:
            return
        if self._collector.box.gate not in _OPEN:
            log.warning(
                "trial of %r: %s() after its experiment stopped changes nothing", self.item, command
            )
            return
        change: dict[str, Any] = {"scores": dict(self._scores)}
        if self._failed is not None and record.outcome == "ok":
            change |= {"outcome": "error", "reason": self._private(self._failed)}
        self._trials.close(record.number, **change)

    def _plain(self, name: str, value: Any) -> Any:
        """A score as a number, or a text that privacy lets stand."""
        simple = plain(value, 1)
        if isinstance(value, int) or type(simple) in _NUMBERS:
            return simple
        text = simple if type(simple) is str else text_of(value)
        return self._collector.preparer.guard.score_text(name, text)

    def __enter__(self) -> Self:
        if self._scope is not None:
            raise LifecycleError(
                self.experiment.id, "begun already", f"begin trial {self.item!r} of"
            )
        outer = current_scope.get()
        box = self._collector.box
        number = self._trials.new_number()
        if self._takes(number):
            self._record = self._trials.open(number, started_us=wall_us(), **self._identity)
        elif ROUTES.processes:
            self._trials.stamp(number, **self._identity)
        self._began_ns = monotonic_ns()
        inside = outer is not None and outer.box is box
        span = span_of(outer) if outer is not None and inside else None
        link = outer.link if outer is not None and inside else None
        self._scope = Scope(box, number, link, span, outer)
        enter(self._scope)
        return self

    def _takes(self, number: int) -> bool:
        """Whether the experiment goes on and its sample is not complete; else the trial runs unrecorded."""
        box = self._collector.box
        return box.gate in _OPEN and box.admits("", number, starts=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._scope is not None and not leave(self._scope):
            self._collector.box.scope_leaks += 1
        self._end(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, trace)

    def _end(self, error: BaseException | None) -> None:
        outcome, reason = "ok", self._failed
        if error is not None:
            outcome, reason = failure(type(error).__name__).name.lower(), type(error).__name__
        elif reason is not None:
            outcome = "error"
        # What has stopped is frozen: a trial that was still running stays unfinished.
        if self._record is not None and self._collector.box.gate in _OPEN:
            self._trials.close(
                self._record.number,
                ended_us=wall_us(),
                duration_ns=monotonic_ns() - self._began_ns,
                outcome=outcome,
                scores=dict(self._scores),
                reason=self._private(reason),
            )
        self._let_go()

    def _private(self, reason: str | None) -> str | None:
        """A reason as privacy lets it stand: a short name, or its length and hash."""
        kept = self._collector.preparer.guard.trial_text("reason", reason)
        if isinstance(kept, dict):
            return f"redacted ({kept[MARK_REDACTED]} characters, hmac {kept['hmac']})"
        return None if kept is None else str(kept)

    def _let_go(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __del__(self) -> None:
        # A trial handed out by lab.trials and never begun must not hold its place for ever.
        self._let_go()
