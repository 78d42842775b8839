"""What the cell of a trace means: a number, a time, a flag, a word. PURE.

Each function raises ValueError with a reason for a value that is none. CSV has texts only, JSON has types.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

MISSING: Final = frozenset({"", "none", "null", "nan", "na", "n/a", "nil"})
"""Texts that stand for no value, in lower case, where a field wants one."""

US_PER: Final = {"s": Decimal(10**6), "ms": Decimal(1000), "us": Decimal(1), "ns": Decimal("0.001")}
"""Microseconds in each unit a time may be counted in since the epoch (or since `--start`)."""

_INT: Final = re.compile(r"[+-]?\d+\Z", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z", re.ASCII)
_PLAIN: Final = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d+([eE][+-]?\d+)?)?\Z", re.ASCII)
_YES: Final = frozenset({"true", "1", "yes", "y", "ok", "success", "succeeded", "passed"})
_NO: Final = frozenset({"false", "0", "no", "n", "error", "failure", "failed"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LIMIT_US: Final = 2**62
_LONGEST: Final = 60
"""Digits of a number; longer ones are refused before they are parsed."""


def missing(value: Any) -> bool:
    """Whether a cell holds nothing."""
    return value is None or (type(value) is str and value.strip().lower() in MISSING)


def shown(value: Any) -> str:
    """A value in an error message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def is_number(value: Any) -> bool:
    """Whether a cell is a number or the text of one."""
    return type(value) in (int, float) or (
        type(value) is str and _NUMBER.match(value.strip()) is not None
    )


def number(value: Any) -> float:
    """An int or float, or the text of one."""
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    text = value.strip() if type(value) is str else ""
    if len(text) > _LONGEST or not _NUMBER.match(text):
        raise ValueError(f"{shown(value)} is no number")
    return int(text) if _INT.match(text) else float(text)


def numbers(value: Any) -> float | list[float]:
    """A number, or a list of them."""
    return [number(item) for item in value] if type(value) is list else number(value)


def count(value: Any) -> int:
    """A whole number; ``12.0``, as data frames write counts beside gaps, is one."""
    found = number(value)
    if not math.isfinite(found) or found != int(found):
        raise ValueError(f"{shown(value)} is no whole number")
    return int(found)


def flag(value: Any) -> bool:
    """True or False, or a usual word for it."""
    word = str(value).strip().lower()
    if word not in _YES and word not in _NO:
        raise ValueError(f"{shown(value)} is neither true nor false")
    return word in _YES


def word(value: Any) -> str:
    """A name, as text; numbers that serve as names too."""
    return value if type(value) is str else str(value)


def code(value: Any) -> Any:
    """A status or an error code: a whole number where it is written as one, else as it is."""
    return int(value) if type(value) is str and _PLAIN.match(value) and "." not in value else value


def loose(value: Any) -> Any:
    """A cell no field asked for: numbers as plain programs write them; ``007`` and ``12e5`` stay texts."""
    if type(value) is not str or not _PLAIN.match(value):
        return value
    return float(value) if "." in value else int(value)


def micros(value: Any, unit: str | None) -> int:
    """A time in µs: a count of `unit`, or ISO 8601 text (without a zone it is UTC; digits beyond µs are cut)."""
    if is_number(value):
        if unit is None:
            raise ValueError(
                f"{shown(value)} is a number without a unit, where the times are texts"
            )
        return _counted(number(value) if type(value) is not str else value.strip(), unit)
    try:
        moment = datetime.fromisoformat(value.strip())
    except (ValueError, AttributeError):
        raise ValueError(f"{shown(value)} is no ISO 8601 time and no number") from None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def _counted(value: float | str, unit: str) -> int:
    exact = Decimal(value) if len(str(value)) <= _LONGEST else Decimal("inf")
    if not exact.is_finite() or abs(exact.adjusted()) > 30:
        micros = _LIMIT_US if exact else 0
    else:
        micros = round(exact * US_PER[unit])
    if abs(micros) >= _LIMIT_US:
        raise ValueError(f"{shown(value)} {unit} is no time")
    return micros


Reading = Callable[[Any], Any]
