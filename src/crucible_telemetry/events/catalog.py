"""The catalog of known events: ``ct.catalog``. PURE.

::

    ct.catalog.event_info("ensemble.predict.stop").unit            # "us"
    ct.catalog.register("rag.retrieve.*", category="retrieval", unit="ms", fields={"recall": "share"})

A row says in which unit a plain ``duration`` comes, whether the event ends an operation and whether
that wraps others, and which fields it has (`Event.fields`). What nobody registered is captured all the
same: nanoseconds, and an end if its last part says so. Register before you measure, or while you do:
events that are taken in later follow it, those stored before keep the figures they have.
"""

import re
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, TypedDict, Union, Unpack, get_args, get_origin

import msgspec

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.event import Event, event_name
from crucible_telemetry.events.fields import Field
from crucible_telemetry.events.known import CATALOG, known
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.rows import NS_PER, EventInfo, Row
from crucible_telemetry.events.standard import PIPELINE, STANDARD

__all__ = [
    "EventInfo",
    "Field",
    "event_info",
    "events_by_category",
    "register",
    "standard_events",
    "unregister",
]

_STANDARD: Final = frozenset(row.name for row in STANDARD)
_CATEGORY: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_OUTSIDE: Final = PIPELINE
"""How far outside an operation lies that is just said to wrap others."""
_MOST_OUTSIDE: Final = 7


class Registration(TypedDict, total=False):
    """What may be said of an event; everything is optional.

    `category`: one of the known ones, or your own; ``"llm"`` puts its ends into the pool of latency and
    reliability. `unit`: of a plain ``duration`` (``ns us ms s``); `latency_unit`: of a plain
    ``latency``. Spans of this library are in ns whatever is said here. `ends`: whether it ends an
    operation (by default its last part says so); it is ok unless its last part (``failed``, ``crashed``,
    ``timeout`` …) or what it carries says otherwise. `wraps`: whether the operation contains others that
    report the same cost and tokens (True, or 1 … 7, further out the higher; of those that report the
    same money the innermost is believed). `money`: whether a plain ``cost`` is US dollars.
    `fields`: names with their unit or meaning, or `Field`s. `measurements`, `metadata`: msgspec structs
    that type the event; their fields count as `fields`, and an event that does not fit is stored all
    the same, marked and counted as ``schema`` (for a prefix: not its ``.start`` and ``.exception``).
    """

    category: str
    description: str
    unit: str
    latency_unit: str
    ends: bool
    wraps: bool | int
    money: bool
    fields: Mapping[str, str] | Iterable[str | Field]
    measurements: type[msgspec.Struct]
    metadata: type[msgspec.Struct]


def standard_events() -> list[str]:
    """The names of all events the library knows by itself, every spelling."""
    return [row.name for row in STANDARD if not row.name.endswith("*")]


def events_by_category() -> dict[str, list[str]]:
    """Names by category, in the order of the table; registered names and prefixes (``a.b.*``) included.

    Events without a category stand under ``""``.
    """
    found: dict[str, list[str]] = {}
    for name in CATALOG.table.rows:
        if name not in _STANDARD or not name.endswith("*"):
            found.setdefault(known(name).category or "", []).append(name)
    return found


def event_info(event: Name) -> EventInfo | None:
    """What the catalog knows of an event, in any of its spellings; None if no row is for it."""
    info = known(event_name(event))
    return info if info.listed else None


def register(event: Name, **said: Unpack[Registration]) -> EventInfo:
    """Say what an event of your own means: a name, or a prefix (``"rag.retrieve.*"``, as for a span).

    Takes the columns of `Registration` and returns what is known now. Raises `ConfigurationError` for a
    name that has a row already, an unknown unit, a category other than that of the library the name
    belongs to, a prefix that ends (so would its starts), and a field named like a column of `Event`.
    Call it from one thread at a time.
    """
    name = _checked_name(event)
    unknown = said.keys() - Registration.__annotations__.keys()
    if unknown:
        raise ConfigurationError(min(unknown), f"unknown; want {', '.join(_COLUMNS)}")
    columns: dict[str, Any] = {}
    for key, value in said.items():
        columns[key] = _CHECKS[key](key, value)
    _check_category(name, columns.get("category"))
    if name.endswith("*") and columns.get("ends"):
        raise ConfigurationError("ends", f"{name!r} has starts below it too: say which name ends")
    fields = (*columns.pop("fields", ()), *_typed_fields(columns))
    unique = {field.name: field for field in reversed(fields)}
    row = Row(name=name, fields=tuple(unique[f] for f in reversed(unique)) or None, **columns)
    CATALOG.table = CATALOG.table.with_rows([row])
    return known(name)


def unregister(event: Name) -> None:
    """Take a registered row away again; raises `ConfigurationError` for a name that has none."""
    name = event_name(event)
    if name in _STANDARD or name not in CATALOG.table.rows:
        raise ConfigurationError("event", f"{name!r} was not registered")
    CATALOG.table = CATALOG.table.without([name])


def _checked_name(event: Name) -> str:
    name = event_name(event)
    stem = name.removesuffix(".*")
    if not stem or "*" in stem or not all(stem.split(".")):
        raise ConfigurationError("event", f"{name!r}: want a dotted name, or a prefix as 'a.b.*'")
    if name in CATALOG.table.rows:
        whose = "is a standard event" if name in _STANDARD else "is registered; unregister it first"
        raise ConfigurationError("event", f"{name!r} {whose}")
    return name


def _check_category(name: str, category: str | None) -> None:
    """A name below a library's prefix stays in that library's category."""
    given = known(name).category
    if category is not None and given not in (None, category):
        raise ConfigurationError(
            "category", f"{name!r} is one of the {given} events, not {category!r}"
        )


def _unit(key: str, value: Any) -> str:
    if value not in NS_PER:
        raise ConfigurationError(key, f"want one of {', '.join(NS_PER)}, not {value!r}")
    return str(value)


def _category(key: str, value: Any) -> str:
    if not isinstance(value, str) or not _CATEGORY.match(value):
        raise ConfigurationError(key, f"want a word of a-z, 0-9 and _, not {value!r}")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(key, f"want a text, not {value!r}")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(key, f"want True or False, not {value!r}")
    return value


def _wraps(key: str, value: Any) -> int:
    if isinstance(value, bool):
        return _OUTSIDE if value else 0
    if not isinstance(value, int) or not 0 <= value <= _MOST_OUTSIDE:
        raise ConfigurationError(key, f"want True, False or 0 … {_MOST_OUTSIDE}, not {value!r}")
    return value


def _struct(key: str, value: Any) -> type[msgspec.Struct]:
    if not isinstance(value, type) or not issubclass(value, msgspec.Struct):
        raise ConfigurationError(key, f"want a msgspec.Struct class, not {value!r}")
    return value


def _fields(key: str, value: Any) -> tuple[Field, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(key, f"want names, or names with units, not {value!r}")
    pairs = value.items() if isinstance(value, Mapping) else ((each, "") for each in value)
    return tuple(_field(key, name, unit) for name, unit in pairs)


def _field(key: str, name: Any, unit: Any) -> Field:
    field = name if isinstance(name, Field) else Field(name, unit, measured=True)
    if not isinstance(field.name, str) or not field.name or not isinstance(field.unit, str):
        raise ConfigurationError(key, f"want texts, not {name!r}: {unit!r}")
    if field.name in Event.__struct_fields__:
        raise ConfigurationError(key, f"{field.name!r} is a column of every event")
    return field


def _typed_fields(columns: Mapping[str, Any]) -> list[Field]:
    """The fields of the structs that type an event; names of an event's own columns are no fields."""
    found = []
    for part in ("measurements", "metadata"):
        for given in msgspec.structs.fields(columns[part]) if part in columns else ():
            if given.name not in Event.__struct_fields__:
                measured = part == "measurements"
                kind = _in_words(given.type)
                found.append(Field(given.name, kind, (given.encode_name,), measured))
    return found


def _in_words(kind: Any) -> str:
    """A type as users write it, without what is annotated."""
    if get_origin(kind) is Annotated:
        return _in_words(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_in_words, get_args(kind)))
    if kind is type(None):
        return "None"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


_CHECKS: Final = {
    "category": _category,
    "description": _text,
    "unit": _unit,
    "latency_unit": _unit,
    "ends": _flag,
    "wraps": _wraps,
    "money": _flag,
    "fields": _fields,
    "measurements": _struct,
    "metadata": _struct,
}
_COLUMNS: Final = tuple(_CHECKS)
