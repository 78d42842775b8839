"""Shapes and rows: how an event is encoded once, at emit. PURE.

A *shape* is (name, measurement keys, metadata keys), interned at first sight; a *row* is the msgpack
array ``[at_us, shape, trial, link, *measurement values, *metadata values]``. Bytes are a true snapshot,
are not walked by the garbage collector, and carry no key twice (measured: 62 bytes where the same event
with its keys takes 138, and half the decoding time of two dictionaries).

The table is bounded: beyond `MAX_SHAPES` spellings an event travels under `GENERIC_SHAPE`, its row
carrying name and dictionaries.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import msgspec

from crucible_telemetry.events.event import GENERIC_SHAPE, event_name
from crucible_telemetry.events.odd import MAX_KEY, encode_hook, plain_key, plain_mapping

MAX_SHAPES: Final = 4096
HEADER: Final = 4
"""Items of a row before its values: at_us, shape, trial, link."""

Row = list[Any]
"""A decoded row."""

Contents = tuple[list[str], Iterable[dict[str, Any]], Iterable[dict[str, Any]]]

Link = tuple[int | None, int | None, int | str, bool]
"""(span id, parent span id, trace, wraps): where an event hangs in the tree of spans.

The trace is the root span's id, or the 32 hexadecimal digits of one that came from elsewhere.
"""

ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=encode_hook, decimal_format="number")
encode: Final = ENCODER.encode
_decode: Final = msgspec.msgpack.Decoder().decode


class Shape:
    """What all events of one spelling share. Immutable once published."""

    __slots__ = ("id", "keys", "measurement_keys", "metadata_keys", "name")

    def __init__(
        self,
        number: int,
        name: str,
        measurement_keys: tuple[str, ...],
        metadata_keys: tuple[str, ...],
    ) -> None:
        self.id = number
        self.name = name
        self.measurement_keys = measurement_keys
        self.metadata_keys = metadata_keys
        self.keys = measurement_keys + metadata_keys


class ShapeTable:
    """Every shape of the process. Lookups and interning take no lock: an emit may interrupt an emit.

    `by_key` maps ``(event, *measurement keys, None, *metadata keys)`` to the shape's id; the event is
    as the caller spelled it (string or tuple), so that the hot path does no conversion.
    """

    __slots__ = ("_by_meaning", "_numbers", "by_id", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[tuple[Any, ...], int] = {}
        self.by_id: dict[int, Shape] = {GENERIC_SHAPE: Shape(GENERIC_SHAPE, "", (), ())}
        self._by_meaning: dict[tuple[Any, ...], Shape] = {}
        self._numbers = itertools.count(GENERIC_SHAPE + 1)

    def intern(self, event: object, measurement_keys: Any, metadata_keys: Any) -> Shape | None:
        """The shape of this spelling, made when it is new; None when it must travel as generic."""
        known = self._known(event, measurement_keys, metadata_keys)
        return known or self._learnt(event, measurement_keys, metadata_keys)

    def _known(self, event: object, measurement_keys: Any, metadata_keys: Any) -> Shape | None:
        if type(event) is not str:
            return None
        try:
            return self.by_id[self.by_key[(event, *measurement_keys, None, *metadata_keys)]]
        except Exception:  # noqa: BLE001 - it is new, or a key cannot be looked up
            return None

    def _learnt(self, event: object, measurement_keys: Any, metadata_keys: Any) -> Shape | None:
        name = event_name(event)
        # Both: a name that is no text has a shape, but no quick way to it.
        full = len(self.by_key) >= MAX_SHAPES or len(self.by_id) > MAX_SHAPES
        if full or not all(map(_keepable, (name, *measurement_keys, *metadata_keys))):
            return None
        meaning = (name, *measurement_keys, None, *metadata_keys)
        shape = self._by_meaning.get(meaning)
        if shape is None:
            made = Shape(next(self._numbers), name, tuple(measurement_keys), tuple(metadata_keys))
            # Readers find the id only after the shape behind it: published in this order.
            self.by_id[made.id] = made
            shape = self._by_meaning.setdefault(meaning, made)
        # Only what equals nothing of another name: (1, "a") and (True, "a") are one key.
        if type(event) is str or (type(event) is tuple and {str}.issuperset(map(type, event))):
            self.by_key.setdefault((event, *measurement_keys, None, *metadata_keys), shape.id)
        return shape


def _keepable(text: object) -> bool:
    """Whether a name or key may stay in memory for good, and be written to any file."""
    if type(text) is not str or len(text) > MAX_KEY:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


SHAPES: Final = ShapeTable()


def encode_row(
    at_us: int, event: object, measurements: object, metadata: object, trial: int, link: Link | None
) -> tuple[bytes, str]:
    """The careful way to a row, for whatever the quick way in `bus` could not take; never raises on data.

    Returns the row and the event's name.
    """
    numbers, words = plain_mapping(measurements), plain_mapping(metadata)
    shape = SHAPES.intern(event, numbers, words)
    if shape is not None:
        try:
            row = encode((at_us, shape.id, trial, link, *numbers.values(), *words.values()))
            return row, shape.name
        except Exception:  # noqa: BLE001 - any value may raise anything; the next line replaces it
            numbers, words = plain_mapping(numbers, deep=True), plain_mapping(words, deep=True)
            row = encode((at_us, shape.id, trial, link, *numbers.values(), *words.values()))
            return row, shape.name
    name = plain_key(event_name(event))
    numbers, words = plain_mapping(numbers, deep=True), plain_mapping(words, deep=True)
    return encode((at_us, GENERIC_SHAPE, trial, link, name, numbers, words)), name


def decode_rows(rows: list[bytes]) -> list[Row]:
    """Rows as lists of values: one call for the batch (341 ns a row; one by one it is 700)."""
    head = b"\xdd" + len(rows).to_bytes(4, "big")
    decoded: list[Row] = _decode(head + b"".join(rows))
    return decoded


def dictionaries(row: Row) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(name, measurements, metadata) of a decoded row."""
    shape = SHAPES.by_id[row[1]]
    if shape.id == GENERIC_SHAPE:
        return row[4], row[5], row[6]
    split = HEADER + len(shape.measurement_keys)
    return (
        shape.name,
        dict(zip(shape.measurement_keys, row[HEADER:split], strict=True)),
        dict(zip(shape.metadata_keys, row[split:], strict=True)),
    )


def contents(rows: Sequence[Row]) -> Contents:
    """Names, measurements and metadata of decoded rows: `dictionaries`, a shape at a time.

    Dictionaries of rows of one shape are made as they are asked for.
    """
    places: defaultdict[int, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row[1]].append(place)
    if len(places) == 1 and GENERIC_SHAPE not in places:
        return _of_shape(SHAPES.by_id[rows[0][1]], rows)
    names: list[str] = [""] * len(rows)
    measurements: list[dict[str, Any]] = [{}] * len(rows)
    metadata: list[dict[str, Any]] = [{}] * len(rows)
    for number, at in places.items():
        found = _of_shape(SHAPES.by_id[number], [rows[i] for i in at])
        for i, name, numbers, words in zip(at, *found, strict=True):
            names[i], measurements[i], metadata[i] = name, numbers, words
    return names, measurements, metadata


def _of_shape(shape: Shape, rows: Sequence[Row]) -> Contents:
    if shape.id == GENERIC_SHAPE:
        return [row[4] for row in rows], [row[5] for row in rows], [row[6] for row in rows]
    split = HEADER + len(shape.measurement_keys)
    numbers = map(zip, repeat(shape.measurement_keys), (row[HEADER:split] for row in rows))
    words = map(zip, repeat(shape.metadata_keys), (row[split:] for row in rows))
    return [shape.name] * len(rows), map(dict, numbers), map(dict, words)


def recode(
    row: Row, measurements: Mapping[str, Any], metadata: Mapping[str, Any], name: str
) -> bytes:
    """The row again with other values, under the shape they now have."""
    return encode_row(row[0], name, measurements, metadata, row[2], _link(row[3]))[0]


def _link(value: Any) -> Link | None:
    return None if value is None else tuple(value)
