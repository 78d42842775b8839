"""All streaming metrics of one experiment as one immutable value. PURE.

A batch is first kept as its numbers; when 8,192 rows have gathered, or somebody looks, they become
cells in one go. That is what makes batches of sixteen rows and forty shapes cheap, and since sums and
buckets are integers it changes no bit of the result.
"""

from typing import Any, Final

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.metrics.cells import Cell, Key
from crucible_telemetry.metrics.grouping import Rows, counted
from crucible_telemetry.metrics.sketch import Sketch, Spread

MOST_NAMES: Final = 4096
"""Event names with cells of their own; first come, first served."""
MOST_CELLS: Final = 6144
"""Cells in all, so that names times models stay bounded too."""
OTHER: Final = "(other)"
"""The name under which events of further names are counted."""
FOLD_ROWS: Final = 8192
"""Rows that may wait to be counted."""

Cells = dict[Key, Cell]
_Waiting = tuple[tuple[Rows, Reader], ...]
_State = tuple[Cells, _Waiting, int]


class Board:
    """Counts, exact sums and spreads of the events up to `upto_seq`, by name, kind, outcome and model.

    A value: `plus` and `merged` give a new board and touch nothing. Boards of the same events are equal
    to the bit however these were split, ordered and merged (F25), as long as there are at most
    `MOST_NAMES` names; beyond that, which names keep cells of their own depends on the order, the
    totals do not. A batch given twice counts twice: compare `upto_seq` first. Boards that are merged
    must number models and errors alike.
    """

    __slots__ = ("_fold_rows", "_spread", "_state", "since_seq", "upto_seq")

    def __init__(self, cells: Cells, upto_seq: int, since_seq: int) -> None:
        self._state: _State = (cells, (), 0)
        self._spread: type[Spread] = Sketch
        self._fold_rows = FOLD_ROWS
        self.upto_seq = upto_seq
        self.since_seq = since_seq

    @classmethod
    def empty(
        cls,
        since_seq: int = 0,
        *,
        spread: type[Spread] = Sketch,
        fold_rows: int = FOLD_ROWS,
    ) -> "Board":
        """Nothing counted yet; `since_seq` is the last event that it shall not know."""
        board = cls({}, since_seq, since_seq)
        board._spread, board._fold_rows = spread, fold_rows
        return board

    def plus(self, columns: Columns, reader: Reader) -> "Board":
        """With one more batch or segment; `reader` names its shapes."""
        if not len(columns):
            return self
        cells, waiting, n = self._state
        state: _State = (cells, (*waiting, (Rows.of(columns, reader), reader)), n + len(columns))
        board = self._with(state, max(self.upto_seq, columns.last_seq), self.since_seq)
        if state[2] >= self._fold_rows:
            board._fold()
        return board

    def merged(self, other: "Board") -> "Board":
        """Both together: `upto_seq` the later, `since_seq` the earlier."""
        cells = merged_cells(self.cells, other.cells)
        upto, since = max(self.upto_seq, other.upto_seq), min(self.since_seq, other.since_seq)
        return self._with((cells, (), 0), upto, since)

    @property
    def cells(self) -> Cells:
        """The cells; treat them as read-only. Counts the rows that wait, once."""
        if self._state[1]:
            self._fold()
        return self._state[0]

    def _fold(self) -> None:
        """Same contents in the other form, put in place in one step: a reader in a thread sees either."""
        cells, waiting, _ = self._state
        for rows, reader in _joined(waiting):
            for part in rows.split():
                settled = _settled(part, cells)
                cells = merged_cells(cells, counted(settled, reader, self._spread))
        self._state = (cells, (), 0)

    def _with(self, state: _State, upto_seq: int, since_seq: int) -> "Board":
        board = Board({}, upto_seq, since_seq)
        board._state, board._spread, board._fold_rows = state, self._spread, self._fold_rows
        return board

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Board):
            return NotImplemented
        mine, others = (self.upto_seq, self.since_seq), (other.upto_seq, other.since_seq)
        return mine == others and self.cells == other.cells

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Board, (self.cells, self.upto_seq, self.since_seq)


def _joined(waiting: _Waiting) -> list[tuple[Rows, Reader]]:
    """One block of rows for each reader (there is one, as a rule)."""
    blocks: dict[int, tuple[list[Rows], Reader]] = {}
    for rows, reader in waiting:
        blocks.setdefault(id(reader), ([], reader))[0].append(rows)
    return [(Rows.joined(parts), reader) for parts, reader in blocks.values()]


def _settled(rows: Rows, cells: Cells) -> Rows:
    """Rows whose names will find no room go to the others before counting: a flood makes few cells."""
    if not rows.generic or len(cells) < MOST_NAMES:
        return rows
    names = {key.name for key in cells}
    return rows.renamed(names, OTHER) if len(names) >= MOST_NAMES else rows


def merged_cells(cells: Cells, more: Cells) -> Cells:
    """A new mapping; only cells of both are made anew, and names and cells stay bounded."""
    union = dict(cells)
    crowded = len(cells) + len(more) > MOST_NAMES
    names = {key.name for key in cells} if crowded else set()
    for key, cell in more.items():
        place = _placed(key, union, names) if crowded and key not in union else key
        union[place] = union[place].plus(cell) if place in union else cell
    return union


def _placed(key: Key, cells: Cells, names: set[str]) -> Key:
    """The key itself while there is room; its place among the others when not."""
    if len(cells) >= MOST_CELLS:
        return Key(OTHER, key.flags, key.outcome, 0)
    if key.name not in names and len(names) >= MOST_NAMES:
        return Key(OTHER, key.flags, key.outcome, key.model)
    names.add(key.name)
    return key
