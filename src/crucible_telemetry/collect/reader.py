"""Stored rows → `Event`s: the words of one experiment, and how its rows are read back."""

from collections.abc import Sequence
from typing import Any

from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.trials import TrialRecord, Trials
from crucible_telemetry.collect.words import Vocabulary
from crucible_telemetry.events.catalog import known
from crucible_telemetry.events.columns import MISSING, NO_TOKENS, Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, Event, Outcome
from crucible_telemetry.events.scope import span_hex, trace_hex
from crucible_telemetry.events.shape import SHAPES, decode_rows, dictionaries

_OUTCOMES = {int(o): (o.success, o.label) for o in Outcome}
_NOBODY = TrialRecord(number=0, item="")


class ExperimentReader:
    """The `Reader` of one experiment: names by shape, models and errors by number, events by row."""

    def __init__(self, experiment_id: str, spec: ExperimentSpec, trials: Trials) -> None:
        self.experiment_id, self.spec, self.trials = experiment_id, spec, trials
        self.models: Vocabulary[tuple[str | None, str | None]] = Vocabulary(
            (None, None), (None, "(other)")
        )
        self.errors: Vocabulary[str] = Vocabulary("", "(other)")

    def name(self, shape: int) -> str:
        """Event name of a shape."""
        return SHAPES.by_id[shape].name

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

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        """The rows at these positions as events; the dictionaries belong to the caller."""
        wanted = [int(i) for i in indices]
        rows = decode_rows([columns.payload[i] for i in wanted])
        return [self._event(columns, i, row) for i, row in zip(wanted, rows, strict=True)]

    def _event(self, columns: Columns, i: int, row: list[Any]) -> Event:
        name, measurements, metadata = dictionaries(row)
        seq = columns.first_seq + i
        spec = self.spec
        success, outcome = _OUTCOMES[int(columns.outcome[i])]
        provider, model = self.models.word(int(columns.model[i]))
        trial = self.trials.find(int(columns.trial[i])) or _NOBODY
        link = row[3] or (None, None, None, False)
        error = int(columns.error[i])
        return Event(
            seq=seq,
            event_id=f"{self.experiment_id}-{seq}",
            timestamp_us=int(columns.timestamp_us[i]),
            event_name=name,
            measurements=measurements,
            metadata=metadata,
            experiment_id=self.experiment_id,
            experiment_name=spec.name,
            condition=spec.condition,
            tags=spec.tags,
            category=known(name).category,
            success=success,
            outcome=outcome,
            error_type=self.errors.word(error) if error else None,
            provider=provider,
            model=model,
            span_id=span_hex(link[0]),
            parent_id=span_hex(link[1]),
            trace_id=trace_hex(link[2]),
            **_identity(trial, metadata),
            **_figures(columns, i),
        )


def _identity(trial: TrialRecord, metadata: dict[str, Any]) -> dict[str, Any]:
    """Ids as the metadata gives them, else as the trial does."""
    own = (
        ("session_id", trial.session),
        ("user_id", trial.user),
        ("sample_id", trial.item or None),
        ("cohort", trial.cohort),
    )
    words = {key: _word(metadata.get(key), given) for key, given in own}
    numbers = {
        key: metadata[key] if type(metadata.get(key)) is int else given
        for key, given in (("repeat", trial.repeat), ("attempt", trial.attempt))
    }
    return {**words, **(numbers if trial.number or numbers["repeat"] or numbers["attempt"] else {})}


def _word(value: Any, given: str | None) -> str | None:
    return str(value) if type(value) in (str, int) else given


_SCALES = (("latency_ns", "latency_ms", 1e6), ("ttft_ns", "ttft_ms", 1e6), ("itl_ns", "itl_ms", 1e6),
           ("cost_pico", "cost_usd", 1e12))  # fmt: skip
_COUNTS = ("prompt", "completion", "total", "cached", "reasoning")


def _figures(columns: Columns, i: int) -> dict[str, Any]:
    """Milliseconds, dollars and tokens, derived from the stored integers."""
    figures: dict[str, Any] = {}
    for column, field, scale in _SCALES:
        array = getattr(columns, column)
        if array is not None and (value := int(array[i])) != MISSING:
            figures[field] = value / scale
    for column in _COUNTS:
        array = getattr(columns, column)
        if array is not None and (value := int(array[i])) != NO_TOKENS:
            figures[f"{column}_tokens"] = value
    return figures
