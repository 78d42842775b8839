"""Rows through the real event path: emitted in an experiment's scope, at their own times."""

import itertools
from collections.abc import Callable, Iterator
from typing import Final

import anyio
import anyio.lowlevel
from msgspec import Struct, field

from crucible_telemetry.errors import ConfigurationError, UnreadableFile
from crucible_telemetry.events.bus import execute
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.replay.mapping import Options, TraceMapping, map_columns
from crucible_telemetry.replay.reading import Row, Trace

SAMPLE: Final = 100
"""Rows read before the columns are judged."""
STRIDE: Final = 512
"""Rows between two looks at the clock, the progress and whether somebody cancelled."""
NAMED: Final = 5
"""Rows that could not be replayed which are kept by name; all are counted."""

OWN: Final = {"seq", "event_id", "event_name", "timestamp_us", "experiment_id"}
"""Columns of a file this library wrote."""


class Report(Struct):
    """What became of the rows: `rows` read, `bad` not replayed, `named` the first of these, as sentences."""

    rows: int = 0
    bad: int = 0
    named: list[str] = field(default_factory=list)


class Replay:
    """One trace on its way into one experiment: `mapping` first, then `run`."""

    def __init__(self, trace: Trace, options: Options) -> None:
        self.trace = trace
        self.report = Report()
        rows = trace.rows()
        sample = list(itertools.islice(rows, SAMPLE))
        self._rows: Iterator[Row] = itertools.chain(sample, rows)
        first = [row.values for row in sample if row.values is not None]
        if not first:
            raise UnreadableFile(str(trace.path), None, _nothing(sample))
        if all(row.keys() >= OWN for row in first):
            raise UnreadableFile(
                str(trace.path), None, "it is an export, no trace: `crucible show` reads it"
            )
        self.mapping: TraceMapping = map_columns(first, options)

    async def run(
        self, exp: Experiment, *, speed: float | None = None, tell: Callable[[], None]
    ) -> Report:
        """Emit all rows, as fast as it goes or `speed` times as fast as they happened.

        `tell` is called now and then. Raises UnreadableFile when the file breaks off, or no row can be read.
        """
        if speed is not None and not self.mapping.tells_time:
            raise ConfigurationError(
                "--speed", f"{self.trace.path} does not say when its rows happened"
            )
        pace = Pace(speed)
        with exp.scope():
            for row in self._rows:
                self.report.rows += 1
                await self._emit(row, pace)
                if self.report.rows % STRIDE == 0:
                    tell()
                    await anyio.lowlevel.checkpoint()
        tell()
        if self.report.bad == self.report.rows:
            raise UnreadableFile(
                str(self.trace.path), None, f"no row can be replayed; {self.report.named[0]}"
            )
        return self.report

    async def _emit(self, row: Row, pace: "Pace") -> None:
        if row.values is None:
            self._refuse(row, row.problem)
            return
        try:
            event = self.mapping.event(row.values)
        except ValueError as error:
            self._refuse(row, str(error))
            return
        await pace.wait_for(event.at_us)
        await execute(event.name, event.measurements, event.metadata, at_us=event.at_us)

    def _refuse(self, row: Row, problem: str) -> None:
        self.report.bad += 1
        if len(self.report.named) < NAMED:
            unit = "row" if self.trace.kind == ".json" else "line"
            self.report.named.append(f"{unit} {row.number}: {problem}")


class Pace:
    """Holds rows back until they are due; with no `speed` none is."""

    def __init__(self, speed: float | None) -> None:
        self.speed = speed
        self._began_s = anyio.current_time()
        self._first_us: int | None = None

    async def wait_for(self, at_us: int | None) -> None:
        """Sleep until the row of this time is due, counted from the first row."""
        if self.speed is None or at_us is None:
            return
        if self._first_us is None:
            self._first_us = at_us
        await anyio.sleep_until(self._began_s + (at_us - self._first_us) / 1e6 / self.speed)


def _nothing(sample: list[Row]) -> str:
    if not sample:
        return "it has no rows"
    return f"no row can be read; line {sample[0].number}: {sample[0].problem}"
