"""Metrics per window of time, from roll-ups: windows are unions of buckets. PURE.

Counts, sums and costs are those of `windows.windowed` to the bit; quantiles come from sketches. One
sketch goes along the run: buckets are added to it where a window begins to see them and taken away
behind it, so that the cost is that of the buckets and the windows, however much windows overlap.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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
from crucible_telemetry.metrics.rollups import Bucket, Operations, Times
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR, Sketch

COUNTED: Final = 512
"""Buckets added at once: a few milliseconds."""
MADE: Final = 16
"""Windows made at once."""


def rolled(
    buckets: Mapping[int, Bucket],
    size_us: int,
    step_us: int,
    pauses_us: Sequence[tuple[int, int]] = (),
    config: MetricsConfig = MetricsConfig(),  # noqa: B008 - frozen
) -> Iterator[list[WindowRow]]:
    """The rows of `windows.windowed`, some (or none yet) at a time: each step takes a few milliseconds.

    `buckets` by their start in µs, those of the whole run. Size and step are whole multiples of the
    buckets' length, and the first begins at the first event. `config` chooses by kind, not by the names
    of events, which buckets do not hold. Raises `QueryError` for more than a million windows.
    """
    if not buckets:
        return
    run = _Run(sorted(buckets))
    for some in batched(run.order, COUNTED):
        run.look([buckets[start] for start in some], config)
        yield []
    for some in batched(run.order, COUNTED):
        run.add([buckets[start] for start in some], config)
        yield []
    starts, pauses = window_starts(run.starts, size_us, step_us).tolist(), tuple(pauses_us)
    for some in batched(starts, MADE):
        yield [run.row(start, size_us, pauses) for start in some]


def batched(values: Sequence[int], n: int) -> Iterator[Sequence[int]]:
    """Slices of `n`, the last one shorter."""
    return (values[at : at + n] for at in range(0, len(values), n))


class _Run:
    """All buckets in order of time, as running sums, and the sketch of those that the window sees."""

    def __init__(self, order: list[int]) -> None:
        self.order = order
        self.first_us = order[0]
        self.starts: Ints = np.array(order, np.int64) - self.first_us
        self._last = int(self.starts[-1])
        self._llm = False
        self._kinds: set[int] = set()
        self._sums = _Sums()
        self._sliding = _Sliding()

    def look(self, buckets: Sequence[Bucket], config: MetricsConfig) -> None:
        """What the choice of the pool and of who is billed goes by, which is all buckets' matter."""
        self._llm = self._llm or (
            config.pool == "llm"
            or (config.pool == "auto" and any(one.llm.ended for one in buckets))
        )
        self._kinds.update(kind for one in buckets for kind in one.costs)

    def add(self, buckets: Sequence[Bucket], config: MetricsConfig) -> None:
        """The next buckets."""
        billed = _billed(self._kinds, config)
        for bucket in buckets:
            pool = (bucket.llm,) if self._llm else (bucket.llm, bucket.others)
            self._sums.add(bucket, pool, billed)
            self._sliding.times.append([one.latency for one in pool if one.latency.n])

    def row(self, start: int, size_us: int, pauses_us: Sequence[tuple[int, int]]) -> WindowRow:
        """The window that begins `start` µs after the first event; to be asked for in order of time."""
        a, b = np.searchsorted(self.starts, (start, min(start + size_us, self._last + 1))).tolist()
        events, ok, failed, n, total_ns, priced, pico = self._sums.between(a, b)
        quantiles = self._sliding.over(a, b).quantiles(QUANTILES, 0.0, np.inf) if n else None
        p50, p95, p99 = (None,) * 3 if quantiles is None else (q / NS_PER_MS for q in quantiles)
        start_us = self.first_us + start
        return WindowRow(
            window_start=start_us,
            window_end=start_us + size_us,
            event_count=events,
            mean_latency=total_ns / (n * NS_PER_MS) if n else None,
            p50=p50,
            p95=p95,
            p99=p99,
            total_cost=pico / PICO_PER_USD if priced else None,
            success_count=ok,
            failure_count=failed,
            active_seconds=active_s(start_us, start_us + size_us, pauses_us),
            exact=False,
            quantile_error=QUANTILE_ERROR,
        )


class _Sums:
    """Running sums over buckets: events, ok, failed, latencies, their ns, ends with a cost, pico-dollars."""

    def __init__(self) -> None:
        self._sums: list[list[int]] = [[0] for _ in range(7)]

    def add(self, bucket: Bucket, pool: Sequence[Operations], billed: set[int]) -> None:
        """One more bucket."""
        paid = [given for kind, given in bucket.costs.items() if kind in billed]
        new = (
            bucket.events,
            sum(one.ok for one in pool),
            sum(one.failed for one in pool),
            sum(one.latency.n for one in pool),
            sum(one.latency.total_ns for one in pool),
            sum(n for n, _ in paid),
            sum(pico for _, pico in paid),
        )
        for sums, value in zip(self._sums, new, strict=True):
            sums.append(sums[-1] + value)

    def between(self, a: int, b: int) -> list[int]:
        """The sums of the buckets from `a` to before `b`."""
        return [sums[b] - sums[a] for sums in self._sums]


class _Sliding:
    """The sum of consecutive sketches, from a first to a last one that both only go forward."""

    def __init__(self) -> None:
        self.times: list[list[Times]] = []
        """Of each bucket, those with values."""
        self._inside: deque[list[Sketch]] = deque()
        self._from = self._to = self._zeros = 0
        self._offset, self._bins = 0, np.zeros(0, np.int64)

    def over(self, a: int, b: int) -> Sketch:
        """The sum of the sketches from `a` to before `b`; valid until the next call."""
        for at in range(self._to, b):
            sketches = [one.sketch for one in self.times[at]]
            self._inside.append(sketches)
            self._add(sketches, 1)
        for _ in range(self._from, a):
            self._add(self._inside.popleft(), -1)
        self._from, self._to = max(a, self._from), max(b, self._to)
        return Sketch(self._zeros, self._offset, self._bins)

    def _add(self, sketches: Sequence[Sketch], sign: int) -> None:
        for one in sketches:
            self._zeros += sign * one.zeros
            if len(one.bins):
                self._reach(one.offset, one.offset + len(one.bins))
                at = one.offset - self._offset
                self._bins[at : at + len(one.bins)] += sign * one.bins

    def _reach(self, low: int, high: int) -> None:
        """Have bins from `low` to before `high`."""
        offset, stop = self._offset, self._offset + len(self._bins)
        if not len(self._bins):
            self._offset, self._bins = low, np.zeros(high - low, np.int64)
        elif low < offset or high > stop:
            grown = np.zeros(max(high, stop) - min(low, offset), np.int64)
            at = offset - min(low, offset)
            grown[at : at + len(self._bins)] = self._bins
            self._offset, self._bins = min(low, offset), grown


def _billed(kinds: set[int], config: MetricsConfig) -> set[int]:
    """The kinds whose cost counts, by the rule of `Pools.billed`."""
    flags = np.array(sorted(kinds), np.uint8)
    if config.billed == "all":
        return set(flags[(flags & ENDS) != 0].tolist())
    return set(flags[counted_once(flags, np.ones(len(flags), np.bool_))].tolist())
