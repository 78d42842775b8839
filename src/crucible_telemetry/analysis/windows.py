"""Metrics per window of time, all windows at once on columns. PURE.

Counts come from binary search, sums from exact prefix sums, quantiles from the sorted latencies of each
window: the cost is that of the rows times how often windows overlap, not of the empty time between.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.analysis.pools import AUTO, Pools
from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.columns import MISSING, Columns
from crucible_telemetry.events.event import Outcome

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

QUANTILES: Final = (0.5, 0.95, 0.99)
NS_PER_MS: Final = 10**6
PICO_PER_USD: Final = 10**12
US_PER_S: Final = 10**6
LOW_BITS: Final = 32
SORT_SHARE: Final = 64
"""Slices that overlap more than this are not sorted one by one (4 ns a row; the other way 20 levels)."""
MAX_WINDOWS: Final = 1_000_000
MAX_SPAN_US: Final = 2**62


class WindowRow(Struct, frozen=True, kw_only=True, gc=False):
    """One window, `window_start <= time < window_end` in µs since the epoch; empty ones are not made.

    `event_count` counts every event. `mean_latency p50 p95 p99` are ms of the operations of the pool
    that succeeded (None without one; type 7), `total_cost` is USD of the ends that wrap no counted
    operation (None when none carried a cost), `success_count` and `failure_count` (timeouts included)
    are of the pool: ends of llm operations if the data has any, else all ends. `active_seconds` is
    the window's length without the time the experiment was paused. `metrics_config` changes the pool
    and what is billed, as it does for a summary. `exact`: quantiles are of the values themselves; else
    they lie within `quantile_error` (relative) of these. All else is the same to the bit.
    """

    window_start: int
    window_end: int
    event_count: int
    mean_latency: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    total_cost: float | None
    success_count: int
    failure_count: int
    active_seconds: float
    exact: bool = True
    quantile_error: float = 0.0


def windowed(
    parts: Sequence[Columns],
    size_us: int,
    step_us: int,
    pauses_us: Sequence[tuple[int, int]] = (),
    pools: Pools = AUTO,
) -> list[WindowRow]:
    """Half-open windows from the first event on, every `step_us`, up to the one that covers the last.

    Parts may come in any order and unsorted; pauses are (from, to) in µs, apart from each other.
    Raises `QueryError` for a size or step below 1 µs, and for more than a million windows.
    """
    check_duration(size_us, "size")
    check_duration(step_us, "step")
    rows = _Rows(parts, pools)
    if not len(rows.times):
        return []
    starts = window_starts(rows.times, size_us, step_us)
    return rows.windows(starts, size_us, pauses_us)


def check_duration(value_us: int, argument: str) -> None:
    """Refuse what is no whole number of µs above zero."""
    if isinstance(value_us, bool) or not isinstance(value_us, int) or value_us < 1:
        raise QueryError(argument, f"want at least one µs, not {value_us!r}")


def window_starts(times: Ints, size_us: int, step_us: int) -> Ints:
    """The starts k·step of the windows that hold an event; times begin at 0."""
    span = int(times[-1])
    size, step = min(size_us, span + 1), min(step_us, span + 1)
    covers_last = -(-(span - size + 1) // step)
    low = np.maximum((times - size) // step + 1, 0)
    high = np.minimum(times // step, covers_last)
    # Neighbours in time share windows: each event adds only those behind its predecessor's last one.
    low[1:] = np.maximum(low[1:], high[:-1] + 1)
    counts = np.maximum(high - low + 1, 0)
    total = int(counts.sum())
    if total > MAX_WINDOWS:
        raise QueryError("step", f"{step_us} µs makes {total:,} windows of these events")
    offsets = low - np.cumsum(counts) + counts
    return (np.repeat(offsets, counts) + np.arange(total)) * step


class _Rows:
    """The rows of all parts sorted by time, as the few columns that windows need."""

    def __init__(self, parts: Sequence[Columns], pools: Pools) -> None:
        times = _joined([part.timestamp_us for part in parts])
        flags = _joined([part.flags for part in parts])
        outcome = _joined([part.outcome for part in parts])
        pooled = pools.pooled(parts, flags)
        ok = pooled & (outcome == Outcome.OK)
        failed = pooled & ((outcome == Outcome.ERROR) | (outcome == Outcome.TIMEOUT))
        latency = _joined([_filled(part, part.latency_ns) for part in parts])
        cost = _joined([_filled(part, part.cost_pico) for part in parts])
        priced = pools.billed(parts, flags, cost >= 0)
        order = _order(times)
        self.first_us = int(times[order[0]]) if len(times) else 0
        self.times = _since(times[order], self.first_us)
        self.ok = self.times[ok[order]]
        self.failed = self.times[failed[order]]
        self.latency = _Values(self.times, latency[order], (ok & (latency >= 0))[order])
        self.cost = _Values(self.times, cost[order], priced[order])

    def windows(
        self, starts: Ints, size_us: int, pauses_us: Sequence[tuple[int, int]]
    ) -> list[WindowRow]:
        """One row for each start (relative to the first event)."""
        ends = starts + min(size_us, int(self.times[-1]) + 1)
        latencies, quantiles = self.latency.sums(starts, ends), self.latency.quantiles(starts, ends)
        costs = self.cost.sums(starts, ends)
        events, ok = _counts(self.times, starts, ends), _counts(self.ok, starts, ends)
        failed = _counts(self.failed, starts, ends)
        rows = []
        for at, relative in enumerate(starts.tolist()):
            start_us = self.first_us + relative
            n, total_ns = latencies[at]
            p50, p95, p99 = quantiles[at] if n else (None, None, None)
            priced, total_pico = costs[at]
            rows.append(
                WindowRow(
                    window_start=start_us,
                    window_end=start_us + size_us,
                    event_count=events[at],
                    mean_latency=total_ns / (n * NS_PER_MS) if n else None,
                    p50=p50,
                    p95=p95,
                    p99=p99,
                    total_cost=total_pico / PICO_PER_USD if priced else None,
                    success_count=ok[at],
                    failure_count=failed[at],
                    active_seconds=active_s(start_us, start_us + size_us, pauses_us),
                )
            )
        return rows


class _Values:
    """Some rows' values with their times, for exact sums and quantiles over many windows."""

    def __init__(self, times: Ints, values: Ints, kept: Mask) -> None:
        self.times, self.values = times[kept], values[kept]

    def sums(self, starts: Ints, ends: Ints) -> list[tuple[int, int]]:
        """(count, exact sum) per window: prefix sums of both halves, so that none overflows."""
        a, b = np.searchsorted(self.times, starts), np.searchsorted(self.times, ends)
        high = _prefix(self.values >> LOW_BITS)
        low = _prefix(self.values & (2**LOW_BITS - 1))
        highs, lows = (high[b] - high[a]).tolist(), (low[b] - low[a]).tolist()
        totals = [(h << LOW_BITS) + rest for h, rest in zip(highs, lows, strict=True)]
        return list(zip((b - a).tolist(), totals, strict=True))

    def quantiles(self, starts: Ints, ends: Ints) -> list[list[float]]:
        """p50, p95, p99 per window in ms, type 7, bit for bit those of `numpy.quantile`."""
        a, b = np.searchsorted(self.times, starts), np.searchsorted(self.times, ends)
        place = np.maximum(b - a - 1, 0)[:, None] * np.array(QUANTILES)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, np.maximum(b - a - 1, 0)[:, None])
        ranks = np.concatenate([below, above], axis=1)
        picked = _nth_smallest(self.values, a, b, ranks)
        lower, upper = np.split(picked, 2, axis=1)
        in_ms: list[list[float]] = (_between(lower, upper, place - below) / NS_PER_MS).tolist()
        return in_ms


def _nth_smallest(values: Ints, a: Ints, b: Ints, ranks: Ints) -> Ints:
    """`sorted(values[a:b])[rank]` for each slice (W,) and its ranks (W, Q); 0 where a slice is empty."""
    if int((b - a).sum()) > SORT_SHARE * len(values):
        return _nth_by_bits(values, a, b, ranks)
    picked = np.zeros(ranks.shape, np.int64)
    for at in np.flatnonzero(b > a).tolist():
        picked[at] = np.sort(values[a[at] : b[at]])[ranks[at]]
    return picked


def _nth_by_bits(values: Ints, a: Ints, b: Ints, ranks: Ints) -> Ints:
    """The same, however much slices overlap: O((n + W·Q) log n), all slices at once.

    Range quantiles (Gagie, Puglisi & Turpin 2009) on a wavelet matrix (Claude, Navarro & Ordóñez 2015), built
    and asked level by level: rows are parted stably by one bit of their rank, highest first; each
    query follows its slice to the side its n-th smallest is on.
    """
    order = np.argsort(values, kind="stable")
    codes = np.empty(len(values), np.int64)
    codes[order] = np.arange(len(values))
    low, high = (np.broadcast_to(end[:, None], ranks.shape) for end in (a, b))
    wanted, found = ranks, np.zeros(ranks.shape, np.int64)
    for level in reversed(range(len(values).bit_length())):
        is_zero = (codes >> level) & 1 == 0
        zeros = _prefix(is_zero)
        low_zeros, high_zeros = zeros[low], zeros[high]
        inside = high_zeros - low_zeros
        one = wanted >= inside
        found = found << 1 | one
        wanted = np.where(one, wanted - inside, wanted)
        low = np.where(one, zeros[-1] + low - low_zeros, low_zeros)
        high = np.where(one, zeros[-1] + high - high_zeros, high_zeros)
        codes = np.concatenate([codes[is_zero], codes[~is_zero]])
    # A rank outside its slice (only where that is empty) may lead past the last row.
    nth = values[order][np.minimum(found, len(values) - 1)]
    return np.where((b > a)[:, None], nth, 0)


def _between(lower: Ints, upper: Ints, share: NDArray[np.float64]) -> NDArray[np.float64]:
    # From the nearer end, as numpy.quantile does, so that a share of 1 gives `upper` exactly.
    gap = upper - lower
    return np.where(share < 0.5, lower + gap * share, upper - gap * (1 - share))


def _joined(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(columns) if columns else np.zeros(0, np.int64)


def _filled(part: Columns, column: Ints | None) -> Ints:
    return np.full(len(part), MISSING) if column is None else column


def _order(times: Ints) -> Ints:
    if bool((times[1:] >= times[:-1]).all()):
        return np.arange(len(times))
    return np.argsort(times, kind="stable")


def _since(times: Ints, first_us: int) -> Ints:
    if len(times) and int(times[-1]) - first_us > MAX_SPAN_US:
        raise QueryError("events", "lie more than 146,000 years apart: windows cannot span them")
    return times - first_us


def _prefix(values: NDArray[Any]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])


def _counts(times: Ints, starts: Ints, ends: Ints) -> list[int]:
    counts: list[int] = (np.searchsorted(times, ends) - np.searchsorted(times, starts)).tolist()
    return counts


def active_s(start_us: int, end_us: int, pauses_us: Sequence[tuple[int, int]]) -> float:
    """Seconds of a window outside the pauses."""
    paused = sum(max(min(b, end_us) - max(a, start_us), 0) for a, b in pauses_us)
    return (end_us - start_us - paused) / US_PER_S
