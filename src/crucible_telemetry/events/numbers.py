"""Columns of anything → columns of whole numbers, and where in a row a value is looked for. PURE.

The quick way is a type check and the column itself, since most producers send what is expected. What is
negative, not finite or beyond the limit stays raw and is counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, Final

from crucible_telemetry.events.fields import dig

MISSING: Final = -(2**63)
_LIMIT: Final = 2**62
_INT: Final = {int}
_NULL: Final = {type(None)}

Column = Sequence[Any]
Place = tuple[int, tuple[str, ...]]
"""Which value of a row, and the path inside it."""


def places_of(at: dict[str, int], keys: Iterable[str]) -> list[Place]:
    """Where dotted keys may be: the key as it is, or a path into a container."""
    found: list[Place] = []
    for key in keys:
        head, _, tail = key.partition(".")
        if key in at:
            found.append((at[key], ()))
        elif tail and head in at:
            found.append((at[head], tuple(tail.split("."))))
    return found


def column_at(columns: Sequence[Column], place: Place) -> Column:
    """One value of each row."""
    position, path = place
    column = columns[position]
    return [dig(value, path) for value in column] if path else column


def whole(column: Column, factor: int, odd: Counter[str], limit: int = _LIMIT) -> Column | None:
    """Numbers × `factor` as integers from 0 to below `limit`, `MISSING` where there is none.

    None when no row has one.
    """
    kinds = set(map(type, column))
    if kinds == _INT:
        scaled = column if factor == 1 else [value * factor for value in column]
        if min(scaled) >= 0 and max(scaled) < limit:
            return scaled
    if kinds == _NULL:
        return None
    scaled = [_whole(value, factor, odd, limit) for value in column]
    return scaled if any(value != MISSING for value in scaled) else None


def _whole(value: Any, factor: int, odd: Counter[str], limit: int) -> int:
    if type(value) is float:
        if not isfinite(value):
            odd["not_finite"] += 1
            return MISSING
        number = round(value * factor) if abs(value) < limit else limit  # 1e308 s is inf ns
    elif type(value) is int:
        number = value * factor
    else:
        return MISSING
    if number < 0:
        odd["negative"] += 1
        return MISSING
    if number >= limit:
        odd["beyond_int64"] += 1
        return MISSING
    return number


def first_of(found: list[Column]) -> Column | None:
    """Row by row the first column that has a value."""
    if len(found) <= 1:
        return found[0] if found else None
    return [next((v for v in row if v != MISSING), MISSING) for row in zip(*found, strict=True)]
