"""Events, trials and experiments as Arrow, for SQL: fixed columns, and of these only those that are asked for.

Words, times and figures come from the stored columns, without decoding a row; keys of measurements and
metadata, ids, spans and fields of categories are decoded when a query names them. Shapes are all ``(n,)``.
"""

from collections.abc import Callable, Iterable, Sequence, Set as AbstractSet
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from crucible_telemetry.collect.read_back import FIGURES
from crucible_telemetry.events.columns import TOKENS, Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, IDENTITY, CategoryField, Event
from crucible_telemetry.events.fields import FIELDS, read_fields
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import SHAPES
from crucible_telemetry.export.stored import TOLD, stored, together
from crucible_telemetry.export.trials import TrialTable
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import sayable, utf8
from crucible_telemetry.garbage import uncollected

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


@uncollected
def event_batch(some: Slice, names: Sequence[str]) -> pa.RecordBatch:
    """The rows of a slice (at least one) as a record batch of chosen columns."""
    wanted = frozenset(names)
    told = wanted & TOLD - _carried(some)
    columns = together([(some.columns, some.rows)])
    seqs = some.reader.seqs(some.columns, some.rows)
    found = stored(some.reader, columns, seqs, told) | _placed(columns, wanted)
    if missing := wanted - told - _PLACED:
        found |= _decoded(some, missing)
    schema = pa.schema([EVENTS.field(name) for name in names])
    arrays = [_as_type(found.get(field.name), field.type, len(some.rows)) for field in schema]
    return pa.record_batch(arrays, schema=schema)


_PLACED: Final = frozenset({"time", "trial"})


def _placed(columns: Columns, wanted: AbstractSet[str]) -> dict[str, pa.Array]:
    """When and in which trial the events were."""
    found = {}
    if "time" in wanted:
        found["time"] = pa.array(columns.timestamp_us).cast(_TIME)
    if "trial" in wanted:
        found["trial"] = pa.array(columns.trial, _INT, mask=columns.trial == 0)
    return found


def _carried(some: Slice) -> frozenset[str]:
    """Fields that have to be looked for in the rows: names of generic ones, ids that stand in the metadata."""
    shapes = np.unique(some.columns.shape[some.rows]).tolist()
    if GENERIC_SHAPE in shapes:
        return _IN_ROWS
    keys = {key for shape in shapes for key in SHAPES.by_id[shape].metadata_keys}
    return _IN_ROWS if not keys.isdisjoint(IDENTITY) else frozenset()


_IN_ROWS: Final = frozenset({"event_name", "category", *IDENTITY})


def _as_type(array: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if array is None:
        return pa.nulls(rows, kind)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


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
