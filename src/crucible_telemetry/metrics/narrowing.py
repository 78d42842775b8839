"""Exact quantiles of more values than memory should hold: passes that narrow down where the ranks lie. PURE.

The first pass keeps sketches, whose buckets say between which values each wanted rank lies. A second
one gathers the values there, a few percent of all. Where even these are many (one value that all have,
say), a pass counts them in equal parts instead, and the part that holds the rank comes next: 4,096 times
narrower each time, down to a single value. (Munro & Paterson 1980, TCS 12, select by passes.)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.metrics.accumulators import Ints
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.cells import Cell, Key, Tally
from crucible_telemetry.metrics.grouping import FIELD
from crucible_telemetry.metrics.rest import Exact, ExactReals
from crucible_telemetry.metrics.sketch import SignedSketch, Sketch, bucket_index, signed_keys

GATHERED: Final = 2**20
"""Values gathered in one pass."""
PARTS: Final = 2**12
COUNTED: Final = 64
"""Ranges whose parts are counted in one pass."""

Source = tuple[Key, str]
"""A cell, and what was measured in it."""
Bounds = tuple[int, int]


class Range:
    """Values from `low` to `high` (codes, inclusive): `count` of them, `before` smaller ones; ranks in it."""

    __slots__ = ("before", "count", "counts", "gathered", "high", "low", "ranks")

    def __init__(self, bounds: Bounds, before: int, count: int, ranks: list[int]) -> None:
        self.low, self.high = bounds
        self.before, self.count, self.ranks = before, count, ranks
        self.gathered: list[Ints] | None = None
        self.counts: Ints | None = None

    @property
    def width(self) -> int:
        """Codes in one of its parts."""
        return -(-(self.high - self.low + 1) // PARTS)

    def take(self, codes: Ints) -> None:
        """Gather or count those of the codes that lie in it."""
        inside = codes[(codes >= self.low) & (codes <= self.high)]
        if self.gathered is not None:
            self.gathered.append(inside)
        elif self.counts is not None:
            # Unsigned, since codes may lie further apart than int64 reaches.
            above = inside.view(np.uint64) - np.array(self.low, np.int64).view(np.uint64)
            parts = (above // np.uint64(self.width)).astype(np.int64)
            self.counts += np.bincount(parts, minlength=PARTS)

    def settle(self, found: dict[int, int]) -> "list[Range]":
        """After a pass: put down the ranks it has found; what is still to be narrowed."""
        if self.gathered is not None:
            values = np.concatenate(self.gathered)
            at = [rank - self.before for rank in self.ranks]
            values.partition(at)
            found.update(zip(self.ranks, values[at].tolist(), strict=True))
            return []
        if self.counts is None:
            return [self]
        narrower = parted(self.ranks, self.counts, self.before, self._bounds)
        for one in narrower:
            if one.low == one.high:
                found.update(dict.fromkeys(one.ranks, one.low))
        return [one for one in narrower if one.low < one.high]

    def _bounds(self, part: int) -> Bounds:
        low = self.low + part * self.width
        return low, min(low + self.width - 1, self.high)


def parted(
    ranks: Iterable[int], counts: Ints, before: int, bounds: Callable[[int], Bounds]
) -> list[Range]:
    """The parts that hold the ranks: part `i` has ``counts[i]`` values, `before` lie below all parts."""
    ends = before + np.cumsum(counts)
    by_part: dict[int, list[int]] = {}
    for rank in sorted(ranks):
        by_part.setdefault(int(np.searchsorted(ends, rank, "right")), []).append(rank)
    return [
        Range(bounds(part), int(ends[part] - counts[part]), int(counts[part]), inside)
        for part, inside in by_part.items()
    ]


def first_code(low: int, high: int, reaches: Callable[[Ints], NDArray[np.bool_]]) -> int:
    """The first code from `low` to `high` that reaches something, as all behind it do; ``high + 1`` if none."""
    while low <= high:
        middle = (low + high) // 2
        if reaches(np.array([middle], np.int64))[0]:
            high = middle - 1
        else:
            low = middle + 1
    return low


class Wanted:
    """The ranks wanted of the values of some sources, and how far they are found."""

    def __init__(self, open_ranges: list[Range]) -> None:
        self.found: dict[int, int] = {}
        for one in open_ranges:
            if one.low == one.high:
                self.found.update(dict.fromkeys(one.ranks, one.low))
        self.open = [one for one in open_ranges if one.low < one.high]

    def settle(self) -> None:
        """After a pass."""
        self.open = [narrower for one in self.open for narrower in one.settle(self.found)]


class Narrowing:
    """Who asks for which quantiles, and what the passes have found."""

    def __init__(self) -> None:
        self._wanted: dict[frozenset[Source], Wanted] = {}
        self._by_source: dict[Source, list[Wanted]] = {}

    def asking(self, board: Board) -> Board:
        """The same figures; its spreads put down what they are asked for, and answer it when it is found."""
        cells = {key: self._cell(key, cell) for key, cell in board.cells.items()}
        return Board(cells, board.upto_seq, board.since_seq)

    def _cell(self, key: Key, cell: Cell) -> Cell:
        given = {name: getattr(cell, name) for name in cell.__struct_fields__}
        for part, prefix, kind in (("tallies", "", Asked), ("fields", FIELD, AskedReals)):
            tallies: Mapping[str, Tally] = given[part]
            given[part] = {
                name: Tally(
                    tally.moments, kind(self, frozenset([(key, prefix + name)]), tally.spread)
                )
                for name, tally in tallies.items()
            }
        return Cell(**given)

    @property
    def done(self) -> bool:
        """Whether all is found that was asked for."""
        return not any(wanted.open for wanted in self._wanted.values())

    def want(
        self, sources: frozenset[Source], begin: Callable[[], list[Range]]
    ) -> dict[int, int] | None:
        """The codes by rank; None when they are not found yet, `begin` then says where they may lie."""
        wanted = self._wanted.get(sources)
        if wanted is None:
            wanted = self._wanted[sources] = Wanted(begin())
            for source in sources:
                self._by_source.setdefault(source, []).append(wanted)
        return None if wanted.open else wanted.found

    def begin_pass(self) -> None:
        """Decide what the next pass gathers, the small ranges first, and what it counts in parts."""
        left, counted = GATHERED, 0
        ranges = [one for wanted in self._wanted.values() for one in wanted.open]
        for one in sorted(ranges, key=lambda one: one.count):
            if one.count <= left:
                one.gathered = []
                left -= one.count
            elif counted < COUNTED:
                one.counts = np.zeros(PARTS, np.int64)
                counted += 1

    def take(self, key: Key, name: str, values: NDArray[Any]) -> None:
        """Some values of a source, as they pass."""
        wanted = self._by_source.get((key, name), ())
        if wanted:
            codes = codes_of(values) if values.dtype == np.float64 else values
            for one in wanted:
                for part in one.open:
                    part.take(codes)

    def end_pass(self) -> list[Callable[[], None]]:
        """What is left to do with what was gathered, in steps of a few milliseconds."""
        return [wanted.settle for wanted in self._wanted.values() if wanted.open]


class Asked(Struct, frozen=True, eq=False, gc=False):
    """A spread that answers once the passes have found what it was asked for; 0 until then."""

    narrowing: Narrowing
    sources: frozenset[Source]
    sketch: Any

    def plus(self, other: "Asked") -> "Asked":
        """Both together."""
        sources = self.sources | other.sources
        return type(self)(self.narrowing, sources, self.sketch.plus(other.sketch))

    def quantiles(self, fractions: Sequence[float], low: float, high: float) -> list[float]:
        """Type 7 of the values, as `Exact` has them."""
        last = self._count - 1
        positions = [last * fraction for fraction in fractions]
        ranks = {min(int(position) + k, last) for position in positions for k in (0, 1)}
        found = self.narrowing.want(self.sources, lambda: self._ranges(ranks, low, high))
        if found is None:
            return [0.0] * len(positions)
        return [self._type_7(found, position, last) for position in positions]

    def _type_7(self, found: dict[int, int], position: float, last: int) -> float:
        below = int(position)
        lower, upper = self._value(found[below]), self._value(found[min(below + 1, last)])
        return self._between(lower, upper, position - below)

    # What differs between integers ≥ 0 and reals:

    @property
    def _count(self) -> int:
        sketch: Sketch = self.sketch
        return sketch.count

    def _ranges(self, ranks: set[int], low: float, high: float) -> list[Range]:
        sketch: Sketch = self.sketch
        counts = np.concatenate(([sketch.zeros], sketch.bins))

        def bounds(part: int) -> Bounds:
            if part == 0:
                return 0, 0
            index = sketch.offset + part - 1
            first, last = max(int(low), 1), int(high)
            return (
                first_code(first, last, lambda codes: bucket_index(codes) >= index),
                first_code(first, last, lambda codes: bucket_index(codes) > index) - 1,
            )

        return parted(ranks, counts, 0, bounds)

    @staticmethod
    def _value(code: int) -> Any:
        return code

    @staticmethod
    def _between(lower: Any, upper: Any, share: float) -> float:
        return Exact._between(lower, upper, share)


class AskedReals(Asked, frozen=True, eq=False, gc=False):
    """The same for finite floats of any sign."""

    @property
    def _count(self) -> int:
        return int(self.sketch.counts.sum())

    def _ranges(self, ranks: set[int], low: float, high: float) -> list[Range]:
        sketch: SignedSketch = self.sketch
        first, last = codes_of(np.array([low, high])).tolist()

        def bounds(part: int) -> Bounds:
            key = sketch.keys[part]
            return (
                first_code(first, last, lambda codes: signed_keys(floats_of(codes)) >= key),
                first_code(first, last, lambda codes: signed_keys(floats_of(codes)) > key) - 1,
            )

        return parted(ranks, sketch.counts, 0, bounds)

    @staticmethod
    def _value(code: int) -> float:
        return float(floats_of(np.array([code], np.int64))[0])

    @staticmethod
    def _between(lower: Any, upper: Any, share: float) -> float:
        return ExactReals._between(lower, upper, share)


def codes_of(values: NDArray[np.float64]) -> Ints:
    """Whole numbers in the order of the floats (IEEE 754's own, negative ones mirrored); one for both zeros."""
    bits: Ints = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & np.int64(2**63 - 1))


def floats_of(codes: Ints) -> NDArray[np.float64]:
    """The floats of `codes_of`."""
    return (codes ^ ((codes >> 63) & np.int64(2**63 - 1))).view(np.float64)
