"""Users' own metrics: calculators over all events, and streaming ones fed batch by batch.

A calculator has `calculate(events)`: called by `metrics()`, with the events in order of time. A streaming
one has `add(event)`, called once for each event after it is stored, in order of seq, and `result()`; it
should have `merge(other)` too, by which parts collected apart (other processes or machines) come together:
this version collects an experiment in one place and does not call it. `reset_live` leaves both alone. One
that raises is marked and dropped; the events are not.

A comparison asks for the figure of each trial, from its events alone: a calculator is called with these, and
of a streaming metric a copy as it was at the start is fed them (`copy.deepcopy`, made when the experiment
starts: what is large or cannot be copied says how by `__deepcopy__`).

An event is numbered before it is added, so none is added twice. An interrupt (Ctrl-C) that hits while an
event is being added may leave it out of a streaming metric, at most one each: whether a half-done `add`
counted it only the metric could tell.
"""

import copy
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.wanted import INTERRUPTS
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.odd import told
from crucible_telemetry.events.raised import placed


class _NoCopy:
    """Stands for a copy that could not be made."""

    def __init__(self, error: Exception) -> None:
        self.why = told(error)


def _copied(metric: Any) -> Any:
    try:
        return copy.deepcopy(metric)
    except Exception as error:  # noqa: BLE001 - anything; who compares by it is told
        return _NoCopy(error)


class CustomMetrics:
    """The custom metrics of one experiment; `failed` says which were dropped and why."""

    def __init__(self, metrics: dict[str, Any], reader: ExperimentReader) -> None:
        self._streaming = {name: m for name, m in metrics.items() if hasattr(m, "add")}
        self._calculators = {name: m for name, m in metrics.items() if name not in self._streaming}
        self._given = dict(metrics)
        self._unfed = {name: _copied(metric) for name, metric in self._streaming.items()}
        self._reader = reader
        self._upto_seq = 0
        self.failed: dict[str, str] = {}

    @property
    def calculates(self) -> bool:
        """Whether some metric needs all events at rest."""
        return bool(self._calculators)

    @property
    def streams(self) -> bool:
        """Whether some metric wants each batch."""
        return bool(self._streaming)

    @property
    def names(self) -> frozenset[str]:
        """All that were given, those that were dropped too."""
        return frozenset(self._given)

    def figure(self, name: str, events: Iterable[Event]) -> Any:
        """The metric of these events alone, given in order of seq; what it raises goes on.

        TypeError for a streaming metric that could not be copied: there is no other one to feed.
        """
        if name not in self._unfed:
            in_time = sorted(events, key=attrgetter("timestamp_us"))
            return self._given[name].calculate(in_time)
        unfed = self._unfed[name]
        if isinstance(unfed, _NoCopy):
            raise TypeError(
                f"it cannot be copied ({unfed.why}), and each trial needs one of its own"
            )
        fed = copy.deepcopy(unfed)
        for event in events:
            fed.add(event)
        return fed.result()

    def tell(self, columns: Columns) -> None:
        """Feed a committed batch to the streaming ones; each event once."""
        for at, event in enumerate(self._reader.events(columns, range(len(columns)))):
            seq = columns.first_seq + at
            if seq > self._upto_seq:
                self._upto_seq = seq
                self._add(event)

    def _add(self, event: Event) -> None:
        for name, metric in list(self._streaming.items()):
            try:
                metric.add(event)
            except INTERRUPTS:
                raise
            except BaseException as error:  # noqa: BLE001 - anything, a cancelled task's error too
                self._drop(name, error)

    def live(self) -> dict[str, Any]:
        """Results of the streaming ones; None for one that was dropped."""
        return dict.fromkeys(self.failed) | {
            name: self._asked(name, metric.result) for name, metric in list(self._streaming.items())
        }

    def at_rest(self, events: Sequence[Event], *, filtered: bool = False) -> dict[str, Any]:
        """Results of all; `filtered` events are not all a streaming one has seen, so it has no answer."""
        results = self.live()
        if filtered:
            results = dict.fromkeys(results)
        for name, metric in list(self._calculators.items()):
            results[name] = self._asked(name, lambda metric=metric: metric.calculate(events))
        return results

    def _asked(self, name: str, ask: Any) -> Any:
        try:
            return ask()
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - as in `_add`
            self._drop(name, error)
            return None

    def _drop(self, name: str, error: BaseException) -> None:
        self._streaming.pop(name, None)
        self._calculators.pop(name, None)
        full = self._reader.spec.privacy == "full"
        self.failed[name] = told(error) if full else placed(error)
        log.warning("custom metric %r raised and is dropped: %s", name, self.failed[name])
