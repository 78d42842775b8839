"""Token counts of a batch: columns of usage records, or of rows that carry the counts themselves. PURE.

The counts are those of `usage.py`, whatever provider's spelling they come in.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from crucible_telemetry.events.fields import inside
from crucible_telemetry.events.numbers import (
    MISSING,
    Column,
    Wholes,
    column_at,
    first_of,
    places_of,
    whole,
)
from crucible_telemetry.events.usage import ADDED, CHUNK_TOKENS, INCLUSIVE, PATHS

NO_TOKENS: Final = -1
_LIMIT: Final = 2**31
_RECORDS: Final = ("tokens", "usage", "usage_metadata", "token_usage")
"""Keys whose value, a mapping, is a usage record."""
_OTEL: Final = "gen_ai.usage."
_SHORT: Final = {
    "input_tokens": ("prompt", "input"),
    "output_tokens": ("completion", "output"),
    "total_tokens": ("total",),
    "cached_tokens": ("cached_input", "cached"),
    "cache_write_tokens": ("cache_write",),
    "reasoning_tokens": ("reasoning",),
}
"""Names that mean counts inside a record only: a plain ``prompt`` is a text."""
_COLUMNS: Final = {
    "input_tokens": "prompt",
    "output_tokens": "completion",
    "total_tokens": "total",
    "cached_tokens": "cached",
    "cache_write_tokens": "cache_write",
    "reasoning_tokens": "reasoning",
}
_INSIDE: Final = {field: (*paths, *_SHORT[field]) for field, paths in PATHS.items()}
_FLAT: Final = {
    field: (*paths, *(_OTEL + path for path in paths)) for field, paths in PATHS.items()
}
_HEADS: Final = frozenset(
    key.partition(".")[0]
    for table in (_INSIDE, ADDED)
    for keys in table.values()
    for key in keys
)  # fmt: skip
_MOST_KINDS: Final = 64

Paths = dict[str, list[tuple[str, ...]]]


class Record:
    """Where counts stand in usage records that have certain keys."""

    __slots__ = ("added", "paths")

    def __init__(self, keys: Iterable[str]) -> None:
        heads = dict.fromkeys(keys, 0)
        self.paths = _paths(heads, _INSIDE)
        self.added = _paths(heads, ADDED)


class TokenPlan:
    """Where the token counts of one shape are read: in records, then in the row itself."""

    __slots__ = ("added", "flat", "kinds", "records", "streamed")

    def __init__(self, at: dict[str, int]) -> None:
        self.records = [at[key] for key in _RECORDS if key in at]
        self.flat = {
            field: found for field, keys in _FLAT.items() if (found := places_of(at, keys))
        }
        self.added = {} if INCLUSIVE in at else {
            field: found for field, keys in ADDED.items() if (found := places_of(at, keys))
        }  # fmt: skip
        self.streamed = at.get(CHUNK_TOKENS)
        self.kinds: dict[frozenset[str], Record] = {}

    def record(self, dicts: Sequence[dict[Any, Any]]) -> Record:
        """How to read these records; remembered by the keys they have."""
        keys = _HEADS.intersection(set().union(*dicts))
        kind = self.kinds.get(keys)
        if kind is None:
            kind = Record(keys)
            if len(self.kinds) < _MOST_KINDS:
                self.kinds[keys] = kind
        return kind


def _paths(heads: dict[str, int], table: dict[str, tuple[str, ...]]) -> Paths:
    """The paths of a table whose first key is there, cut into keys."""
    return {
        field: found
        for field, keys in table.items()
        if (found := [(head, *rest) for key in keys for head, *rest in [key.split(".")] if head in heads])
    }  # fmt: skip


def tokens(columns: Sequence[Column], plan: TokenPlan, odd: "Counter[str]") -> dict[str, Wholes]:
    """Token counts by column name, `NO_TOKENS` where a row has none."""
    found: dict[str, list[Wholes]] = {}
    for at in plan.records:
        for field, column in _in_records(columns[at], plan, odd).items():
            found.setdefault(field, []).append(column)
    if plan.flat or plan.added:
        flat = _merged(plan.flat, lambda place: column_at(columns, place), odd)
        _add(flat, plan.added, lambda place: column_at(columns, place))
        for field, column in flat.items():
            found.setdefault(field, []).append(column)
    return {
        _COLUMNS[field]: _filled(merged)
        for field, some in found.items()
        if (merged := first_of(some)) is not None
    }


def streamed(columns: Sequence[Column], plan: TokenPlan, odd: "Counter[str]") -> Wholes | None:
    """Tokens as the chunks of a stream were marked, `NO_TOKENS` where a row has none."""
    if plan.streamed is None:
        return None
    found = whole(columns[plan.streamed], 1, odd, _LIMIT)
    return None if found is None else _filled(found)


def _filled(counts: Wholes) -> Wholes:
    return np.maximum(counts, NO_TOKENS)  # `MISSING` is less than any number


def _in_records(column: Column, plan: TokenPlan, odd: "Counter[str]") -> dict[str, Wholes]:
    """Counts by field of a column of mappings (and of what else stands there)."""
    dicts = [value for value in column if type(value) is dict]
    if not dicts:
        return {}
    record = plan.record(dicts)

    def read(path: tuple[str, ...]) -> Column:
        return inside(column, path)

    found = _merged(record.paths, read, odd)
    if record.added:
        inclusive = [type(value) is dict and INCLUSIVE in value for value in column]
        _add(found, record.added, read, inclusive)
    return found


def _merged(
    places: dict[str, list[Any]], read: Callable[[Any], Column], odd: "Counter[str]"
) -> dict[str, Wholes]:
    """For each field the first number its places have, row by row."""
    found: dict[str, Wholes] = {}
    for field, some in places.items():
        numbers = [whole(read(place), 1, odd, _LIMIT) for place in some]
        merged = first_of([column for column in numbers if column is not None])
        if merged is not None:
            found[field] = merged
    return found


def _add(
    found: dict[str, Wholes],
    added: dict[str, list[Any]],
    read: Callable[[Any], Column],
    inclusive: Sequence[bool] = (False,),
) -> None:
    """Add what stands beside a count, in rows that are not inclusive; what is odd was counted before."""
    for field, places in added.items():
        beside = [whole(read(place), 1, Counter(), _LIMIT) for place in places]
        columns = [column for column in beside if column is not None]
        if not columns:
            continue
        base = found.get(field, np.full(len(columns[0]), MISSING))
        said = np.any([column != MISSING for column in columns], axis=0)
        total = sum(np.maximum(column, 0) for column in (base, *columns))
        sums = np.where(total < _LIMIT, total, MISSING)
        found[field] = np.where(said & ~np.asarray(inclusive), sums, base)
