"""Figures of a run by the minute, hour and day, kept at each write so that long windows are read. PURE.

Buckets are laid out from the experiment's first event, as windows are: a window whose size and step are
whole minutes is a union of buckets. What a bucket holds is integers only, so buckets merge in any order to
the same bits; quantiles come from sketches and lie within `QUANTILE_ERROR` of the exact ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.events.columns import ENDS, LLM, RANKS, WRAPS, Columns
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics.accumulators import Ints
from crucible_telemetry.metrics.cells import added
from crucible_telemetry.metrics.sketch import Sketch

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LEVELS_S: Final = (MINUTE_S, HOUR_S, DAY_S)
US_PER_S: Final = 1_000_000
PAYING: Final = ENDS | LLM | WRAPS | RANKS
"""The flags that say whose cost counts."""
_FAILED: Final = (int(Outcome.ERROR), int(Outcome.TIMEOUT))


class Times(Struct, frozen=True, array_like=True, gc=False):
    """Latencies of the operations that succeeded: how many, their sum in ns, and their sketch."""

    n: int = 0
    total_ns: int = 0
    zeros: int = 0
    offset: int = 0
    bins: tuple[int, ...] = ()

    @classmethod
    def of(cls, values_ns: Ints) -> "Times":
        """Of values ≥ 0."""
        sketch = Sketch.of(values_ns)
        total = sum(values_ns.tolist())
        return cls(len(values_ns), total, sketch.zeros, sketch.offset, tuple(sketch.bins.tolist()))

    @property
    def sketch(self) -> Sketch:
        """The sketch of them."""
        return Sketch(self.zeros, self.offset, np.array(self.bins, np.int64))

    def plus(self, other: "Times") -> "Times":
        """Both together."""
        if not self.n or not other.n:
            return self if self.n else other
        both = self.sketch.plus(other.sketch)
        n, total = self.n + other.n, self.total_ns + other.total_ns
        return Times(n, total, both.zeros, both.offset, tuple(both.bins.tolist()))


class Operations(Struct, frozen=True, array_like=True, gc=False):
    """Ends of operations of one kind: all, successes, failures (timeouts included), latency of the successes."""

    ended: int = 0
    ok: int = 0
    failed: int = 0
    latency: Times = Times()

    def plus(self, other: "Operations") -> "Operations":
        """Both together."""
        return Operations(
            self.ended + other.ended,
            self.ok + other.ok,
            self.failed + other.failed,
            self.latency.plus(other.latency),
        )


class Bucket(Struct, frozen=True, array_like=True, gc=False):
    """What is counted of the events of one bucket.

    `llm` and `others`: ends of llm operations and of all others, so that the pool can be chosen when it
    is read. `costs`: (events with a cost, their sum in pico-dollars) by the flags that decide whose cost
    counts (see `columns.counted_once`), which only all of an experiment's events can tell.
    """

    events: int = 0
    llm: Operations = Operations()
    others: Operations = Operations()
    costs: dict[int, tuple[int, int]] = {}

    def plus(self, other: "Bucket") -> "Bucket":
        """Both together; commutative and associative to the bit."""
        return Bucket(
            self.events + other.events,
            self.llm.plus(other.llm),
            self.others.plus(other.others),
            added(self.costs, other.costs, _both),
        )

    @property
    def every(self) -> Operations:
        """Ends of all operations."""
        return self.llm.plus(self.others)


def counted(columns: Columns, origin_us: int, level_s: int) -> dict[int, Bucket]:
    """Buckets of a batch by their start in µs; `origin_us` is where some bucket begins."""
    size_us = level_s * US_PER_S
    # Python's floor division: events before the origin have buckets too.
    index = (columns.timestamp_us - origin_us) // size_us
    if not len(index):
        return {}
    if int(index[0]) == int(index[-1]) and bool((index == index[0]).all()):
        return {origin_us + int(index[0]) * size_us: _bucket(columns, None)}
    order = np.argsort(index, kind="stable")
    values, starts = np.unique(index[order], return_index=True)
    pieces = np.split(order, starts[1:])
    return {
        origin_us + value * size_us: _bucket(columns, rows)
        for value, rows in zip(values.tolist(), pieces, strict=True)
    }


def _bucket(columns: Columns, rows: Ints | None) -> Bucket:
    at = slice(None) if rows is None else rows
    flags, outcome = columns.flags[at], columns.outcome[at]
    ends, llm = (flags & ENDS) != 0, (flags & LLM) != 0
    latency = None if columns.latency_ns is None else columns.latency_ns[at]
    return Bucket(
        len(flags),
        _operations(ends & llm, outcome, latency),
        _operations(ends & ~llm, outcome, latency),
        {} if columns.cost_pico is None else _costs(flags, columns.cost_pico[at]),
    )


def _costs(flags: NDArray[np.uint8], cost: Ints) -> dict[int, tuple[int, int]]:
    known = cost >= 0
    kinds, paid = flags[known] & PAYING, cost[known]
    return {
        kind: (int((kinds == kind).sum()), sum(paid[kinds == kind].tolist()))
        for kind in np.unique(kinds).tolist()
    }


def _both(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _operations(
    mask: NDArray[np.bool_], outcome: NDArray[np.uint8], latency: Ints | None
) -> Operations:
    if not mask.any():
        return Operations()
    ok = mask & (outcome == Outcome.OK)
    failed = int((mask & np.isin(outcome, _FAILED)).sum())
    times = Times() if latency is None else Times.of(latency[ok & (latency >= 0)])
    return Operations(int(mask.sum()), int(ok.sum()), failed, times)


def total(buckets: Iterable[Bucket]) -> Bucket:
    """All of them together."""
    return reduce(Bucket.plus, buckets, Bucket())


class Packed(Struct, frozen=True, array_like=True, gc=False):
    """A bucket on its way to bytes: sums as decimal text, since msgpack ends at 64 bits."""

    events: int
    llm: tuple[int, int, int, int, str, int, int, tuple[int, ...]]
    others: tuple[int, int, int, int, str, int, int, tuple[int, ...]]
    costs: dict[int, tuple[int, str]]


def packed(bucket: Bucket) -> bytes:
    """A bucket as bytes."""
    return msgspec.msgpack.encode(
        Packed(
            bucket.events,
            _flat(bucket.llm),
            _flat(bucket.others),
            {kind: (n, str(pico)) for kind, (n, pico) in bucket.costs.items()},
        )
    )


def unpacked(data: bytes) -> Bucket:
    """The bucket of `packed`."""
    given = msgspec.msgpack.decode(data, type=Packed)
    return Bucket(
        given.events,
        _operations_of(given.llm),
        _operations_of(given.others),
        {kind: (n, int(pico)) for kind, (n, pico) in given.costs.items()},
    )


def _flat(of: Operations) -> tuple[int, int, int, int, str, int, int, tuple[int, ...]]:
    times = of.latency
    sketch = (times.zeros, times.offset, times.bins)
    return (of.ended, of.ok, of.failed, times.n, str(times.total_ns), *sketch)


def _operations_of(flat: tuple[int, int, int, int, str, int, int, tuple[int, ...]]) -> Operations:
    ended, ok, failed, n, total_ns, zeros, offset, bins = flat
    return Operations(ended, ok, failed, Times(n, int(total_ns), zeros, offset, bins))


def merged(buckets: Mapping[int, Bucket], more: Mapping[int, Bucket]) -> dict[int, Bucket]:
    """Both by start."""
    union = dict(buckets)
    for start, bucket in more.items():
        union[start] = union[start].plus(bucket) if start in union else bucket
    return union


def levels_for(size_us: int, step_us: int) -> Sequence[int]:
    """The levels (seconds) whose buckets make up windows of this size and step, coarsest first."""
    return [
        level
        for level in reversed(LEVELS_S)
        if size_us % (level * US_PER_S) == 0 and step_us % (level * US_PER_S) == 0
    ]
