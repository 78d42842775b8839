"""Which kind of values a column holds, over all events: what a table with types has to know first. PURE.

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

On the way there are two more: ``none``, where no value was seen, and ``number``, floats and integers that are
still told apart, for it may yet turn out that text is among them.
"""

from collections.abc import Sequence, Set as AbstractSet
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import fields

from crucible_telemetry.events.event import Event
from crucible_telemetry.export.columns import FLAGS, RANK
from crucible_telemetry.export.flat import BOXES

_EXACT: Final = 2**53
_ALONE: Final = {bool: "bool", float: "float", str: "text", bytes: "bytes"}
_DECLARED: Final = {int: "int", float: "float", bool: "bool", str: "text"}
_NONE: Final = frozenset({type(None)})


def _declared() -> dict[str, str]:
    """The kinds of the fields that every event has, as `Event` declares them."""
    found = {}
    for field in fields(Event):
        options = getattr(field.type, "__args__", (field.type,))
        kinds = [kind for option, kind in _DECLARED.items() if option in options]
        found[field.name] = "texts" if field.name == "tags" else (*kinds, "json")[0]
    return found | dict.fromkeys(FLAGS, "bool") | dict.fromkeys(BOXES, "json") | {RANK: "int"}


DECLARED: Final = _declared()


class Held(Struct, frozen=True):
    """What some values of a column are: their kind, and the range of the integers among them."""

    kind: str = "none"
    low: int = 0
    high: int = 0

    def __or__(self, other: "Held") -> "Held":
        """What they are together with others; the order of joining does not matter."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Held(_joined({self.kind, other.kind} - {"none"}, low, high), low, high)

    @property
    def final(self) -> str:
        """The kind of a column that holds nothing else."""
        return {"none": "text", "number": "float"}.get(self.kind, self.kind)


def _joined(kinds: AbstractSet[str], low: int, high: int) -> str:
    if len(kinds) < 2:
        return next(iter(kinds), "none")
    if kinds <= {"int", "float", "number"}:
        return "number" if low >= -_EXACT and high <= _EXACT else "json"
    return "uint" if kinds == {"int", "uint"} and low >= 0 else "json"


def held(values: Sequence[Any], types: AbstractSet[type]) -> Held:
    """What values of these types are."""
    kinds = types - _NONE
    if not kinds:
        return Held()
    if int in kinds:
        return _with_integers(values, types)
    (first, *others) = kinds
    if others:
        return Held("json")
    if first is tuple:
        texts = all(type(one) is str for value in values for one in value or ())
        return Held("texts" if texts else "json")
    return Held(_ALONE.get(first, "json"))


def _with_integers(values: Sequence[Any], types: AbstractSet[type]) -> Held:
    whole = values if types == {int} else [value for value in values if type(value) is int]
    found = whole_held(min(whole), max(whole))
    for other in types - {int, *_NONE}:
        found |= Held("float" if other is float else "json")
    return found


def whole_held(low: int, high: int) -> Held:
    """What integers of a range are."""
    kind = "json"
    if low >= -(2**63) and high < 2**63:
        kind = "int"
    elif low >= 0 and high < 2**64:
        kind = "uint"
    return Held(kind, min(0, low), max(0, high))
