"""Stored rows → the columns of the fields that `metrics_config` names. PURE.

Read from the rows as they are kept, live and at rest: what privacy left out or an enricher added is the
same for both. Only rows of shapes that have such a field are decoded.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.known import known
from crucible_telemetry.events.numbers import Place, column_at
from crucible_telemetry.events.shape import HEADER, SHAPES, Row, decode_rows, dictionaries

Floats = NDArray[np.float64]
_REAL: Final = frozenset({int, float, bool})


class NamedFields:
    """Reads some named fields of one experiment; remembers where each shape has them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._by_shape: dict[int, dict[str, list[Place]]] = {}

    def columns(self, columns: Columns) -> dict[str, Floats]:
        """See `Reader.fields`."""
        found: dict[str, Floats] = {}
        if not self._names:
            return found
        for shape in np.unique(columns.shape).tolist():
            at = np.flatnonzero(columns.shape == shape)
            if shape == GENERIC_SHAPE:
                self._generic(columns, at, found)
                continue
            wanted = self._places(shape)
            if wanted:
                rows = list(zip(*_decoded(columns, at), strict=True))[HEADER:]
                self._put(rows, wanted, at, len(columns), found)
        return found

    def _places(self, shape: int) -> dict[str, list[Place]]:
        """Where rows of a shape may have each field; there are few shapes."""
        wanted = self._by_shape.get(shape)
        if wanted is None:
            known_shape = SHAPES.by_id[shape]
            keys = known_shape.measurement_keys, known_shape.metadata_keys
            wanted = self._by_shape[shape] = self._wanted(known_shape.name, *keys)
        return wanted

    def _wanted(
        self, name: str, numbers: Sequence[str], words: Sequence[str]
    ) -> dict[str, list[Place]]:
        measured = {key: at for at, key in enumerate(numbers)}
        said = {key: at + len(numbers) for at, key in enumerate(words)}
        if known(name).suffix == "start":
            said = {}  # the end repeats them
        found = {field: [*_places(measured, field), *_places(said, field)] for field in self._names}
        return {field: where for field, where in found.items() if where}

    def _generic(self, columns: Columns, at: NDArray[np.intp], found: dict[str, Floats]) -> None:
        """Rows that carry their own keys: one by one."""
        for place, row in zip(at.tolist(), _decoded(columns, at), strict=True):
            name, numbers, words = dictionaries(row)
            wanted = self._wanted(name, list(numbers), list(words))
            values = [(value,) for value in (*numbers.values(), *words.values())]
            self._put(values, wanted, np.array([place]), len(columns), found)

    @staticmethod
    def _put(
        rows: Sequence[Sequence[Any]],
        wanted: dict[str, list[Place]],
        at: NDArray[np.intp],
        count: int,
        found: dict[str, Floats],
    ) -> None:
        """Write the fields of these rows (transposed) into columns of `count`."""
        for name, candidates in wanted.items():
            values = _numbers(column_at(rows, candidates[0]))
            for place in candidates[1:]:
                values = np.where(np.isnan(values), _numbers(column_at(rows, place)), values)
            if not np.isnan(values).all():
                found.setdefault(name, np.full(count, np.nan))[at] = values


def _places(at: dict[str, int], field: str) -> list[Place]:
    """Where a dotted field may be: the key as it is, or a path into the mapping under a shorter one."""
    parts = field.split(".")
    heads = ((".".join(parts[:cut]), tuple(parts[cut:])) for cut in range(len(parts), 0, -1))
    return [(at[head], path) for head, path in heads if head in at]


def _decoded(columns: Columns, at: NDArray[np.intp]) -> list[Row]:
    return decode_rows(columns.payload.some(at))


def _numbers(column: Sequence[Any]) -> Floats:
    """Values as floats, −0.0 as 0.0: NaN where there is no number, inf where it is not finite."""
    missing: Any = False
    if not set(map(type, column)) <= _REAL:
        missing = np.array([type(value) not in _REAL for value in column])
        column = [value if type(value) in _REAL else 0.0 for value in column]
    values = np.array(column, np.float64)
    return np.where(missing, np.nan, np.where(np.isfinite(values), values + 0.0, np.inf))
