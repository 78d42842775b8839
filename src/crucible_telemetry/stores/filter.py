"""A `Where` evaluated on columns: shapes, outcomes, models and trials by id, no row decoded. PURE."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.events.event import GENERIC_SHAPE, IDENTITY
from crucible_telemetry.stores.where import Where, may_hold, name_fits, shared_fit

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ColumnFilter:
    """What columns can tell of a `Where` (not time): all rows that fit pass.

    Of the conditions in `rest_of`, rows pass whose shape or trial lets them fit, and no others.
    """

    __slots__ = ("_fits", "_models", "_outcomes", "_reader", "_shapes", "_trials", "_where")

    def __init__(self, where: Where | None, reader: Reader) -> None:
        self._where = where or Where()
        self._reader = reader
        self._outcomes = _outcome_table(self._where)
        self._fits = shared_fit(self._where, reader.condition, reader.tags)
        self._shapes: dict[int, bool] = {}
        self._models: dict[int, bool] = {}
        self._trials: dict[int, bool] = {}

    def kept(self, columns: Columns, rows: Rows) -> Rows:
        """Those of the rows (positions) that fit, in their order."""
        where = self._where
        if not self._fits:
            return rows[:0]
        if self._outcomes is not None:
            rows = rows[self._outcomes[columns.outcome[rows]]]
        if where.model is not None or where.provider is not None:
            rows = rows[_by_id(columns.model[rows], self._models, self._model_fits)]
        if where.patterns is not None or where.measurement or where.metadata:
            rows = rows[self._shapes_fit(columns, rows)]
        if where.identity:
            rows = rows[self._trials_fit(columns, rows)]
        return rows

    def _shapes_fit(self, columns: Columns, rows: Rows) -> Mask:
        """Whether names fit, and paths can."""
        shapes = columns.shape[rows]
        mask = _by_id(shapes, self._shapes, self._shape_fits)
        patterns = self._where.patterns
        if patterns is not None:
            for at in np.flatnonzero(shapes == GENERIC_SHAPE).tolist():
                mask[at] = name_fits(patterns, self._reader.row_name(columns, int(rows[at])))
        return mask

    def _shape_fits(self, shape: int) -> bool:
        if shape == GENERIC_SHAPE:
            return True
        numbers, words = self._reader.keys(shape)
        return (
            name_fits(self._where.patterns, self._reader.name(shape))
            and may_hold(numbers, self._where.measurement)
            and may_hold(words, self._where.metadata)
        )

    def _model_fits(self, model: int) -> bool:
        found = self._reader.model(model)
        wanted = (self._where.texts("provider"), self._where.texts("model"))
        return all(w is None or f in w for f, w in zip(found, wanted, strict=True))

    def _trials_fit(self, columns: Columns, rows: Rows) -> Mask:
        """Whether the trial's identity fits, or the event may have one of its own."""
        return _by_run(columns.trial[rows], self._trials, self._trial_fits) | _by_id(
            columns.shape[rows], {GENERIC_SHAPE: True}, self._names_itself
        )

    def _trial_fits(self, trial: int) -> bool:
        of = dict(zip(IDENTITY, self._reader.identity(trial), strict=True))
        return all(of[name] in choices for name, choices in self._where.identity.items())

    def _names_itself(self, shape: int) -> bool:
        return not self._where.identity.keys().isdisjoint(self._reader.keys(shape)[1])


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


def _by_run(ids: NDArray[Any], known: dict[int, bool], fits: Callable[[int], bool]) -> Mask:
    """The same for ids that are large and change rarely from row to row."""
    starts = np.flatnonzero(
        np.concatenate((np.ones(min(len(ids), 1), np.bool_), ids[1:] != ids[:-1]))
    )
    present = ids[starts].tolist()
    for one in set(present) - known.keys():
        known[one] = fits(one)
    found = np.array([known[one] for one in present], np.bool_)
    return np.repeat(found, np.diff(starts, append=len(ids)))
