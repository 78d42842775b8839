"""The columns of a flat file: those every event has, those of categories, and the union of all keys. PURE.

In this order: the fields of `Event`; ``ends llm wraps marked`` and ``rank`` (what it counts as, see
`events.columns`); fields of categories (``loss``, ``consensus`` …); then ``measurements.…`` and ``metadata.…`` as they
were first seen.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import numpy as np
from msgspec.structs import fields
from numpy.typing import NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.columns import (
    ENDS,
    LLM,
    MARKED,
    MISSING,
    NANO,
    RANK_SHIFT,
    RANKS,
    WRAPS,
    Columns,
)
from crucible_telemetry.events.event import GENERIC_SHAPE, Event
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import HEADER, SHAPES, decode_rows, dictionaries
from crucible_telemetry.export.cells import column_name, flattened
from crucible_telemetry.export.flat import BOXES
from crucible_telemetry.export.walk import Slice

FLAGS: Final = {"ends": ENDS, "llm": LLM, "wraps": WRAPS, "marked": MARKED}
RANK: Final = "rank"
OF_EVENT: Final = tuple(field.name for field in fields(Event) if field.name not in BOXES)
FIXED: Final = (*OF_EVENT, *FLAGS, RANK)
EXACT: Final = "exact"
"""Where a file has the integers of figures whose milliseconds or dollars do not lead back to them."""
FLOAT_EXACT: Final = 2**51
"""Below it an integer / 1e6 or / 1e12 leads back to the integer: two roundings err by less than a half."""
MAX_COLUMNS: Final = 16_384
_PATHS: Final = tuple(f"{box}." for box in BOXES)


def counted_as(flags: int) -> dict[str, Any]:
    """The flags of an event as the fields a file has for them; those that do not hold are left out."""
    found: dict[str, Any] = {name: True for name, bit in FLAGS.items() if flags & bit}
    rank = (flags & RANKS) >> RANK_SHIFT
    return found | ({RANK: rank} if rank else {})


def flags_of(row: dict[str, Any]) -> int:
    """The flags that `counted_as` wrote."""
    rank = row.get(RANK)
    bits = sum(bit for name, bit in FLAGS.items() if row.get(name) is True)
    return bits | ((rank << RANK_SHIFT) & RANKS if type(rank) is int else 0)


def exact_figures(columns: Columns, at: NDArray[np.intp]) -> dict[int, dict[str, int]]:
    """By place in `at`, the figures too large for a float of ms or dollars, as the integers they are."""
    found: dict[int, dict[str, int]] = {}
    for name in NANO:
        column = getattr(columns, name)
        if column is None:
            continue
        values = column[at]
        for row in np.flatnonzero((values >= FLOAT_EXACT) & (values != MISSING)).tolist():
            found.setdefault(row, {})[name] = int(values[row])
    return found


class Union:
    """The names of all columns seen so far beyond the fixed ones, in order."""

    def __init__(self) -> None:
        self.categories: dict[str, None] = {}
        self.keys: dict[str, None] = {}
        self.made: dict[str, None] = {}
        """Columns of rows that transformers made."""
        self.events = 0
        self._settled: set[int] = set()

    @property
    def names(self) -> list[str]:
        """Every column, in order."""
        return [*FIXED, *self.categories, *self.keys]

    def add(self, some: Slice) -> None:
        """Take in the rows of a slice, shape by shape; no event is made."""
        self.events += len(some.rows)
        shapes = some.columns.shape[some.rows]
        payload = some.payload
        for shape in np.unique(shapes).tolist():
            at = np.flatnonzero(shapes == shape).tolist()
            rows = decode_rows([payload[i] for i in at])
            if shape == GENERIC_SHAPE:
                for row in rows:
                    self._add_one(*dictionaries(row))
            else:
                self._add_shape(shape, rows)

    def add_names(self, names: Iterable[str]) -> None:
        """Take in flat columns beside the fixed ones."""
        for name in names:
            of = self.keys if name.startswith(_PATHS) else self.categories
            of.setdefault(name)

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Take in a row by column that a transformer made."""
        self.made.update(dict.fromkeys(row))

    def check_size(self) -> None:
        """`ConfigurationError` when a file of all columns would be more commas than values."""
        if len(self.keys) > MAX_COLUMNS:
            raise ConfigurationError(
                "columns",
                f"more than {MAX_COLUMNS:,} different keys, the last {next(reversed(self.keys))!r}: "
                "choose columns=, or write .jsonl",
            )

    def _add_shape(self, number: int, rows: list[list[Any]]) -> None:
        shape = SHAPES.by_id[number]
        if number not in self._settled:
            self._settled.add(number)
            self._add_category(shape.name, frozenset(shape.keys))
        split = len(shape.measurement_keys)
        for i, values in enumerate(list(zip(*rows, strict=True))[HEADER:]):
            name = f"{BOXES[i >= split]}.{column_name(shape.keys[i])}"
            boxes = (
                [v for v in values if type(v) is dict and v] if dict in map(type, values) else []
            )
            if len(boxes) < len(values):
                self.keys.setdefault(name)
            for box in boxes:
                self.keys.update((key, None) for key, _ in flattened(name, box))

    def _add_one(self, name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        self._add_category(name, measurements.keys() | metadata.keys())
        for box, values in zip(BOXES, (measurements, metadata), strict=True):
            self.keys.update((key, None) for key, _ in flattened(box, values))

    def _add_category(self, name: str, keys: Collection[str]) -> None:
        names = (field.name for field in known(name).fields if field.may_be_in(keys))
        self.categories.update(dict.fromkeys(n for n in names if n not in FIXED))


def flat_row(event: Event, flags: int) -> dict[str, Any]:
    """Everything an event says, by column; what it lacks is left out."""
    row = {name: value for name in OF_EVENT if (value := getattr(event, name)) is not None}
    row |= counted_as(flags)
    row |= {name: value for name, value in event.fields.items() if name not in FIXED}
    for box in BOXES:
        row.update(flattened(box, getattr(event, box)))
    return row


def check_columns(
    option: str,
    wanted: Iterable[str],
    known_names: Iterable[str],
    of: str,
    open_under: tuple[str, ...],
) -> None:
    """`ConfigurationError` names a column that none `of` them (``"event"``) has, the `option` that asks for it, and the nearest there are.

    What begins as `open_under` says may be: where there is nothing to see, any path into a box.
    """
    names = set(known_names)
    for name in wanted:
        if name in names or name.startswith(open_under):
            continue
        near = ", ".join(difflib.get_close_matches(name, names, 3)) or ", ".join(sorted(names)[:8])
        raise ConfigurationError(option, f"no {of} has {name!r}; near it: {near}")
