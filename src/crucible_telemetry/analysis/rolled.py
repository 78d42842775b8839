"""Metrics per window of time, from roll-ups: windows are unions of buckets. PURE.

Counts, sums and costs are those of `windows.windowed` to the bit; quantiles come from sketches. One
sketch goes along the run: buckets are added to it where a window begins to see them and taken away
behind it, so that the cost is that of the buckets and the windows, however much windows overlap.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

import numpy as np

from crucible_telemetry.analysis.windows import (
    NS_PER_MS,
    PICO_PER_USD,
    QUANTILES,
    Ints,
    WindowRow,
    active_s,
    window_starts,
)
from crucible_telemetry.events.columns import ENDS, counted_once
from crucible_telemetry.metrics.config import MetricsConfig
from crucible_telemetry.metrics.rollups import Bucket, Operations
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR, Sketch

NOTHING: Final = np.zeros(0, np.int64)


def rolled(
    buckets: Mapping[int, Bucket],
    size_us: int,
    step_us: int,
    pauses_us: Sequence[tuple[int, int]] = (),
    config: MetricsConfig = MetricsConfig(),  # noqa: B008 - frozen
) -> Iterator[WindowRow]:
    """The rows of `windows.windowed`, one by one; `buckets` by their start in µs, those of the whole run.

    Size and step are whole multiples of the buckets' length, and the first begins at the first event.
    `config` chooses by kind, not by the names of events, which buckets do not hold. Raises `QueryError`
    for more than a million windows.
    """
    if not buckets:
        return
    run = _Run(buckets, config)
    starts = window_starts(run.starts, size_us, step_us)
    pauses = tuple(pauses_us)
    for start in starts.tolist():
        yield run.row(start, size_us, pauses)


class _Run:
    """All buckets in order of time, and the sketch of those that the window sees."""

    def __init__(self, buckets: Mapping[int, Bucket], config: MetricsConfig) -> None:
        order = sorted(buckets)
        found = [buckets[start] for start in order]
        self.first_us = order[0]
        self.starts: Ints = np.array(order, np.int64) - self.first_us
        self._ends = self.starts.tolist()
        operations = _pooled(found, config)
        costs = _costs(found, config)
        self.events = _sums(bucket.events for bucket in found)
        self.ok = _sums(one.ok for one in operations)
        self.failed = _sums(one.failed for one in operations)
        self.n = _sums(one.latency.n for one in operations)
        self.total_ns = _sums(one.latency.total_ns for one in operations)
        self.priced = _sums(n for n, _ in costs)
        self.pico = _sums(pico for _, pico in costs)
        self._sliding = _Sliding([one.latency.sketch for one in operations])

    def row(self, start: int, size_us: int, pauses_us: Sequence[tuple[int, int]]) -> WindowRow:
        """The window that begins `start` µs after the first event; to be asked for in order of time."""
        a, b = np.searchsorted(
            self.starts, (start, min(start + size_us, self._ends[-1] + 1))
        ).tolist()
        n = self.n[b] - self.n[a]
        quantiles = self._sliding.over(a, b).quantiles(QUANTILES, 0.0, np.inf) if n else None
        p50, p95, p99 = (None,) * 3 if quantiles is None else (q / NS_PER_MS for q in quantiles)
        start_us = self.first_us + start
        return WindowRow(
            window_start=start_us,
            window_end=start_us + size_us,
            event_count=self.events[b] - self.events[a],
            mean_latency=(self.total_ns[b] - self.total_ns[a]) / (n * NS_PER_MS) if n else None,
            p50=p50,
            p95=p95,
            p99=p99,
            total_cost=(self.pico[b] - self.pico[a]) / PICO_PER_USD
            if self.priced[b] > self.priced[a]
            else None,
            success_count=self.ok[b] - self.ok[a],
            failure_count=self.failed[b] - self.failed[a],
            active_seconds=active_s(start_us, start_us + size_us, pauses_us),
            exact=False,
            quantile_error=QUANTILE_ERROR,
        )


class _Sliding:
    """The sum of consecutive sketches, from a first to a last one that both only go forward."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        used = [one for one in sketches if len(one.bins)]
        self._offset = min((one.offset for one in used), default=0)
        stop = max((one.offset + len(one.bins) for one in used), default=0)
        self._bins = np.zeros(max(stop - self._offset, 0), np.int64)
        self._zeros = 0
        self._sketches = sketches
        self._from = self._to = 0

    def over(self, a: int, b: int) -> Sketch:
        """The sum of ``sketches[a:b]``; valid until the next call."""
        for at in range(self._to, b):
            self._add(self._sketches[at], 1)
        for at in range(self._from, a):
            self._add(self._sketches[at], -1)
        self._from, self._to = max(a, self._from), max(b, self._to)
        return Sketch(self._zeros, self._offset, self._bins)

    def _add(self, one: Sketch, sign: int) -> None:
        at = one.offset - self._offset
        if len(one.bins):
            self._bins[at : at + len(one.bins)] += sign * one.bins
        self._zeros += sign * one.zeros


def _pooled(buckets: Sequence[Bucket], config: MetricsConfig) -> list[Operations]:
    """What latency and success are of, by the rule of `Pools.pooled`."""
    llm = config.pool == "llm"
    if config.pool == "auto":
        llm = any(bucket.llm.ended for bucket in buckets)
    return [bucket.llm if llm else bucket.every for bucket in buckets]


def _costs(buckets: Sequence[Bucket], config: MetricsConfig) -> list[tuple[int, int]]:
    """(operations with a cost, their pico-dollars) of each bucket, by the rule of `Pools.billed`."""
    kinds = np.array(sorted({kind for bucket in buckets for kind in bucket.costs}), np.uint8)
    if config.billed == "all":
        counts = (kinds & ENDS) != 0
    else:
        counts = counted_once(kinds, np.ones(len(kinds), np.bool_))
    billed = set(kinds[counts].tolist())
    return [_cost(bucket, billed) for bucket in buckets]


def _cost(bucket: Bucket, billed: set[int]) -> tuple[int, int]:
    paid = [given for kind, given in bucket.costs.items() if kind in billed]
    return sum(n for n, _ in paid), sum(pico for _, pico in paid)


def _sums(values: "Iterator[int]") -> list[int]:
    return list(accumulate(values, initial=0))
