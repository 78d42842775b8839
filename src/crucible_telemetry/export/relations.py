"""Events, trials and experiments as Arrow, for SQL: fixed columns, and of these only those that are asked for.

Words, times and figures come from the stored columns, without decoding a row; keys of measurements and
metadata, ids, spans and fields of categories are decoded when a query names them. Shapes are all ``(n,)``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set as AbstractSet
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucible_telemetry.collect.read_back import FIGURES, Rows
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.events.columns import FILL, TOKENS, Columns
from crucible_telemetry.events.event import (
    GENERIC_SHAPE,
    IDENTITY,
    CategoryField,
    Event,
    Outcome,
)
from crucible_telemetry.events.fields import FIELDS, read_fields
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import SHAPES
from crucible_telemetry.export.trials import TrialTable
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import sayable, utf8

_TEXT, _INT, _REAL, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TIME: Final = pa.timestamp("us")
_TEXTS: Final = pa.list_(_TEXT)
_NUMBERS: Final = pa.map_(_TEXT, _REAL)
_JSON: Final = pa.json_(_TEXT)
_BY_UNIT: Final = {
    **dict.fromkeys(("name", "id", "path"), _TEXT), "bool": _BOOL, "counts by answer": _JSON,
}  # fmt: skip
"""Arrow type of a category's field by its unit; what has another is a number."""
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode

EVENTS: Final = pa.schema({
    "experiment_id": _TEXT, "experiment_name": _TEXT, "condition": _TEXT, "tags": _TEXTS,
    "seq": _INT, "event_id": _TEXT, "time": _TIME, "timestamp_us": _INT, "event_name": _TEXT, "category": _TEXT,
    **dict.fromkeys((field for field, _ in FIGURES.values()), _REAL),
    **{f"{name}_tokens": _INT for name in TOKENS},
    "success": _BOOL, "outcome": _TEXT, "error_type": _TEXT, "provider": _TEXT, "model": _TEXT,
    **dict.fromkeys(IDENTITY, _TEXT), "repeat": _INT, "attempt": _INT, "trial": _INT,
    "span_id": _TEXT, "parent_id": _TEXT, "trace_id": _TEXT,
    **{field.name: _BY_UNIT.get(field.unit, _REAL) for fields in FIELDS.values() for field in fields
       if isinstance(getattr(Event, field.name, None), CategoryField)},
    "fields": _JSON, "measurements": _JSON, "metadata": _JSON,
})  # fmt: skip
"""The relation ``events``: the fields of `Event`; `time` is UTC, `trial` the number in ``trials``, `fields` all of the category's."""
TRIALS: Final = pa.schema({
    "experiment_id": _TEXT, "experiment_name": _TEXT, "condition": _TEXT, "tags": _TEXTS,
    "number": _INT, "item": _TEXT, "repeat": _INT, "attempt": _INT, "session": _TEXT, "user": _TEXT,
    "cohort": _TEXT, "started_us": _INT, "ended_us": _INT, "duration_ns": _INT, "outcome": _TEXT,
    "reason": _TEXT, "scores": _NUMBERS, "scores_json": _JSON,
})  # fmt: skip
"""The relation ``trials``: `scores` has the numbers (True is 1), `scores_json` everything."""
EXPERIMENTS: Final = pa.schema({
    "id": _TEXT, "name": _TEXT, "state": _TEXT, "condition": _TEXT, "tags": _TEXTS, "hypothesis": _TEXT,
    "sample_size": _INT, "started_us": _INT, "ended_us": _INT, "active_seconds": _REAL,
    "paused_seconds": _REAL, "events": _INT, "trials": _INT, "metadata": _JSON,
})  # fmt: skip
"""The relation ``experiments``."""

Numbered = tuple[NDArray[Any], Callable[[int], tuple[Any, ...]], tuple[str, ...]]
"""Numbers that stand for words, what each stands for, and the columns that these words are."""


class EventTable:
    """The events of one experiment as record batches of chosen columns."""

    def __init__(self, reader: ExperimentReader) -> None:
        self._reader, spec = reader, reader.spec
        self._alike = {
            "experiment_id": reader.experiment_id, "experiment_name": spec.name,
            "condition": spec.condition, "tags": list(spec.tags),
        }  # fmt: skip

    def batch(self, some: Slice, names: Sequence[str]) -> pa.RecordBatch:
        """The rows of a slice (at least one) with these columns."""
        wanted = frozenset(names)
        found = self._stored(some.columns, some.rows, wanted)
        found |= self._worded(some.columns, some.rows, wanted)
        if missing := wanted - found.keys():
            found |= _decoded(some, missing)
        schema = pa.schema([EVENTS.field(name) for name in names])
        return pa.record_batch([found[name] for name in names], schema=schema)

    def _stored(self, columns: Columns, at: Rows, names: AbstractSet[str]) -> dict[str, pa.Array]:
        """What the columns and the experiment tell by themselves."""
        n, trials, times_us = len(at), columns.trial[at], columns.timestamp_us[at]
        found = {
            name: as_array([self._alike[name]], EVENTS.field(name).type).take(np.zeros(n, np.int64))
            for name in names & self._alike.keys()
        }
        if names & {"time", "timestamp_us"}:
            found |= {"timestamp_us": pa.array(times_us), "time": pa.array(times_us).cast(_TIME)}
        if "trial" in names:
            found["trial"] = pa.array(trials, _INT, mask=trials == 0)
        for name, (field, divisor) in _FIGURES.items():
            if field in names:
                found[field] = _figure(columns, name, at, divisor)
        return found

    def _worded(self, columns: Columns, at: Rows, names: AbstractSet[str]) -> dict[str, pa.Array]:
        """Words that a number stands for: each is asked for once."""
        found: dict[str, pa.Array] = {}
        for numbers, word, fields in self._numbered(columns):
            if names & set(fields):
                found |= _words(numbers[at], word, fields)
        return found

    def _numbered(self, columns: Columns) -> Iterator[Numbered]:
        reader, shapes = self._reader, columns.shape
        yield columns.outcome, _outcome, ("success", "outcome")
        yield columns.model, reader.model, ("provider", "model")
        yield columns.error, lambda number: (reader.error(number) or None,), ("error_type",)
        seen = np.unique(shapes).tolist()
        if GENERIC_SHAPE not in seen:
            yield shapes, _name, ("event_name", "category")
            # Ids in the metadata of a row come before those of its trial, and have to be looked for.
            if not any(set(IDENTITY).intersection(SHAPES.by_id[one].metadata_keys) for one in seen):
                yield columns.trial, reader.identity, IDENTITY


_FIGURES: Final = {**FIGURES, **{name: (f"{name}_tokens", None) for name in TOKENS}}


def _figure(columns: Columns, name: str, at: Rows, divisor: float | None) -> pa.Array:
    column, kind = getattr(columns, name), _INT if divisor is None else _REAL
    if column is None:
        return pa.nulls(len(at), kind)
    values = column[at]
    return pa.array(
        values if divisor is None else values / divisor, kind, mask=values == FILL[name]
    )


def _outcome(number: int) -> tuple[bool | None, str | None]:
    outcome = Outcome(number)
    return outcome.success, outcome.label


def _name(shape: int) -> tuple[str, str | None]:
    name = SHAPES.by_id[shape].name
    return name, known(name).category


def _words(
    numbers: NDArray[Any], word: Callable[[int], tuple[Any, ...]], fields: Sequence[str]
) -> dict[str, pa.Array]:
    seen, places = np.unique(numbers, return_inverse=True)
    columns = zip(*map(word, seen.tolist()), strict=True)
    return {
        field: as_array(values, EVENTS.field(field).type).take(pa.array(places))
        for field, values in zip(fields, columns, strict=True)
    }


def _decoded(some: Slice, names: AbstractSet[str]) -> dict[str, pa.Array]:
    """What has to be read from the rows."""
    rows, given = some.told()
    given |= {box: list(given[box]) for box in ("measurements", "metadata")}
    if not names <= given.keys():
        told = zip(given["event_name"], given["measurements"], given["metadata"], strict=False)
        given["fields"] = fields = [read_fields(known(e).fields, m, d) for e, m, d in told]
        given |= {name: [of.get(name) for of in fields] for name in names - given.keys()}
    return {
        name: as_array(islice(given[name], len(rows)), EVENTS.field(name).type) for name in names
    }


def trial_batch(table: TrialTable) -> pa.RecordBatch:
    """The trials of one experiment."""
    rows = [
        table.row(one) | {"scores": _numbers(one.scores), "scores_json": one.scores}
        for one in table.records
    ]
    return table_of(rows, TRIALS)


def _numbers(scores: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (utf8(str(name)), real)
        for name, value in scores.items()
        if (real := _real(value)) is not None
    ]


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows by column as Arrow; what a row lacks is null."""
    columns = [as_array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.record_batch(columns, schema=schema)


def as_array(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """Values as an Arrow array of a type; what is not of its kind, or does not fit, is null."""
    if kind == _JSON:
        return pa.ExtensionArray.from_storage(_JSON, pa.array(map(_json, values), _TEXT))
    return pa.array(map(_READ[kind], values), kind)


def _real(value: Any) -> float | None:
    if type(value) is bool:
        return float(value)
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return None


def _int(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


def _json(value: Any) -> str | None:
    return None if value is None else _encode(sayable(value, "", {})).decode()


def _text(value: Any) -> str | None:
    return None if value is None else utf8(value if type(value) is str else str(value))


def _same(value: Any) -> Any:
    return value


_READ: Final[dict[pa.DataType, Callable[[Any], Any]]] = {
    _TEXT: _text, _INT: _int, _REAL: _real, _NUMBERS: _same,
    _BOOL: lambda value: value if type(value) is bool else None,
    _TEXTS: lambda value: value and [utf8(one) for one in value],
}  # fmt: skip
