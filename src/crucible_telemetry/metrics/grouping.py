"""Rows to cells: sort by what an event is, then every column in one pass over all groups. PURE."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress, pairwise
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.events.columns import (
    ENDS,
    FILL,
    LLM,
    NANO,
    RANKS,
    STREAMED,
    TOKENS,
    WRAPS,
    Columns,
    Reader,
)
from crucible_telemetry.events.event import GENERIC_SHAPE, Outcome
from crucible_telemetry.metrics.accumulators import (
    MOST_ROWS,
    Ints,
    group_sizes,
    moments_by_group,
    reduced,
    sums_by_group,
)
from crucible_telemetry.metrics.cells import Cell, Key, Tally
from crucible_telemetry.metrics.reals import real_moments
from crucible_telemetry.metrics.sketch import Floats, Spread

KIND: Final = ENDS | LLM | WRAPS | RANKS
USED: Final = ("shape", "flags", "outcome", "model", "error")
SHAPE_SHIFT: Final = 26
"""A group's code: the shape above this bit; below it 7 bits of flags, 3 of outcome, 16 of model."""
GENERIC_BASE: Final = 2**32
"""Generic rows get shape numbers from here on, one for each name."""


class Rows(Struct, frozen=True, gc=False):
    """What counting needs of some rows: columns by name, and the names of generic rows by position.

    `fields`: the named fields, as `Reader.fields` has them.
    """

    n: int
    arrays: dict[str, NDArray[Any]]
    generic: dict[int, str]
    fields: dict[str, Floats]

    @classmethod
    def of(cls, columns: Columns, reader: Reader) -> "Rows":
        """The numbers of a batch; its payload is not kept alive, generic rows are named now."""
        arrays = {name: getattr(columns, name) for name in USED} | columns.optional()
        generic: dict[int, str] = {}
        if not columns.shape.all():
            at = np.flatnonzero(columns.shape == GENERIC_SHAPE).tolist()
            generic = {i: reader.row_name(columns, i) for i in at}
        return cls(len(columns), arrays, generic, reader.fields(columns))

    @classmethod
    def joined(cls, parts: "Sequence[Rows]") -> "Rows":
        """Several as one, in order."""
        if len(parts) == 1:
            return parts[0]
        generic: dict[int, str] = {}
        at = 0
        for part in parts:
            generic.update({at + i: name for i, name in part.generic.items()})
            at += part.n
        names = {name: None for part in parts for name in part.arrays}
        arrays = {name: _stacked(parts, name) for name in names}
        fields = {name: None for part in parts for name in part.fields}
        return cls(at, arrays, generic, {name: _stacked_field(parts, name) for name in fields})

    def renamed(self, known: set[str], other: str) -> "Rows":
        """With generic rows whose name is not among the known ones under one other name."""
        names = {i: name if name in known else other for i, name in self.generic.items()}
        return Rows(self.n, self.arrays, names, self.fields)

    def split(self) -> "list[Rows]":
        """Pieces small enough for exact sums in int64."""
        if self.n <= MOST_ROWS:
            return [self]
        return [self._between(start, start + MOST_ROWS) for start in range(0, self.n, MOST_ROWS)]

    def _between(self, start: int, stop: int) -> "Rows":
        arrays = {name: column[start:stop] for name, column in self.arrays.items()}
        generic = {i - start: name for i, name in self.generic.items() if start <= i < stop}
        fields = {name: column[start:stop] for name, column in self.fields.items()}
        return Rows(min(stop, self.n) - start, arrays, generic, fields)


def _stacked(parts: Sequence[Rows], name: str) -> NDArray[Any]:
    """One column of all parts; where a part lacks it, every row is missing."""
    dtype = next(part.arrays[name].dtype for part in parts if name in part.arrays)
    return np.concatenate(
        [
            part.arrays[name] if name in part.arrays else np.full(part.n, FILL[name], dtype)
            for part in parts
        ]
    )


def _stacked_field(parts: Sequence[Rows], name: str) -> Floats:
    return np.concatenate([part.fields.get(name, np.full(part.n, np.nan)) for part in parts])


def counted(rows: Rows, reader: Reader, spread: type[Spread]) -> dict[Key, Cell]:
    """The cells of at most `MOST_ROWS` rows; several shapes of one name share a cell."""
    groups = _Groups(rows)
    cells: dict[Key, Cell] = {}
    for key, cell in zip(groups.keys(reader), groups.cells(spread), strict=True):
        cells[key] = cells[key].plus(cell) if key in cells else cell
    return cells


FIELD: Final = "."
"""What stands before the name of a named field where other measurements stand beside it."""


def measured(rows: Rows, reader: Reader) -> Iterator[tuple[Key, str, NDArray[Any]]]:
    """What `counted` makes tallies of: the values of each group, by what was measured."""
    groups = _Groups(rows)
    keys = groups.keys(reader)
    parts: dict[str, Any] = {name: groups.measured(name) for name in NANO}
    parts |= {FIELD + name: groups.finite(column) for name, column in rows.fields.items()}
    for name, (found, values, starts) in parts.items():
        edges = pairwise([*starts.tolist(), len(values)])
        for group, (start, stop) in zip(found, edges, strict=bool(found)):
            yield keys[group], name, values[start:stop]


def _cut(
    values: NDArray[Any], there: NDArray[np.bool_], starts: Ints
) -> tuple[list[int], NDArray[Any], Ints]:
    """Groups that have values `there`, these values, and where each such group begins among them."""
    counts = np.add.reduceat(there, starts, dtype=np.int64)
    groups = np.flatnonzero(counts)
    return groups.tolist(), values[there], np.cumsum(counts[groups]) - counts[groups]


def _made(values: Mapping[str, NDArray[Any] | None]) -> NDArray[Any] | None:
    """Tokens that were made: as reported, else as chunks were marked."""
    reported, streamed = values["completion"], values[STREAMED]
    if reported is None or streamed is None:
        return streamed if reported is None else reported
    return np.where(reported >= 0, reported, streamed)


class _Groups:
    """Rows sorted so that those of one kind stand together."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.generic_names = list(dict.fromkeys(rows.generic.values()))
        codes = self._codes()
        self.order = (
            None if codes[0] == codes[-1] and (codes == codes[0]).all() else codes.argsort()
        )
        codes = codes if self.order is None else codes[self.order]
        self.starts = np.concatenate(([0], np.flatnonzero(codes[1:] != codes[:-1]) + 1))
        self.codes = codes[self.starts].tolist()
        self.sizes = group_sizes(self.starts, rows.n)

    def _codes(self) -> Ints:
        arrays = self.rows.arrays
        shape = arrays["shape"].astype(np.int64)
        if self.rows.generic:
            number = {name: GENERIC_BASE + i for i, name in enumerate(self.generic_names)}
            at = list(self.rows.generic)
            shape[at] = [number[name] for name in self.rows.generic.values()]
        kind = ((arrays["flags"] & KIND).astype(np.int64) << 3) | arrays["outcome"]
        codes: Ints = (((shape << 10) | kind) << 16) | arrays["model"]
        return codes

    def keys(self, reader: Reader) -> list[Key]:
        """What each group is."""
        return [
            Key(self._name(code, reader), (code >> 19) & KIND, (code >> 16) & 7, code & 0xFFFF)
            for code in self.codes
        ]

    def _name(self, code: int, reader: Reader) -> str:
        shape = code >> SHAPE_SHIFT
        if shape >= GENERIC_BASE:
            return self.generic_names[shape - GENERIC_BASE]
        return reader.name(shape)

    def column(self, name: str) -> NDArray[Any] | None:
        """A column in the order of the groups."""
        values = self.rows.arrays.get(name)
        return values if values is None or self.order is None else values[self.order]

    def cells(self, spread: type[Spread]) -> list[Cell]:
        """One cell for each group."""
        fields: list[dict[str, Any]] = [{"events": size} for size in self.sizes]
        values = {name: self.column(name) for name in (*NANO, *TOKENS, STREAMED)}
        for name in NANO:
            self._add_tallies(fields, name, values[name], spread)
        for name in TOKENS:
            self._add_tokens(fields, name, values[name])
        self._add_counts(fields, values)
        self._add_pace(fields, _made(values), values["latency_ns"])
        self._add_errors(fields)
        for name, column in self.rows.fields.items():
            self._add_field(fields, name, column, spread)
        return [Cell(**given) for given in fields]

    def _add_tallies(
        self,
        fields: list[dict[str, Any]],
        name: str,
        column: NDArray[Any] | None,
        spread: type[Spread],
    ) -> None:
        groups, values, starts = self._measured(column)
        if not groups:
            return
        spreads = spread.by_group(values, starts)
        for group, part, of in zip(groups, moments_by_group(values, starts), spreads, strict=True):
            fields[group].setdefault("tallies", {})[name] = Tally(part, of)

    def _add_tokens(
        self, fields: list[dict[str, Any]], name: str, column: NDArray[Any] | None
    ) -> None:
        groups, values, starts = self._measured(column)
        if not groups:
            return
        for group, part in zip(groups, moments_by_group(values, starts), strict=True):
            fields[group].setdefault("tokens", {})[name] = part

    def measured(self, name: str) -> tuple[list[int], Ints, Ints]:
        """The same of a column by name."""
        return self._measured(self.column(name))

    def finite(self, column: Floats) -> tuple[list[int], Floats, Ints]:
        """The same of a named field: its finite values."""
        ordered = column if self.order is None else column[self.order]
        return _cut(ordered, np.isfinite(ordered), self.starts)

    def _measured(self, column: NDArray[Any] | None) -> tuple[list[int], Ints, Ints]:
        """Groups that have values, these values as int64, and where each such group begins."""
        if column is None:
            return [], self.starts, self.starts
        values = column.astype(np.int64, copy=False)
        if values.min() >= 0:
            return list(range(len(self.starts))), values, self.starts
        return _cut(values, values >= 0, self.starts)

    def _add_counts(self, fields: list[dict[str, Any]], values: dict[str, Any]) -> None:
        tokens = np.zeros(self.rows.n, bool)
        for name in TOKENS:
            if values[name] is not None:
                tokens |= values[name] >= 0
        call, succeeded = self._calls()
        owed = call & (tokens | succeeded)
        if values["cost_pico"] is not None:
            owed &= values["cost_pico"] < 0
        for name, mask in (("with_tokens", tokens), ("unpriced", owed)):
            self._add_numbers(fields, name, reduced(np.add, mask.astype(np.int64), self.starts))

    def _calls(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which rows, in the order of the groups, are calls to a model, and which succeeded."""
        call = (self.rows.arrays["flags"] & KIND) == ENDS | LLM
        succeeded = self.rows.arrays["outcome"] == Outcome.OK
        if self.order is None:
            return call, succeeded
        return call[self.order], succeeded[self.order]

    def _add_pace(
        self,
        fields: list[dict[str, Any]],
        completion: NDArray[Any] | None,
        latency: NDArray[Any] | None,
    ) -> None:
        if completion is None or latency is None:
            return
        both = (completion >= 0) & (latency >= 0)
        for name, column in (("paced_tokens", completion), ("paced_ns", latency)):
            values = np.where(both, column, 0)
            sums = sums_by_group(values, self.starts, int(values.max()))
            self._add_numbers(fields, name, sums)

    @staticmethod
    def _add_numbers(fields: list[dict[str, Any]], name: str, numbers: list[int]) -> None:
        for group, number in compress(enumerate(numbers), numbers):
            fields[group][name] = number

    def _add_errors(self, fields: list[dict[str, Any]]) -> None:
        errors = self.rows.arrays["error"]
        if not errors.any():
            return
        ordered = errors if self.order is None else errors[self.order]
        at = np.flatnonzero(ordered)
        group = np.searchsorted(self.starts, at, "right") - 1
        pairs, counts = np.unique((group << 16) | ordered[at], return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            fields[pair >> 16].setdefault("errors", {})[pair & 0xFFFF] = count

    def _add_field(
        self, fields: list[dict[str, Any]], name: str, column: Floats, spread: type[Spread]
    ) -> None:
        """Exact moments and spread of a named field; what is not finite is counted and left out."""
        groups, values, starts = self.finite(column)
        if groups:
            spreads = spread.of_reals(values, starts)
            for group, part, of in zip(groups, real_moments(values, starts), spreads, strict=True):
                fields[group].setdefault("fields", {})[name] = Tally(part, of)
        ordered = column if self.order is None else column[self.order]
        left_out = np.add.reduceat(np.isinf(ordered), self.starts, dtype=np.int64)
        for group in np.flatnonzero(left_out).tolist():
            fields[group].setdefault("left_out", {})[name] = int(left_out[group])
