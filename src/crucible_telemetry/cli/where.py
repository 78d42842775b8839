"""Filters as they are typed: ``--where 'model=gpt-4o' --where 'latency_ms>100'`` → `Where`. PURE."""

import difflib
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.event import Event
from crucible_telemetry.stores.base import Comparison, Ge, Gt, Le, Lt, Ne, OneOf, Where

_TERM: Final = re.compile(r"\s*([^=!<>\s]+)\s*(!=|<=|>=|=|<|>)(.*)\Z", re.DOTALL)
_COMPARED: Final[dict[str, type[Comparison]]] = {
    "!=": Ne, "<": Lt, "<=": Le, ">": Gt, ">=": Ge,
}  # fmt: skip
_LISTED: Final = ("event", "outcome", "condition", "model", "provider", "sample_id", "session_id")
_TREES: Final = {
    "measurement": "measurement",
    "measurements": "measurement",
    "metadata": "metadata",
}
_FIGURES: Final = tuple(
    field
    for field in Event.__struct_fields__
    if field not in {*_LISTED, *_TREES, "tags", "success", "event_name"}
)
KEYS: Final = (
    *_LISTED, "item", "tags", "success", "since", "until", "measurements.PATH", "metadata.PATH",
    *_FIGURES,
)  # fmt: skip
"""What can stand to the left of a comparison."""


def parse_where(terms: Sequence[str]) -> Where | None:
    """All terms must hold; None for none. QueryError says what is wrong with a term.

    `key=a,b` is one of several; fields of events and paths also take ``!= < <= > >=``.
    """
    given: dict[str, Any] = {}
    tests: list[tuple[str, Comparison]] = []
    for term in terms:
        found = _TERM.match(term)
        if found is None:
            raise QueryError("--where", f"{term!r}: want KEY=VALUE, as in model=gpt-4o")
        key, sign, text = found.groups()
        _add("sample_id" if key == "item" else key, sign, text.strip(), given, tests)
    if tests:
        given["predicate"] = _all_hold(tests)
    return Where(**given) if given else None


def _add(
    key: str, sign: str, text: str, given: dict[str, Any], tests: list[tuple[str, Comparison]]
) -> None:
    tree, _, path = key.partition(".")
    if tree in _TREES and path:
        paths = given.setdefault(_TREES[tree], {})
        paths[path] = (*paths.get(path, ()), _comparison(sign, text))
    elif key in _FIGURES:
        tests.append((key, _comparison(sign, text)))
    elif key in _READ:
        if sign != "=":
            raise QueryError("--where", f"{key}{sign}{text}: {key} takes = only")
        given[key] = _READ[key](text)
    else:
        near = difflib.get_close_matches(key, KEYS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KEYS)}"
        raise QueryError("--where", f"nothing is called {key!r}; {hint}")


def _comparison(sign: str, text: str) -> Comparison:
    if sign == "=":
        # A value may have been stored as the number or as its text.
        return OneOf([choice for part in text.split(",") for choice in (_plain(part), part)])
    return _COMPARED[sign](_plain(text))


def _plain(text: str) -> Any:
    """A number, true, false or null as JSON has them; else the text."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
    return value if value is None or isinstance(value, (bool, int, float)) else text


def _success(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise QueryError("--where", f"success={text}: want true or false")
    return text.lower() == "true"


def _moment(text: str) -> datetime | int:
    if text.lstrip("-").isdecimal():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise QueryError("--where", f"{text!r}: want ISO 8601 with a zone, or µs") from None


def _list(text: str) -> list[str]:
    return text.split(",")


_READ: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys((*_LISTED, "tags"), _list),
    "success": _success,
    "since": _moment,
    "until": _moment,
}


def _all_hold(tests: list[tuple[str, Comparison]]) -> Callable[[Event], bool]:
    return lambda event: all(test.holds(getattr(event, field)) for field, test in tests)
