"""What must become of the events of one experiment, in plain Python; for test_lab_stateful.py."""

from collections import Counter

from crucible_telemetry.collect.spec import State

LIVING = (State.RUNNING, State.PAUSED)


class Flaky:
    """A store whose next append fails once, before or after it was done."""

    def __init__(self, store):
        self._store, self.fails = store, None

    def __getattr__(self, name):
        return getattr(self._store, name)

    def append(self, columns):
        when, self.fails = self.fails, None
        if when == "before":
            raise OSError("no room, for once")
        self._store.append(columns)
        if when == "after":
            raise OSError("written, and then the wire broke")


class Modelled:
    """One experiment and what must have become of its events."""

    def __init__(self, exp, capture):
        self.exp, self.capture = exp, capture
        self.state = State.RUNNING
        self.stored, self.refused = Counter(), Counter()
        self.reset_at = self.leaks = self.pauses = 0
        self.store = exp._collector.store = Flaky(exp._collector.store)

    @property
    def listens(self):
        return self.capture == "process" and self.state in LIVING

    def offer(self, event, *, began=False):
        """Take an event as the contract says; whether it counts as heard."""
        if self.state is State.RUNNING or (began and self.state is State.PAUSED):
            self.stored[event] += 1
        else:
            self.refused[GATES[self.state]] += 1
        return self.state in LIVING


GATES = {State.PAUSED: "skipped", State.STOPPED: "late", State.FAILED: "refused"}
