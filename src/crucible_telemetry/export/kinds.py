"""Which kind of values each column holds, over all events: what a table with types has to know first. PURE.

======  ==================================================================================
kind    a column of
======  ==================================================================================
bool    booleans
int     integers of 64 bits
uint    integers that need the 64th bit, none below zero
float   floats; floats and integers up to 2⁵³ (an integer comes back as a float then)
text    texts; nothing at all
bytes   bytes
texts   lists of texts: the tags
json    everything else, and kinds mixed: each value as JSON text (see `cells.json_text`)
======  ==================================================================================
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import fields

from crucible_telemetry.events.event import Event
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import SHAPES
from crucible_telemetry.export.columns import FIXED, FLAGS, RANK, Union
from crucible_telemetry.export.flat import BOXES, flat_columns

_EXACT: Final = 2**53
_ALONE: Final = {bool: "bool", float: "float", str: "text", bytes: "bytes", tuple: "texts"}
_DECLARED: Final = {int: "int", float: "float", bool: "bool", str: "text"}


def _declared() -> dict[str, str]:
    """The kinds of the fields that every event has, as `Event` declares them."""
    found = {}
    for field in fields(Event):
        options = getattr(field.type, "__args__", (field.type,))
        kinds = [kind for option, kind in _DECLARED.items() if option in options]
        found[field.name] = "texts" if field.name == "tags" else (*kinds, "json")[0]
    return found | dict.fromkeys(FLAGS, "bool") | dict.fromkeys(BOXES, "json") | {RANK: "int"}


DECLARED: Final = _declared()


class Seen:
    """What was seen of one column's values."""

    __slots__ = ("_high", "_low", "_types")

    def __init__(self) -> None:
        self._types: set[type] = set()
        self._low = self._high = 0

    def add(self, values: Sequence[Any]) -> None:
        """Take in some values."""
        types = set(map(type, values))
        self._types |= types
        if tuple in types and not all(
            type(one) is str for v in values if type(v) is tuple for one in v
        ):
            self._types.add(list)  # no tags, but what a transformer made
        if int in types:
            whole = values if len(types) == 1 else [v for v in values if type(v) is int]
            self._low, self._high = min(self._low, *whole), max(self._high, *whole)

    @property
    def empty(self) -> bool:
        """Whether no value was seen."""
        return self._types <= {type(None)}

    @property
    def kind(self) -> str:
        """The kind that holds them all."""
        types = self._types - {type(None)}
        if self.empty:
            return "text"
        if types == {int}:
            return self._whole()
        if types == {int, float}:
            return "float" if self._low >= -_EXACT and self._high <= _EXACT else "json"
        (first, *others) = types
        return "json" if others else _ALONE.get(first, "json")

    def _whole(self) -> str:
        if self._low >= -(2**63) and self._high < 2**63:
            return "int"
        return "uint" if self._low >= 0 and self._high < 2**64 else "json"


class TypedUnion(Union):
    """The union of all columns, and what each holds."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: defaultdict[str, Seen] = defaultdict(Seen)
        self._made: defaultdict[str, Seen] = defaultdict(Seen)

    def kinds(self, names: Iterable[str]) -> dict[str, str]:
        """The kind of each of these columns, in their order: fields of every event are as declared.

        Where transformers made rows, all columns are as those rows have them.
        """
        seen = self._made or self._seen
        return {
            name: DECLARED[name]
            if name in DECLARED and (seen is self._seen or seen[name].empty)
            else seen[name].kind
            for name in names
        }

    def add_row(self, row: Mapping[str, Any]) -> None:
        """See `Union.add_row`."""
        super().add_row(row)
        for name, value in row.items():
            self._made[name].add((value,))

    def _saw(self, name: str, values: Sequence[Any]) -> None:
        super()._saw(name, values)
        self._seen[name].add(values)

    def _add_shape(self, number: int, rows: list[list[Any]]) -> None:
        super()._add_shape(number, rows)
        shape = SHAPES.by_id[number]
        if _promised(shape.name, frozenset(shape.keys)):
            for name, values in flat_columns(number, rows):
                if name not in FIXED and not name.startswith(_PATHS):
                    self._seen[name].add(values)

    def _add_one(self, name: str, measurements: dict[str, Any], metadata: dict[str, Any]) -> None:
        super()._add_one(name, measurements, metadata)
        for field in known(name).fields:
            self._seen[field.name].add((field.read(measurements, metadata),))


_PATHS: Final = tuple(f"{box}." for box in BOXES)


def _promised(name: str, keys: Collection[str]) -> bool:
    return any(field.may_be_in(keys) for field in known(name).fields)
