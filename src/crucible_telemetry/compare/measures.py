"""Columns of events → a number a unit: sums of cost and tokens, first token times, means of fields. PURE."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.analysis.pools import Pools
from crucible_telemetry.collect.fields import NamedFields
from crucible_telemetry.compare.metric import Metric
from crucible_telemetry.compare.units import Key, Units
from crucible_telemetry.events.columns import FILL, LLM, MISSING, NO_TOKENS, Columns, Reader
from crucible_telemetry.events.event import Event, Outcome
from crucible_telemetry.events.shape import HEADER
from crucible_telemetry.stats.arguments import Floats

Mask = NDArray[np.bool_]
_SAMPLE: Final = "sample_id"


class Events(Struct, frozen=True, eq=False):
    """The stored events of one experiment, and who reads them."""

    parts: Sequence[Columns]
    reader: Reader
    pools: Pools

    def column(self, name: str) -> NDArray[Any]:
        """One column of all parts, filled where a part has none."""
        columns = [
            np.full(len(part), FILL[name]) if (column := getattr(part, name)) is None else column
            for part in self.parts
        ]
        return np.concatenate([np.zeros(0, np.int64), *columns])

    @property
    def pooled(self) -> Mask:
        """Ends of the operations that latency and success are of."""
        return self.pools.pooled(self.parts, self._flags) if self.parts else np.zeros(0, np.bool_)

    @property
    def pool_name(self) -> str:
        """What the operations of the pool are called; equal for equal pools."""
        pool = self.pools.config.pool
        if pool != "auto":
            return f"pool {pool!r}"
        llm = bool((self._flags[self.pooled] & LLM).any())
        return "calls to a model" if llm else "all operations"

    @property
    def billed_name(self) -> str:
        """What is billed, by the configuration."""
        return f"billed {self.pools.config.billed!r}"

    def billed(self, there: Mask) -> Mask:
        """Ends whose cost, or tokens, count once."""
        return self.pools.billed(self.parts, self._flags, there) if self.parts else there

    @property
    def _flags(self) -> NDArray[np.uint8]:
        return self.column("flags").astype(np.uint8)

    @property
    def silent_of_tokens(self) -> Mask:
        """Calls to a model that succeeded and have no count of tokens: these are not known to be none."""
        called = self.pooled & ((self._flags & LLM) > 0)
        answered = called & (self.column("outcome") == Outcome.OK)
        silent: Mask = answered & (self.column("total") == NO_TOKENS)
        return silent

    def field(self, name: str) -> Floats:
        """A measured field of each event, NaN where it has none or none to count with."""
        fields = NamedFields((name,))
        columns = [
            fields.columns(part).get(name, np.full(len(part), np.nan)) for part in self.parts
        ]
        values = np.concatenate([np.zeros(0), *columns])
        return np.where(np.isfinite(values), values, np.nan)

    def known_by(self, times_us: NDArray[np.int64]) -> set[tuple[Any, ...]]:
        """What tells the events at these times apart: time, name, span and what was measured."""
        found = set()
        for part in self.parts:
            at = np.flatnonzero(np.isin(part.timestamp_us, times_us))
            found |= {_told_apart(event) for event in self.reader.events(part, at.tolist())}
        return found

    def unit_of(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        """The place of each event's trial among `keys`; −1 for events of none."""
        places = {key: place for place, key in enumerate(keys)}
        width = len(keys[0]) if keys else 2
        numbers, inverse = np.unique(self.column("trial"), return_inverse=True)
        known = [places.get(self.reader.identity(int(n))[:width], -1) for n in numbers]
        return np.array(known, np.int64)[inverse]

    def items(self, at: NDArray[np.intp]) -> NDArray[Any] | None:
        """The items of the events at these positions; None unless each says one."""
        numbers, inverse = np.unique(self.column("trial")[at], return_inverse=True)
        named = [self.reader.identity(int(n))[0] or "" for n in numbers]
        found = np.array(named, dtype=object)[inverse] if len(at) else np.zeros(0, object)
        first = 0
        for part in self.parts:
            inside = (at >= first) & (at < first + len(part))
            _sampled(part, at[inside] - first, self.reader, found, np.flatnonzero(inside))
            first += len(part)
        return found.astype(np.str_) if len(at) and all(found) else None


def _told_apart(event: Event) -> tuple[Any, ...]:
    """A file of text may have made 1 of 1.0, so numbers are compared as floats."""
    numbers = {
        name: float(value) if isinstance(value, int) else value
        for name, value in event.measurements.items()
    }
    return event.timestamp_us, event.event_name, event.span_id, repr(sorted(numbers.items()))


def _sampled(
    part: Columns,
    at: NDArray[np.intp],
    reader: Reader,
    found: NDArray[Any],
    where: NDArray[np.intp],
) -> None:
    """Items that metadata names (`sample_id`); only rows of shapes with that key are decoded."""
    for shape in np.unique(part.shape[at]).tolist():
        numbers, words = reader.keys(shape) if shape else ((), ())
        if _SAMPLE in words:
            mine = part.shape[at] == shape
            place = HEADER + len(numbers) + words.index(_SAMPLE)
            rows = part.decoded(at[mine])
            found[where[mine]] = [str(row[place]) for row in rows]


def call_units(events: Events) -> tuple[Units, NDArray[np.intp]]:
    """Calls as units, where nothing ran in trials: ends of the pool, and their positions."""
    at = np.flatnonzero(events.pooled)
    times, latency = events.column("timestamp_us")[at], events.column("latency_ns")[at]
    units = Units(
        kind="call",
        items=events.items(at),
        outcome=events.column("outcome")[at].astype(np.uint8),
        elapsed_ms=np.where(latency == MISSING, np.nan, latency / 1e6),
        started_us=times,
        ended_us=times,
    )
    return units, at


def measured(events: Events, metric: Metric, unit_of: NDArray[np.int64], n: int) -> Floats:
    """The metric of each of `n` units, NaN where it has none; `unit_of` places each event in one, or −1."""
    if metric.source in ("cost", "ratio"):
        return _sums(events, "cost_pico", unit_of, n) / 1e12
    if metric.source == "tokens":
        return _tokens(events, metric.key, unit_of, n)
    if metric.source == "field":
        return _means(events.field(metric.key), unit_of, n)
    column = events.column("ttft_ns" if metric.key == "ttft" else "itl_ns")
    values = np.where((column == MISSING) | ~events.pooled, np.nan, column / 1e6)
    if metric.key == "ttft":
        return _firsts(values, events.column("timestamp_us"), unit_of, n)
    return _means(values, unit_of, n)


def _sums(events: Events, name: str, unit_of: NDArray[np.int64], n: int) -> Floats:
    """Exact sums; 0 for a unit without any, since it spent nothing."""
    column = events.column(name).astype(np.int64)
    missing = MISSING if name == "cost_pico" else NO_TOKENS
    counted = events.billed(column != missing) & (unit_of >= 0)
    sums = np.zeros(n, np.int64)
    np.add.at(sums, unit_of[counted], column[counted])
    return sums.astype(np.float64) if counted.any() else np.full(n, np.nan)


def _tokens(events: Events, name: str, unit_of: NDArray[np.int64], n: int) -> Floats:
    """Sums; NaN for a unit of which some call to a model succeeded and says nothing of its tokens."""
    sums = _sums(events, name, unit_of, n)
    silent = events.silent_of_tokens & (unit_of >= 0)
    sums[unit_of[silent]] = np.nan
    return sums


def _means(values: Floats, unit_of: NDArray[np.int64], n: int) -> Floats:
    there = ~np.isnan(values) & (unit_of >= 0)
    counts = np.bincount(unit_of[there], minlength=n)
    with np.errstate(invalid="ignore"):
        return np.bincount(unit_of[there], weights=values[there], minlength=n) / counts


def _firsts(
    values: Floats, times_us: NDArray[np.int64], unit_of: NDArray[np.int64], n: int
) -> Floats:
    at = np.flatnonzero(~np.isnan(values) & (unit_of >= 0))
    latest_first = at[np.argsort(times_us[at], kind="stable")[::-1]]
    found = np.full(n, np.nan)
    found[unit_of[latest_first]] = values[latest_first]  # the last written is the first in time
    return found
