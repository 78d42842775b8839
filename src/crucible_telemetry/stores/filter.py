"""A `Where` evaluated on columns: names by shape, outcome and model by id, no row decoded. PURE."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.stores.where import Where, name_fits

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ColumnFilter:
    """The part of a `Where` that columns can tell (not time); what is left needs `matches`."""

    __slots__ = ("_models", "_outcomes", "_patterns", "_reader", "_shapes", "_where")

    def __init__(self, where: Where | None, reader: Reader) -> None:
        self._where = where or Where()
        self._reader = reader
        self._patterns = self._where.patterns
        self._outcomes = _outcome_table(self._where)
        self._shapes: dict[int, bool] = {}
        self._models: dict[int, bool] = {}

    def kept(self, columns: Columns, rows: Rows) -> Rows:
        """Those of the rows (positions) that fit, in their order."""
        if self._outcomes is not None:
            rows = rows[self._outcomes[columns.outcome[rows]]]
        if self._where.model is not None or self._where.provider is not None:
            rows = rows[_by_id(columns.model[rows], self._models, self._model_fits)]
        if self._patterns is not None:
            rows = rows[self._names_fit(columns, rows)]
        return rows

    def _names_fit(self, columns: Columns, rows: Rows) -> Mask:
        shapes = columns.shape[rows]
        mask = _by_id(shapes, self._shapes, self._shape_fits)
        generic = np.flatnonzero(shapes == GENERIC_SHAPE)
        for at in generic.tolist():
            name = self._reader.row_name(columns, int(rows[at]))
            mask[at] = name_fits(self._patterns, name)
        return mask

    def _shape_fits(self, shape: int) -> bool:
        return shape != GENERIC_SHAPE and name_fits(self._patterns, self._reader.name(shape))

    def _model_fits(self, model: int) -> bool:
        found = self._reader.model(model)
        wanted = (self._where.texts("provider"), self._where.texts("model"))
        return all(w is None or f in w for f, w in zip(found, wanted, strict=True))


def _outcome_table(where: Where) -> Mask | None:
    outcomes = where.outcomes
    if outcomes is None:
        return None
    table = np.zeros(256, np.bool_)
    table[[int(outcome) for outcome in outcomes]] = True
    return table


def _by_id(ids: NDArray[Any], known: dict[int, bool], fits: Callable[[int], bool]) -> Mask:
    """Whether each id fits; `fits` is asked once per id, `known` remembers over segments."""
    # A table by id: ids are small and dense (at most 4,096 shapes, 65,536 models); counting costs
    # a tenth of the sorting in np.unique.
    present = np.flatnonzero(np.bincount(ids)).tolist() if len(ids) else []
    for one in present:
        if one not in known:
            known[one] = fits(one)
    table = np.zeros(present[-1] + 1 if present else 1, np.bool_)
    table[[one for one in present if known[one]]] = True
    mask: Mask = table[ids]
    return mask
