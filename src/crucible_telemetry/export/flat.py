"""Rows of one shape → values by flat column, as CSV and tables want them. PURE.

Columns of the category first (``loss``, ``consensus`` …), then ``measurements.…`` and ``metadata.…``; None where a
row has no value.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set as AbstractSet
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.fields import read_fields
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import HEADER, SHAPES, Row, Shape, dictionaries
from crucible_telemetry.export.cells import column_name, flattened

BOXES: Final = ("measurements", "metadata")
Column = tuple[str, Sequence[Any]]


def flat_columns(shape: int, rows: list[Row]) -> Iterable[Column]:
    """(name, values) of everything the rows of a shape hold beside the fields that every event has."""
    if shape == GENERIC_SHAPE:
        return generic_columns(rows)
    return shaped_columns(SHAPES.by_id[shape], list(zip(*rows, strict=True))[HEADER:], types_of)


def types_of(values: Sequence[Any]) -> set[type]:
    """The types of some values."""
    return set(map(type, values))


def shaped_columns(
    of: Shape, values: Sequence[Sequence[Any]], types: Callable[[Sequence[Any]], AbstractSet[type]]
) -> Iterator[Column]:
    """The same for the values of a shape's keys, one sequence a key; `types` tells those in a sequence."""
    split = len(of.measurement_keys)
    boxes = (
        dict(zip(of.measurement_keys, values[:split], strict=True)),
        dict(zip(of.metadata_keys, values[split:], strict=True)),
    )
    for field in known(of.name).fields:
        if field.may_be_in(of.keys):
            yield field.name, field.read_columns(*boxes, len(values[0]))
    for name, box in zip(BOXES, boxes, strict=True):
        for key, column in box.items():
            path = f"{name}.{column_name(key)}"
            if dict in types(column):
                yield from _inner(path, column)
            else:
                yield path, column


def _inner(name: str, values: Sequence[Any]) -> Iterator[Column]:
    """The columns of a key under which some rows have dictionaries: a key of these at a time."""
    boxes = values
    if types_of(values) != _BOXES or not all(values):
        boxes = [value if type(value) is dict else {} for value in values]
        plain = [None if box else value for box, value in zip(boxes, values, strict=True)]
        if any(value is not None for value in plain):
            yield name, plain
    keys = list(dict.fromkeys(chain.from_iterable(boxes)))
    if not all(type(key) is str for key in keys):
        found = _odd(name, values)
        yield from ((path, column) for path, column in found.items() if path != name)
        return
    for key, column in zip(keys, _of_boxes(keys, boxes), strict=True):
        path = f"{name}.{column_name(key)}"
        if dict in types_of(column):
            yield from _inner(path, column)
        else:
            yield path, column


_BOXES: Final = {dict}


def _of_boxes(keys: Sequence[str], boxes: Sequence[dict[str, Any]]) -> Iterable[Sequence[Any]]:
    """The values of dictionaries by key; most have all of the keys."""
    if len(keys) == 1:
        return [[box.get(keys[0]) for box in boxes]]
    try:
        return zip(*map(itemgetter(*keys), boxes), strict=True)
    except (KeyError, TypeError):  # not all have all, or there is none
        return [[box.get(key) for box in boxes] for key in keys]


def _odd(name: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """The same where keys are no texts, and may read alike."""
    columns: dict[str, list[Any]] = {}
    for at, value in enumerate(values):
        inner = flattened(name, value) if type(value) is dict and value else ((name, value),)
        for column, item in inner:
            columns.setdefault(column, [None] * len(values))[at] = item
    return columns


def generic_columns(rows: list[Row]) -> Iterable[Column]:
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
