"""CSV: a header, then one event a line, cell by cell as `cells` has it. PURE.

Comma, double quotes, a line feed behind each line, UTF-8 without a mark (RFC 4180 but for the line feed).
Cells are made a column at a time, for rows of one shape together.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np

from crucible_telemetry.events.columns import RANK_SHIFT, RANKS
from crucible_telemetry.export.cells import Cells, cell, cells
from crucible_telemetry.export.columns import FLAGS, OF_EVENT, RANK
from crucible_telemetry.export.flat import BOXES, flat_columns
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import utf8

_ATTRIBUTES: Final = (*OF_EVENT, *BOXES)


def header(names: Sequence[str]) -> bytes:
    """The first line."""
    return _bytes(",".join(map(cell, names)) + "\n")


def row_line(names: Sequence[str], row: dict[str, Any]) -> bytes:
    """The line of one row given by column."""
    return _bytes(",".join([cell(row.get(name)) for name in names]) + "\n")


class Table:
    """Writes the lines of events with these columns."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._own = [name for name in self.names if name in _ATTRIBUTES]
        self._others = frozenset(self.names) - set(_ATTRIBUTES) - set(FLAGS) - {RANK}

    def lines(self, some: Slice) -> bytes:
        """The events of a slice as lines."""
        written: list[str] = [""] * len(some.rows)
        for shape in np.unique(some.columns.shape[some.rows]).tolist():
            at, part = some.of_shape(shape)
            for i, line in zip(at.tolist(), self._group(shape, part), strict=True):
                written[i] = line
        return _bytes("\n".join(written) + "\n")

    def _group(self, shape: int, some: Slice) -> Iterable[str]:
        rows, given = some.told()
        flags = some.columns.flags[some.rows]
        columns = {name: _cells_of(given[name]) for name in self._own} | _flag_columns(flags)
        if self._others:
            read = flat_columns(shape, rows)
            columns |= {name: cells(values) for name, values in read if name in self._others}
        return _joined([columns.get(name, "") for name in self.names], len(rows))


def _cells_of(values: Iterable[Any]) -> Cells:
    """Cells of a field's values: one for each row, or one for ever."""
    if isinstance(values, repeat):
        return cell(next(values))
    return cells(values if isinstance(values, list) else list(values))


def _joined(columns: Sequence[Cells], rows: int) -> Iterable[str]:
    """Lines of cells; cells side by side that all lines share are put together once."""
    pieces: list[Iterable[str]] = []
    shared = ""
    for at, column in enumerate(columns):
        shared += "," if at else ""
        if isinstance(column, str):
            shared += column
        else:
            pieces += [repeat(shared, rows), column]
            shared = ""
    return map("".join, zip(*pieces, repeat(shared, rows), strict=True))


def _flag_columns(flags: Any) -> dict[str, Cells]:
    found = {
        name: cells([one > 0 or None for one in (flags & bit).tolist()])
        for name, bit in FLAGS.items()
    }
    ranks = ((flags & RANKS) >> RANK_SHIFT).tolist()
    return {**found, RANK: cells([rank or None for rank in ranks])}


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # names, tags and items are as users gave them
        return utf8(text).encode()
