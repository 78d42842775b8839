"""Stored rows → `Event`s: the words of one experiment, and how its rows are read back."""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.collect.fields import NamedFields
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.words import Vocabulary
from crucible_telemetry.events.catalog import known
from crucible_telemetry.events.columns import MISSING, NO_TOKENS, Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, Event, Outcome
from crucible_telemetry.events.scope import span_hex, trace_hex
from crucible_telemetry.events.shape import SHAPES, decode_rows, dictionaries

_OUTCOMES: Final = [(o.success, o.label) for o in Outcome]
_IDENTITY: Final = frozenset({"session_id", "user_id", "sample_id", "cohort", "repeat", "attempt"})
_NOBODY: Final = (None, None, None, None, None, None)
_NO_LINK: Final = (None, None, None, False)
_NANO: Final = (
    ("latency_ns", 1e6), ("ttft_ns", 1e6), ("itl_ns", 1e6), ("cost_pico", 1e12),
)  # fmt: skip
_TOKENS: Final = ("prompt", "completion", "total", "cached", "reasoning", "cache_write")
Identity = tuple[str | None, int | None, int | None, str | None, str | None, str | None]
"""(item, repeat, attempt, session, user, cohort)"""


class ExperimentReader:
    """The `Reader` of one experiment: names by shape, models and errors by number, events by row."""

    def __init__(self, experiment_id: str, spec: ExperimentSpec, trials: Trials) -> None:
        self.experiment_id, self.spec, self.trials = experiment_id, spec, trials
        self.models: Vocabulary[tuple[str | None, str | None]] = Vocabulary(
            (None, None), (None, "(other)")
        )
        self.errors: Vocabulary[str] = Vocabulary("", "(other)")
        self._named = NamedFields(spec.metrics_config.custom)

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

    def fields(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Columns of the fields that `metrics_config` names, of those rows that have them."""
        return self._named.columns(columns)

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        """The rows at these positions as events; the dictionaries belong to the caller.

        Columns are read as lists, all rows at once: an item of an array costs 80 ns, fifteen times.
        """
        at = np.asarray(indices, np.intp)
        offsets, blob = columns.payload.offsets, columns.payload.blob
        bounds = zip(offsets[at].tolist(), offsets[at + 1].tolist(), strict=True)
        rows = decode_rows([blob[start:end] for start, end in bounds])
        figures = zip(
            columns.seqs(at).tolist(),
            columns.timestamp_us[at].tolist(),
            columns.outcome[at].tolist(),
            columns.model[at].tolist(),
            columns.trial[at].tolist(),
            columns.error[at].tolist(),
            *(_scaled(getattr(columns, name), at, scale) for name, scale in _NANO),
            *(_counted(getattr(columns, name), at) for name in _TOKENS),
            strict=False,
        )
        known_trials: dict[int, Identity] = {0: _NOBODY}
        return [
            self._event(row, numbers, known_trials)
            for row, numbers in zip(rows, figures, strict=True)
        ]

    def _event(
        self, row: list[Any], numbers: tuple[Any, ...], trials: dict[int, Identity]
    ) -> Event:
        name, measurements, metadata = dictionaries(row)
        seq, timestamp_us, outcome, model, trial, error, *figures = numbers
        latency_ms, ttft_ms, itl_ms, cost_usd, *tokens = figures
        prompt, completion, total, cached, reasoning, cache_write = tokens
        success, ending = _OUTCOMES[outcome]
        provider, model_name = self.models.words[model] if model else (None, None)
        identity = trials.get(trial)
        if identity is None:
            identity = trials[trial] = self._identity(trial)
        if not _IDENTITY.isdisjoint(metadata):
            identity = _own_identity(identity, metadata)
        item, repeat, attempt, session, user, cohort = identity
        span, parent, trace, _ = row[3] or _NO_LINK
        spec = self.spec
        return Event(
            seq=seq,
            event_id=f"{self.experiment_id}-{seq}",
            timestamp_us=timestamp_us,
            event_name=name,
            measurements=measurements,
            metadata=metadata,
            experiment_id=self.experiment_id,
            experiment_name=spec.name,
            condition=spec.condition,
            tags=spec.tags,
            category=known(name).category,
            latency_ms=latency_ms,
            ttft_ms=ttft_ms,
            itl_ms=itl_ms,
            cost_usd=cost_usd,
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=total,
            cached_tokens=cached,
            reasoning_tokens=reasoning,
            cache_write_tokens=cache_write,
            success=success,
            outcome=ending,
            error_type=self.errors.word(error) if error else None,
            provider=provider,
            model=model_name,
            session_id=session,
            user_id=user,
            sample_id=item,
            repeat=repeat,
            attempt=attempt,
            cohort=cohort,
            span_id=span_hex(span),
            parent_id=span_hex(parent),
            trace_id=trace_hex(trace),
        )

    def _identity(self, number: int) -> Identity:
        trial = self.trials.find(number)
        if trial is None:
            return _NOBODY
        return (
            trial.item, trial.repeat, trial.attempt, trial.session, trial.user, trial.cohort,
        )  # fmt: skip


def _own_identity(given: Identity, metadata: dict[str, Any]) -> Identity:
    """Ids as the metadata gives them, else as the trial does."""
    item, repeat, attempt, session, user, cohort = given
    return (
        _word(metadata.get("sample_id"), item),
        _number(metadata.get("repeat"), repeat),
        _number(metadata.get("attempt"), attempt),
        _word(metadata.get("session_id"), session),
        _word(metadata.get("user_id"), user),
        _word(metadata.get("cohort"), cohort),
    )


def _word(value: Any, given: str | None) -> str | None:
    return str(value) if type(value) in (str, int) else given


def _number(value: Any, given: int | None) -> int | None:
    return value if type(value) is int else given


def _scaled(column: Any, at: Any, scale: float) -> Iterable[float | None]:
    """Milliseconds or dollars, derived from the stored integers."""
    if column is None:
        return repeat(None)
    return [None if value == MISSING else value / scale for value in column[at].tolist()]


def _counted(column: Any, at: Any) -> Iterable[int | None]:
    if column is None:
        return repeat(None)
    return [None if value == NO_TOKENS else value for value in column[at].tolist()]
