"""The life of one experiment: its state, and the time it ran and was paused. PURE: times are handed in."""

from collections.abc import Callable
from typing import Any

from crucible_telemetry.collect.spec import LIVING, State, next_state
from crucible_telemetry.errors import LifecycleError


class Life:
    """State by the table of `spec.py`; `pauses_us` are (from, to) in wall time, µs since the epoch."""

    __slots__ = (
        "_active_ns",
        "_since_ns",
        "changed",
        "elsewhere",
        "ended_us",
        "experiment_id",
        "gaps_us",
        "pauses_us",
        "started_us",
        "state",
    )

    def __init__(self, experiment_id: str, now_us: int, now_ns: int) -> None:
        self.experiment_id = experiment_id
        self.state = State.RUNNING
        self.elsewhere: str | None = None
        """The other process that runs it, in words: what it is there nobody changes here."""
        self.changed: Callable[[], Any] = lambda: None
        """Called after each move: a durable lab writes it down."""
        self.started_us = now_us
        self.ended_us: int | None = None
        self.pauses_us: list[tuple[int, int]] = []
        self.gaps_us: list[tuple[int, int]] = []
        """When no process had it: from the end, or the last thing written, to the reopening."""
        self._since_ns = now_ns
        self._active_ns = {State.RUNNING: 0, State.PAUSED: 0}

    @property
    def living(self) -> bool:
        """Whether it may still be given events, here."""
        return self.state in LIVING and self.elsewhere is None

    def after(self, command: str) -> State:
        """The state a command leads to; `LifecycleError` when this one does not allow it."""
        if self.elsewhere is not None:
            raise LifecycleError(
                self.experiment_id, f"{self.state.value} in {self.elsewhere}", command
            )
        return next_state(self.experiment_id, self.state, command)

    def move(self, command: str, now_us: int, now_ns: int) -> State:
        """Carry a command out; `LifecycleError` when the state does not allow it."""
        after = self.after(command)
        if after is self.state:
            return after
        if self.state in self._active_ns:
            self._active_ns[self.state] += now_ns - self._since_ns
        if self.state is State.PAUSED:
            self.pauses_us[-1] = (self.pauses_us[-1][0], max(now_us, self.pauses_us[-1][0]))
        if after is State.PAUSED:
            self.pauses_us.append((now_us, now_us))
        if after not in self._active_ns and self.ended_us is None:
            self.ended_us = now_us
        self._since_ns = now_ns
        self.state = after
        self.changed()
        return after

    def restore(
        self,
        state: State,
        ended_us: int | None,
        spent_ns: tuple[int, int],
        times_us: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    ) -> None:
        """Go back to what was written: (active, paused) time, (pauses, gaps)."""
        self.state, self.ended_us = state, ended_us
        self._active_ns = dict(zip((State.RUNNING, State.PAUSED), spent_ns, strict=True))
        self.pauses_us, self.gaps_us = list(times_us[0]), list(times_us[1])

    def reopen(self, now_us: int, now_ns: int) -> None:
        """Run again after a time in which no process had it."""
        self.state = self.after("reopen")
        gap_from_us = now_us if self.ended_us is None else self.ended_us
        self.gaps_us.append((min(gap_from_us, now_us), now_us))
        self.ended_us, self._since_ns = None, now_ns
        self.changed()

    def interrupt(self, now_us: int, now_ns: int) -> None:
        """Reopening did not come to its end: it is as if its process had died."""
        self.move("interrupt", now_us, now_ns)

    def spent_ns(self, now_ns: int) -> tuple[int, int]:
        """(active, paused) time so far."""
        running, paused = (
            round(self.seconds(s, now_ns) * 1e9) for s in (State.RUNNING, State.PAUSED)
        )
        return running, paused

    @property
    def pause_count(self) -> int:
        """How often it was paused."""
        return len(self.pauses_us)

    def pauses(self, now_us: int) -> list[tuple[int, int]]:
        """Pauses and gaps so far; a pause that goes on ends now."""
        done = list(self.pauses_us)
        if self.state is State.PAUSED:
            done[-1] = (done[-1][0], max(now_us, done[-1][0]))
        return [*done, *self.gaps_us]

    def seconds(self, state: State, now_ns: int) -> float:
        """Seconds spent running or paused, on the monotonic clock."""
        spent = self._active_ns[state]
        if self.state is state:
            spent += now_ns - self._since_ns
        return spent / 1e9
