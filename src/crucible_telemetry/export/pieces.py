"""Slices of events → what their rows hold, as Arrow arrays by flat column and shape: each row is decoded once.

What kinds of values a key has is seen with the first rows and asked for outright of the next, which decodes in
two thirds of the time and checks them in the same step. Kinds and their joining: see `export.kinds`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from functools import reduce
from itertools import repeat
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, IDENTITY
from crucible_telemetry.events.known import known
from crucible_telemetry.events.scope import trace_hex
from crucible_telemetry.events.shape import HEADER, SHAPES, Shape, dictionaries
from crucible_telemetry.export.cells import json_texts
from crucible_telemetry.export.columns import FIXED
from crucible_telemetry.export.flat import (
    BOXES,
    Column,
    generic_columns,
    shaped_columns,
    types_of,
)
from crucible_telemetry.export.kinds import Held, held, whole_held
from crucible_telemetry.export.stored import TEXT, TEXTS
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import utf8

NUMBER: Final = pa.struct({"value": pa.float64(), "whole": pa.bool_()})
TYPES: Final = {
    "bool": pa.bool_(), "int": pa.int64(), "uint": pa.uint64(), "float": pa.float64(), "number": NUMBER,
    "text": TEXT, "none": TEXT, "bytes": pa.binary(), "texts": TEXTS, "json": TEXT,
}  # fmt: skip
"""Arrow types by kind."""
Types = Callable[[Sequence[Any]], AbstractSet[type]]
_FIXED: Final = frozenset(FIXED)
_IDS: Final = frozenset(IDENTITY)
_POSITIONS: Final = frozenset({"repeat", "attempt"})
_NONE: Final = frozenset({type(None)})
_ALIKE: Final = ({int}, {str}, {bool})
_ASKED: Final = frozenset({int, str, bool, bytes, type(None)})
_decode: Final = msgspec.msgpack.Decoder().decode


class Piece(NamedTuple):
    """Values of one column of some rows ``(n,)``."""

    array: Any
    held: Held


class Rows(NamedTuple):
    """What some rows hold."""

    at: NDArray[np.intp]
    """Where they are among those of their group ``(n,)``."""
    names: Sequence[str]
    """Every flat column they have, wanted or not: fields of categories, then keys."""
    pieces: dict[str, Piece]
    """Values by column."""


def piece_of(values: Sequence[Any], types: AbstractSet[type]) -> Piece:
    """Values of these types as an array."""
    first = values[0]
    if types in _ALIKE and first == values[-1] and values.count(first) == len(values):
        found = held(values[:1], types)
        return Piece(pa.repeat(_array(values[:1], found.kind)[0], len(values)), found)
    if types - _NONE == {int}:
        return _integers(values, types)
    found = held(values, types)
    return Piece(_array(values, found.kind), found)


def _integers(values: Sequence[Any], types: AbstractSet[type]) -> Piece:
    try:
        array = pa.array(values, pa.int64())
    except OverflowError:
        found = held(values, types)
        return Piece(_array(values, found.kind), found)
    low, high = pc.min_max(array).values()
    if not low.is_valid:
        return Piece(pa.nulls(len(values), TEXT), Held())
    return Piece(array, whole_held(low.as_py(), high.as_py()))


def _array(values: Sequence[Any], kind: str) -> Any:
    if kind == "none":
        return pa.nulls(len(values), TEXT)
    if kind == "number":
        whole = [type(value) is int for value in values]
        return pa.StructArray.from_arrays(
            [pa.array(values, pa.float64()), pa.array(whole)], fields=list(NUMBER)
        )
    if kind == "json":
        return pa.array(json_texts(values), TEXT)
    try:
        return pa.array(values, TYPES[kind])
    except UnicodeEncodeError:  # what transformers made
        return pa.array(_sayable(values), TYPES[kind])


def _sayable(values: Sequence[Any]) -> list[Any]:
    return [
        [utf8(one) for one in value] if type(value) is tuple else value and utf8(value)
        for value in values
    ]


def as_kind(array: Any, kind: str, to: str) -> Any:
    """An array of one kind as one that others are in too."""
    if kind == to:
        return array
    if kind == "none":
        return pa.nulls(len(array), TYPES[to])
    if to == "json":
        return pa.array(json_texts(_values(array, kind)), TEXT)
    if kind == "number":
        return pc.struct_field(array, "value")
    if to == "number":
        whole = pa.repeat(pa.scalar(value=kind == "int"), len(array))
        fields = list(NUMBER)
        return pa.StructArray.from_arrays([array.cast(pa.float64()), whole], fields=fields)
    return array.cast(TYPES[to])


def _values(array: Any, kind: str) -> list[Any]:
    if kind != "number":
        return list(array.to_pylist())
    pairs = ((pair or {"value": None}) for pair in array.to_pylist())
    return [
        int(pair["value"]) if pair["value"] is not None and pair["whole"] else pair["value"]
        for pair in pairs
    ]


class Cutter:
    """Cuts slices into the values of columns: those `wanted`, or all."""

    def __init__(self, wanted: AbstractSet[str] | None) -> None:
        self._wanted = wanted
        self._decoders: dict[int, _Decoder] = {}

    def cut(self, some: Slice, start: int) -> Iterator[Rows]:
        """The rows of a slice, the first of which is the `start`-th of its group, a shape at a time."""
        shapes = some.columns.shape[some.rows]
        first = int(shapes[0])
        alike = bool((shapes == first).all())
        for shape in (first,) if alike else dict.fromkeys(shapes.tolist()):
            at = np.arange(len(shapes)) if alike else np.flatnonzero(shapes == shape)
            rows = some.rows[at]
            read = self._generic if shape == GENERIC_SHAPE else self._shaped
            yield Rows(at + start, *read(shape, some.columns, rows))

    def _shaped(
        self, number: int, columns: Columns, at: NDArray[np.intp]
    ) -> tuple[list[str], dict[str, Piece]]:
        decoder = self._decoders.get(number)
        if decoder is None:
            decoder = self._decoders[number] = _Decoder(SHAPES.by_id[number])
        of = decoder.shape
        links, values, types = decoder.columns(_blob(columns, at), len(at))
        names, found = self._flat(shaped_columns(of, values, types), types)
        words = dict(zip(of.metadata_keys, values[len(of.measurement_keys) :], strict=True))
        told: dict[str, Sequence[Any]] = _own_ids(words)
        if self._wanted is not None and not self._wanted.isdisjoint(BOXES):
            numbers = dict(zip(of.measurement_keys, values, strict=False))
            boxes = (_boxes(numbers, len(at)), _boxes(words, len(at)))
            told |= dict(zip(BOXES, boxes, strict=True))
        return names, found | self._pieces(told | _linked(links))

    def _generic(
        self, _: int, columns: Columns, at: NDArray[np.intp]
    ) -> tuple[list[str], dict[str, Piece]]:
        rows = columns.decoded(at)
        names, found = self._flat(generic_columns(rows), types_of)
        events, numbers, words = zip(*map(dictionaries, rows), strict=True)
        told: dict[str, Sequence[Any]] = {
            "event_name": events,
            "category": [known(name).category for name in events],
            **_own_ids({name: [of.get(name) for of in words] for name in IDENTITY}),
            **_linked([row[3] for row in rows]),
        }
        if self._wanted is not None:
            told |= dict(zip(BOXES, (numbers, words), strict=True))
        return names, found | self._pieces(told)

    def _flat(self, columns: Iterable[Column], types: Types) -> tuple[list[str], dict[str, Piece]]:
        names = []
        found: dict[str, Piece] = {}
        made: dict[int, tuple[Sequence[Any], Piece]] = {}
        for name, values in columns:
            if name in _FIXED:
                continue
            names.append(name)
            if self._wanted is None or name in self._wanted:
                if id(values) not in made:  # a field of a category is often a key as it stands
                    made[id(values)] = values, piece_of(values, types(values))
                found[name] = made[id(values)][1]
        return names, found

    def _pieces(self, told: Mapping[str, Sequence[Any] | Piece]) -> dict[str, Piece]:
        return {
            name: values if isinstance(values, Piece) else piece_of(values, types_of(values))
            for name, values in told.items()
            if self._wanted is None or name in self._wanted
        }


class _Decoder:
    """Decodes rows of one shape; asks for the types that were seen so far."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._types: list[set[type]] = [set() for _ in shape.keys]
        self._typed: Any = None

    def columns(self, blob: bytes, count: int) -> tuple[Sequence[Any], list[Any], Types]:
        """(links, values by key, what tells the types in a column) of `count` rows."""
        data = b"\xdd" + count.to_bytes(4, "big") + blob
        try:
            rows = None if self._typed is None else self._typed(data)
        except msgspec.ValidationError:
            rows = None
        if rows is None:
            rows = _decode(data)
            self._learn(rows)
        _, _, _, links, *values = zip(*rows, strict=True)
        alone = {
            id(column): types
            for column, types in zip(values, self._types, strict=True)
            if types <= _NONE or _is_asked_for(types)
        }
        return links, values, lambda column: alone.get(id(column)) or types_of(column)

    def _learn(self, rows: list[Any]) -> None:
        columns = list(zip(*rows, strict=True))[HEADER:]
        for types, column in zip(self._types, columns, strict=True):
            types.update(types_of(column))
        asked = (int, int, int, Any, *map(_annotation, self._types))
        row: Any = tuple.__class_getitem__(asked)
        self._typed = msgspec.msgpack.Decoder(list[row]).decode


def _is_asked_for(types: AbstractSet[type]) -> bool:
    return len(types - _NONE) < 2 and types <= _ASKED


def _annotation(types: AbstractSet[type]) -> Any:
    """One type, or none: what else there is, and floats, which would take integers in, is looked at each time."""
    if not types or not _is_asked_for(types):
        return Any
    return reduce(or_, [None if one is type(None) else one for one in sorted(types, key=repr)])


def _blob(columns: Columns, at: NDArray[np.intp]) -> bytes:
    """Rows one after the other."""
    offsets = columns.payload.offsets
    if int(at[-1]) - int(at[0]) + 1 == len(at) and (len(at) < 3 or bool((np.diff(at) == 1).all())):
        return columns.payload.blob[int(offsets[at[0]]) : int(offsets[at[-1] + 1])]
    return b"".join(columns.payload.some(at))


def _boxes(columns: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
    """Dictionaries again, for who asks for a whole box."""
    rows = zip(*columns.values(), strict=True) if columns else repeat((), count)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _own_ids(metadata: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Ids that stand in the metadata, as `collect.read_back` takes them; None where the trial tells."""
    return {
        name: [
            value if type(value) is int and -(2**63) <= value < 2**63 else None for value in values
        ]
        if name in _POSITIONS
        else [str(value) if type(value) in (str, int) else None for value in values]
        for name, values in metadata.items()
        if name in _IDS
    }


def _linked(links: Sequence[Any]) -> dict[str, Any]:
    """Where the events hang in the tree of spans."""
    if not any(links):
        return {}
    none = (None, None, None, False)
    spans, parents, traces, _ = zip(*(link or none for link in links), strict=True)
    known_traces = {trace: trace_hex(trace) for trace in set(traces)}
    return {
        "span_id": _hex(spans),
        "parent_id": _hex(parents),
        "trace_id": [known_traces[trace] for trace in traces],
    }


def _hex(spans: Sequence[int | None]) -> Piece:
    """Span ids as 16 hexadecimal digits, all at once: `events.scope.span_hex`."""
    numbers = np.array([span or 0 for span in spans], ">u8")
    missing = numbers == 0
    data = pa.py_buffer(numbers.tobytes().hex().encode())
    offsets = pa.py_buffer(np.arange(0, 16 * len(spans) + 1, 16, dtype=np.int32))
    valid = pa.array(~missing).buffers()[1] if missing.any() else None
    array = pa.StringArray.from_buffers(len(spans), offsets, data, valid)
    return Piece(array, Held("none" if missing.all() else "text"))
