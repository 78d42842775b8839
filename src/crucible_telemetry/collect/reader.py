"""Stored rows → `Event`s: the words of one experiment, and how its rows are read back."""

from collections.abc import Sequence
from copy import copy
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.collect.fields import NamedFields
from crucible_telemetry.collect.read_back import Fields, event_fields
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.trials import Trials, identity_of
from crucible_telemetry.collect.words import Vocabulary
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, Event, Identity
from crucible_telemetry.events.shape import SHAPES, Row, decode_rows
from crucible_telemetry.garbage import uncollected


def events_of(given: Fields) -> list[Event]:
    """Events with these fields."""
    return list(map(Event, *(given[name] for name in Event.__struct_fields__)))


_NOBODY: Final = (None, None, None, None, None, None)


class ExperimentReader:
    """The `Reader` of one experiment: names by shape, models and errors by number, events by row."""

    def __init__(self, experiment_id: str, spec: ExperimentSpec, trials: Trials) -> None:
        self.experiment_id, self.spec, self.trials = experiment_id, spec, trials
        self.condition, self.tags = spec.condition, spec.tags
        self.models: Vocabulary[tuple[str | None, str | None]] = Vocabulary(
            (None, None), (None, "(other)")
        )
        self.errors: Vocabulary[str] = Vocabulary("", "(other)")
        self._named = NamedFields(spec.metrics_config.custom)
        self._seqs: NDArray[np.int64] | None = None

    def name(self, shape: int) -> str:
        """Event name of a shape."""
        return SHAPES.by_id[shape].name

    def keys(self, shape: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keys of the measurements and of the metadata of a shape."""
        found = SHAPES.by_id[shape]
        return found.measurement_keys, found.metadata_keys

    def model(self, model: int) -> tuple[str | None, str | None]:
        """(provider, model) of a number."""
        return self.models.word(model)

    def error(self, error: int) -> str:
        """Error type of a number."""
        return self.errors.word(error)

    def row_name(self, columns: Columns, index: int) -> str:
        """Event name of one row, from the row itself when its shape is the generic one."""
        shape = int(columns.shape[index])
        if shape != GENERIC_SHAPE:
            return SHAPES.by_id[shape].name
        if columns.names is not None and index in columns.names:
            return columns.names[index]
        name: str = decode_rows([columns.payload[index]])[0][4]
        return name

    def fields(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Columns of the fields that `metrics_config` names, of those rows that have them."""
        return self._named.columns(columns)

    @uncollected
    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        """The rows at these positions as events; the dictionaries belong to the caller."""
        if not len(indices):
            return []
        return events_of(self.told(columns, np.asarray(indices, np.intp))[1])

    def told(self, columns: Columns, at: NDArray[np.intp]) -> tuple[list[Row], Fields]:
        """The rows at these positions decoded, and the fields of their events; at least one.

        `measurements` and `metadata` are made as they are gone through, once: who writes columns needs none.
        """
        rows = columns.decoded(at)
        seqs = self.seqs(columns, at).tolist()
        given: Fields = {
            "seq": seqs,
            "event_id": [f"{self.experiment_id}-{seq}" for seq in seqs],
            "experiment_id": repeat(self.experiment_id),
            "experiment_name": repeat(self.spec.name),
            "condition": repeat(self.condition),
            "tags": repeat(self.tags),
            **event_fields(rows, columns, at, self),
        }
        return rows, given

    def seqs(self, columns: Columns, at: NDArray[np.intp]) -> NDArray[np.int64]:
        """The seqs that the events of rows have for who reads them."""
        seqs = columns.seqs(at)
        return seqs if self._seqs is None else self._seqs[seqs - 1]

    def numbered(self, seqs: NDArray[np.int64] | None) -> "ExperimentReader":
        """A reader of the same rows whose events have other seqs: those of the file they come from ``(n,)``."""
        again = copy(self)
        again._seqs = seqs
        return again

    def identity(self, trial: int) -> Identity:
        """Whose trial a number stands for; of nobody for 0 and for one that is not known any more."""
        found = self.trials.find(trial)
        return _NOBODY if found is None else identity_of(found)

    # -- for stores that read what another process wrote ------------------------------------------

    def shape_number(
        self, name: str, measurement_keys: tuple[str, ...], metadata_keys: tuple[str, ...]
    ) -> int | None:
        """See `StoreReader.shape_number`."""
        found = SHAPES.intern(name, measurement_keys, metadata_keys)
        return None if found is None else found.id

    def model_number(self, provider: str | None, model: str | None) -> int:
        """See `StoreReader.model_number`."""
        return self.models.number((provider, model))

    def error_number(self, error: str) -> int:
        """See `StoreReader.error_number`."""
        return self.errors.number(error)

    def trial_number(self, trial: int, identity: Identity) -> int:
        """See `StoreReader.trial_number`."""
        return 0 if identity == _NOBODY else self.trials.learn(trial, identity)
