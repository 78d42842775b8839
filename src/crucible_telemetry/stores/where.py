"""Which events a reader wants: `Where`, comparisons, and `matches`, which says what they mean. PURE."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import force_setattr

from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.event import IDENTITY, Event, Outcome, event_name, matches_pattern
from crucible_telemetry.stores.comparison import Comparison

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
INT64_MAX: Final = 2**63 - 1

OUTCOMES: Final = {outcome.label: outcome for outcome in Outcome if outcome.label}
_ABSENT: Final = object()

Instant = datetime | int
"""A moment: a datetime that knows its zone, or µs since the epoch."""
Name = str | tuple[str, ...]
"""An event name or pattern, dotted or as a tuple of its segments."""


def instant_us(value: Instant, argument: str) -> int:
    """The moment in µs since the epoch; refuses floats and datetimes without a zone, by argument name."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise QueryError(argument, "this datetime has no time zone: add tzinfo, or give µs")
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, bool) or not isinstance(value, int):
        raise QueryError(argument, f"want a datetime or int microseconds, not {value!r}")
    if abs(value) > INT64_MAX:
        raise QueryError(argument, f"{value} µs is outside 64 bits")
    return value


class Where(Struct, frozen=True, kw_only=True):
    """A filter: every condition given must hold; those left out hold for all. Lists mean "one of".

    - `event`: a name or pattern (`"req_llm.*"`), dotted or as a tuple, or a *list* of these.
    - `success`: True (ok) or False (error, timeout); events that say neither fit neither.
    - `outcome`: `ok`, `error`, `timeout`, `cancelled`, `unknown`.
    - `condition`, `model`, `provider`: equal to it, or to one of a list.
    - `sample_id` (the trial's item), `session_id`, `user_id`, `cohort`, `repeat`, `attempt`: the same.
    - `tags`: the experiment carries all of them.
    - `since`, `until`: inclusive; datetimes with a zone, or µs since the epoch.
    - `measurement`, `metadata`: dotted path -> a plain value (equal), a comparison (`Gt(100)`, `Ge`,
      `Lt`, `Le`, `Ne`, `OneOf([...])`) or a tuple of comparisons (all hold):
      ``metadata={"user.tier": "gold"}``, ``measurement={"loss": Lt(0.1)}``. A path that is not there fits nothing,
      `Ne` included. A key that itself contains dots wins over nesting.
    - `predicate`: called with each `Event` that fits the rest; what it raises reaches the reader.

    Raises `QueryError` with the argument's name when made. Afterwards lists are tuples, times µs.
    """

    event: Name | list[Name] | None = None
    success: bool | None = None
    outcome: str | list[str] | None = None
    condition: str | list[str] | None = None
    model: str | list[str] | None = None
    provider: str | list[str] | None = None
    tags: str | list[str] | None = None
    sample_id: str | list[str] | None = None
    session_id: str | list[str] | None = None
    user_id: str | list[str] | None = None
    cohort: str | list[str] | None = None
    repeat: int | list[int] | None = None
    attempt: int | list[int] | None = None
    since: Instant | None = None
    until: Instant | None = None
    measurement: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    predicate: Callable[[Event], Any] | None = None

    def __post_init__(self) -> None:
        if self.success is not None and not isinstance(self.success, bool):
            raise QueryError("success", f"want True, False or None, not {self.success!r}")
        if self.predicate is not None and not callable(self.predicate):
            raise QueryError("predicate", f"want a callable, not {self.predicate!r}")
        self._settle_names()
        self._settle_times()
        self._settle_paths()

    def _settle_names(self) -> None:
        if self.event is not None:
            given = self.event if isinstance(self.event, list) else [self.event]
            force_setattr(self, "event", tuple(_pattern(name) for name in given))
        for argument in ("outcome", *TEXTS, "tags"):
            value = getattr(self, argument)
            if value is not None:
                force_setattr(self, argument, _texts(value, argument))
        for argument in NUMBERS:
            value = getattr(self, argument)
            if value is not None:
                force_setattr(self, argument, _counts(value, argument))
        for label in self.texts("outcome") or ():
            if label not in OUTCOMES:
                raise QueryError("outcome", f"{label!r} is none of {', '.join(map(str, OUTCOMES))}")

    def _settle_times(self) -> None:
        for argument in ("since", "until"):
            value = getattr(self, argument)
            if value is not None:
                force_setattr(self, argument, instant_us(value, argument))
        check_bounds(self.since_us, self.until_us)

    def _settle_paths(self) -> None:
        for argument in ("measurement", "metadata"):
            value = getattr(self, argument)
            if value is None:
                continue
            if not isinstance(value, Mapping) or not all(isinstance(k, str) and k for k in value):
                raise QueryError(
                    argument,
                    'want a mapping of dotted paths, as {"tokens.prompt": Gt(100), "tier": "gold"}, '
                    f"not {value!r}",
                )
            force_setattr(self, argument, {key: _comparisons(v) for key, v in value.items()})

    @property
    def since_us(self) -> int | None:
        """`since` in µs, inclusive."""
        return cast("int | None", self.since)

    @property
    def until_us(self) -> int | None:
        """`until` in µs, inclusive."""
        return cast("int | None", self.until)

    @property
    def patterns(self) -> tuple[str, ...] | None:
        """The names and patterns of `event`, dotted."""
        return cast("tuple[str, ...] | None", self.event)

    def texts(self, argument: str) -> tuple[str, ...] | None:
        """The choices of a text condition; None when it was left out."""
        return cast("tuple[str, ...] | None", getattr(self, argument))

    @property
    def identity(self) -> dict[str, tuple[Any, ...]]:
        """The choices of each condition on whose an event is."""
        given = ((name, getattr(self, name)) for name in IDENTITY)
        return {name: choices for name, choices in given if choices is not None}

    @property
    def outcomes(self) -> frozenset[Outcome] | None:
        """The outcomes that `success` and `outcome` leave; None for all."""
        if self.success is None and self.outcome is None:
            return None
        labels = self.texts("outcome")
        chosen = set(Outcome) if labels is None else {OUTCOMES[label] for label in labels}
        if self.success is not None:
            chosen = {outcome for outcome in chosen if outcome.success is self.success}
        return frozenset(chosen)


NUMBERS: Final = ("repeat", "attempt")
TEXTS: Final = ("condition", "model", "provider", *(n for n in IDENTITY if n not in NUMBERS))


def matches(where: Where, event: Event) -> bool:
    """Whether an event fits: the meaning of a `Where`, which every store has to give the same answer to."""
    return (
        name_fits(where.patterns, event.event_name)
        and (where.success is None or event.success is where.success)
        and (where.outcome is None or event.outcome in (where.texts("outcome") or ()))
        and _matches_time(where, event.timestamp_us)
        and all(_one_of(where, argument, event) for argument in ("model", "provider"))
        and shared_fit(where, event.condition, event.tags)
        and all(test(event) for test in rest_of(where))
    )


def shared_fit(where: Where, condition: str, tags: tuple[str, ...]) -> bool:
    """Whether what all events of an experiment share fits."""
    wanted = where.texts("condition")
    return (wanted is None or condition in wanted) and set(where.texts("tags") or ()) <= set(tags)


def rest_of(where: Where) -> list[Callable[[Event], Any]]:
    """Tests for what columns cannot tell for sure, the predicate last; an event fits if it passes all."""
    tests: list[Callable[[Event], Any]] = []
    for name, choices in where.identity.items():
        tests.append(partial(_is_one_of, name, choices))
    for tree, paths in (("measurements", where.measurement), ("metadata", where.metadata)):
        for path, wanted in (paths or {}).items():
            tests.append(partial(_holds_at, tree, path, wanted))
    if where.predicate is not None:
        tests.append(where.predicate)
    return tests


def _is_one_of(name: str, choices: tuple[Any, ...], event: Event) -> bool:
    return getattr(event, name) in choices


def _holds_at(tree: str, path: str, wanted: object, event: Event) -> bool:
    return _holds(found_at(getattr(event, tree), path, _ABSENT), wanted)


def may_hold(keys: tuple[str, ...], paths: Mapping[str, Any] | None) -> bool:
    """Whether mappings with these keys can have a value at each of the paths."""
    return all(
        any(path == key or path.startswith(f"{key}.") for key in keys) for path in paths or ()
    )


def name_fits(patterns: tuple[str, ...] | None, name: str) -> bool:
    """Whether a name fits one of the patterns, or there are none to fit."""
    return patterns is None or any(matches_pattern(pattern, name) for pattern in patterns)


def found_at(tree: Mapping[str, object], path: str, absent: object = None) -> object:
    """The value at a dotted path of nested mappings; the longest key wins over nesting."""
    if path in tree:
        return tree[path]
    cut = path.rfind(".")
    while cut > 0:
        below = tree.get(path[:cut])
        if isinstance(below, Mapping):
            found = found_at(below, path[cut + 1 :], _ABSENT)
            if found is not _ABSENT:
                return found
        cut = path.rfind(".", 0, cut)
    return absent


def check_bounds(since_us: int | None, until_us: int | None) -> None:
    """Refuse a range that ends before it begins."""
    if since_us is not None and until_us is not None and since_us > until_us:
        raise QueryError("until", f"{until_us} µs lies before since ({since_us} µs)")


def _matches_time(where: Where, timestamp_us: int) -> bool:
    since, until = where.since_us, where.until_us
    return (since is None or since <= timestamp_us) and (until is None or timestamp_us <= until)


def _one_of(where: Where, argument: str, event: Event) -> bool:
    choices = where.texts(argument)
    return choices is None or getattr(event, argument) in choices


def _holds(found: object, wanted: object) -> bool:
    if found is _ABSENT:
        return False
    if isinstance(wanted, tuple):
        return all(comparison.holds(found) for comparison in wanted)
    return bool(found == wanted)


def _comparisons(value: object) -> object:
    """One comparison as a tuple of one; plain values as they are, a plain tuple as the stored list."""
    if isinstance(value, Comparison):
        return (value,)
    if isinstance(value, tuple) and not (value and all(isinstance(v, Comparison) for v in value)):
        return list(value)
    return value


def _pattern(name: Name) -> str:
    parts = (name,) if isinstance(name, str) else name
    if not (isinstance(parts, tuple) and parts and all(isinstance(p, str) and p for p in parts)):
        raise QueryError("event", f"want a name, a pattern or a list of them, not {name!r}")
    return event_name(name)


def _counts(value: object, argument: str) -> tuple[int, ...]:
    given = _listed(value)
    if not all(type(count) is int and count >= 0 for count in given):
        raise QueryError(
            argument, f"want a whole number from 0 on or a list of them, not {value!r}"
        )
    return given


def _listed(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def _texts(value: object, argument: str) -> tuple[str, ...]:
    given = _listed(value)
    if not all(isinstance(text, str) for text in given):
        raise QueryError(argument, f"want a text or a list of texts, not {value!r}")
    return given
