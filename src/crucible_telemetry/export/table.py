"""CSV: a header, then one event a line, cell by cell as `cells` has it. PURE.

Comma, double quotes, a line feed behind each line, UTF-8 without a mark (RFC 4180 but for the line feed).
Cells are made a column at a time, for rows of one shape together.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np

from crucible_telemetry.events.columns import RANK_SHIFT, RANKS
from crucible_telemetry.events.event import GENERIC_SHAPE, Event
from crucible_telemetry.events.known import known
from crucible_telemetry.export.cells import cell, cells, column_name, flattened
from crucible_telemetry.export.columns import BOXES, FLAGS, OF_EVENT, RANK
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import utf8

_ATTRIBUTES: Final = (*OF_EVENT, *BOXES)


def header(names: Sequence[str]) -> bytes:
    """The first line."""
    return _bytes(",".join(map(cell, names)) + "\n")


def row_line(names: Sequence[str], row: dict[str, Any]) -> bytes:
    """The line of one row given by column."""
    return _bytes(",".join([cell(row.get(name)) for name in names]) + "\n")


class Table:
    """Writes the lines of events with these columns."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._places = {name: at for at, name in enumerate(self.names)}
        self._own = [name for name in self.names if name in _ATTRIBUTES]
        self._others = frozenset(self.names) - set(_ATTRIBUTES) - set(FLAGS) - {RANK}

    def lines(self, some: Slice) -> bytes:
        """The events of a slice as lines."""
        shapes = some.columns.shape[some.rows]
        flags = some.columns.flags[some.rows]
        written: list[str] = [""] * len(shapes)
        for shape in np.unique(shapes).tolist():
            at = np.flatnonzero(shapes == shape).tolist()
            # Rows of the generic shape have keys of their own, so each is a group of its own.
            for places in [[i] for i in at] if shape == GENERIC_SHAPE else [at]:
                events = [some.events[i] for i in places]
                for i, line in zip(places, self._group(events, flags[places]), strict=True):
                    written[i] = line
        return _bytes("\n".join(written) + "\n")

    def _group(self, events: list[Event], flags: Any) -> list[str]:
        nothing = [""] * len(events)
        columns = [nothing] * len(self.names)
        for name, values in self._attributes(events):
            columns[self._places[name]] = cells(values)
        for name, values in _flag_columns(flags):
            if name in self._places:
                columns[self._places[name]] = values
        if self._others:
            for name, values in self._found(events):
                if name in self._others:
                    columns[self._places[name]] = values
        return list(map(",".join, zip(*columns, strict=True)))

    def _attributes(self, events: list[Event]) -> list[tuple[str, Sequence[Any]]]:
        if len(self._own) < 2:
            return [(name, [getattr(event, name) for event in events]) for name in self._own]
        return list(
            zip(self._own, zip(*map(attrgetter(*self._own), events), strict=True), strict=True)
        )

    def _found(self, events: list[Event]) -> list[tuple[str, list[str]]]:
        """Columns of categories and keys, which all events here share."""
        found: list[tuple[str, list[str]]] = []
        first = events[0]
        keys = first.measurements.keys() | first.metadata.keys()
        for field in known(first.event_name).fields:
            if field.name in self._others and field.may_be_in(keys):
                read = [field.read(event.measurements, event.metadata) for event in events]
                found.append((field.name, cells(read)))
        for box in BOXES:
            boxes = [getattr(event, box) for event in events]
            for key, values in zip(
                boxes[0], zip(*map(dict.values, boxes), strict=True), strict=True
            ):
                found += _key_columns(f"{box}.{column_name(key)}", values)
        return found


def _key_columns(name: str, values: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """The columns of one key: its own, and those of the dictionaries some rows have in it."""
    if dict not in set(map(type, values)):
        return [(name, cells(values))]
    columns: dict[str, list[str]] = {name: [""] * len(values)}
    for at, value in enumerate(values):
        inner = flattened(name, value) if type(value) is dict and value else ((name, value),)
        for column, item in inner:
            columns.setdefault(column, [""] * len(values))[at] = cell(item)
    return list(columns.items())


def _flag_columns(flags: Any) -> list[tuple[str, list[str]]]:
    found = [
        (name, ["true" if one else "" for one in (flags & bit).tolist()])
        for name, bit in FLAGS.items()
    ]
    ranks = ((flags & RANKS) >> RANK_SHIFT).tolist()
    return [*found, (RANK, [str(rank) if rank else "" for rank in ranks])]


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # names, tags and items are as users gave them
        return utf8(text).encode()
