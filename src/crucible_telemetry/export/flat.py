"""Rows of one shape → values by flat column, as CSV and tables want them. PURE.

Columns of the category first (``loss``, ``consensus`` …), then ``measurements.…`` and ``metadata.…``; None where a
row has no value.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.fields import read_fields
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import HEADER, SHAPES, Row, dictionaries
from crucible_telemetry.export.cells import column_name, flattened

BOXES: Final = ("measurements", "metadata")
Column = tuple[str, Sequence[Any]]


def flat_columns(shape: int, rows: list[Row]) -> Iterable[Column]:
    """(name, values) of everything the rows of a shape hold beside the fields that every event has."""
    return _generic(rows) if shape == GENERIC_SHAPE else _shaped(shape, rows)


def _shaped(shape: int, rows: list[Row]) -> Iterator[Column]:
    of = SHAPES.by_id[shape]
    values = list(zip(*rows, strict=True))[HEADER:]
    split = len(of.measurement_keys)
    boxes = (
        dict(zip(of.measurement_keys, values[:split], strict=True)),
        dict(zip(of.metadata_keys, values[split:], strict=True)),
    )
    for field in known(of.name).fields:
        if field.may_be_in(of.keys):
            yield field.name, field.read_columns(*boxes, len(rows))
    for name, box in zip(BOXES, boxes, strict=True):
        for key, column in box.items():
            yield from _of_key(f"{name}.{column_name(key)}", column)


def _of_key(name: str, values: Sequence[Any]) -> Iterable[Column]:
    """The columns of one key: its own, and those of the dictionaries some rows have in it."""
    if dict not in set(map(type, values)):
        return [(name, values)]
    columns: dict[str, list[Any]] = {name: [None] * len(values)}
    for at, value in enumerate(values):
        inner = flattened(name, value) if type(value) is dict and value else ((name, value),)
        for column, item in inner:
            columns.setdefault(column, [None] * len(values))[at] = item
    return columns.items()


def _generic(rows: list[Row]) -> Iterable[Column]:
    """The same for rows that have keys of their own, one by one."""
    columns: dict[str, list[Any]] = {}
    for at, row in enumerate(rows):
        event, numbers, words = dictionaries(row)
        said = dict(read_fields(known(event).fields, numbers, words))
        for name, box in zip(BOXES, (numbers, words), strict=True):
            said |= flattened(name, box)
        for name, value in said.items():
            columns.setdefault(name, [None] * len(rows))[at] = value
    return columns.items()
