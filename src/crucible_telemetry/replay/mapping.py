"""Columns of a trace → fields of an event: guessed by name, overridden by hand, always with the reason. PURE.

A column nobody knows is kept under its own name: numbers as measurements, the rest as metadata.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping as Map, Sequence
from typing import Any, Final

from msgspec import Struct, field

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.replay.names import DURATIONS, FIELDS, OUTCOMES, TIMES, Guess, guess
from crucible_telemetry.replay.values import (
    US_PER,
    code,
    count,
    flag,
    is_number,
    loose,
    micros,
    missing,
    number,
    numbers,
    word,
)

KEEP: Final = "keep"
"""The field of a column that is only kept."""
KEPT_AS: Final = "column_"
"""Prefix of a kept column whose name would mean something to enrichment."""
EVENT: Final = "llm.request.stop"
"""What a row is taken for when it does not say: one call to a model that ended."""

READ: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "ttft": ("ttft", numbers),
    "itl": ("itl", numbers),
    "latency": ("duration", number),
    **{name: (name, count) for name in FIELDS if name.endswith("_tokens")},
    "cost_usd": ("cost_usd", number),
    "model": ("model", word),
    "provider": ("provider", word),
    "success": ("success", flag),
    "status": ("status", code),
    "error": ("error", code),
    "error_code": ("error_code", code),
    "error_type": ("error_type", word),
    "finish_reason": ("finish_reason", word),
    "item": ("sample_id", word),
    "repeat": ("repeat", count),
    "attempt": ("attempt", count),
    "session": ("session_id", word),
    "user": ("user_id", word),
}  # fmt: skip
"""Field → (key in the event, how a cell is read)."""

_MEASURED: Final = frozenset(
    {*DURATIONS, "cost_usd"} | {n for n in FIELDS if n.endswith("_tokens")}
)


class Target(Struct, frozen=True):
    """Where a column goes: its field (`KEEP`: none), the unit of its numbers, and why."""

    column: str
    field: str
    unit: str | None = None
    why: str = ""


class Replayed(Struct):
    """What a row says: an event to emit. `at_us` is µs since the epoch; None: it does not say when."""

    name: str
    at_us: int | None = None
    measurements: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


class Options(Struct, frozen=True, kw_only=True):
    """What the user said of a trace: `mapped` (field, with a unit, → column), and what columns do not say.

    `time_unit`: of times that are numbers; `start_us`: what is added to these; `fixed`: metadata of
    rows that have none under the key.
    """

    mapped: tuple[tuple[str, str], ...] = ()
    time_unit: str | None = None
    start_us: int = 0
    event: str = EVENT
    fixed: dict[str, Any] = {}


def parse_override(text: str) -> tuple[str, str]:
    """``latency_s=my_column`` → (``latency_s``, ``my_column``); ConfigurationError with how it is said."""
    target, equals, column = text.partition("=")
    if not equals or not target.strip() or not column.strip():
        raise ConfigurationError("--map", f"{text!r}: want FIELD=COLUMN, as in latency_ms=took")
    return target.strip(), column.strip()


class TraceMapping:
    """How each column of one trace is read; `event` makes an event of a row."""

    def __init__(self, targets: Sequence[Target], options: Options) -> None:
        self.targets = tuple(targets)
        self.options = options
        self._by_column = {target.column: target for target in targets}

    @property
    def tells_time(self) -> bool:
        """Whether rows say when they happened."""
        return any(target.field in TIMES for target in self.targets)

    @property
    def tells_outcome(self) -> bool:
        """Whether rows say how a call ended; where they do not, each counts as ok."""
        return any(target.field in OUTCOMES for target in self.targets)

    def event(self, row: Map[str, Any]) -> Replayed:
        """The event of a row; ValueError naming the column when a cell is not what its field wants."""
        made = Replayed(self.options.event, metadata=dict(self.options.fixed))
        times: dict[str, int] = {}
        for column, value in row.items():
            target = self._by_column.get(column) or Target(column, KEEP)
            try:
                self._put(target, value, made, times)
            except ValueError as error:
                raise ValueError(f"column {column!r}: {error}") from None
        self._set_time(made, times)
        return made

    def _put(self, target: Target, value: Any, made: Replayed, times: dict[str, int]) -> None:
        if target.field == KEEP:
            _keep(target.column, value, made)
        elif target.field in TIMES:
            times[target.field] = self._micros(value, target.unit)
        elif target.field == "event":
            made.name = self.options.event if missing(value) else word(value)
        else:
            self._put_field(target, value, made)

    def _put_field(self, target: Target, value: Any, made: Replayed) -> None:
        key, read = READ[target.field]
        into = made.measurements if target.field in _MEASURED else made.metadata
        if target.unit is not None:
            key = f"{key}_{target.unit}"
        if not missing(value):
            into[key] = read(value)
        elif key not in self.options.fixed:
            into[key] = None  # one shape of event throughout

    def _micros(self, value: Any, unit: str | None) -> int:
        if missing(value):
            raise ValueError("no time in this row")
        return micros(value, unit) + (self.options.start_us if is_number(value) else 0)

    def _set_time(self, made: Replayed, times: dict[str, int]) -> None:
        """At its end when it says so, since what is emitted is an end; without a latency also how long."""
        start, end = times.get("time"), times.get("end_time")
        made.at_us = start if end is None else end
        if start is not None and end is not None and not self.has("latency"):
            made.measurements["duration_us"] = end - start

    def has(self, name: str) -> bool:
        """Whether a column is read as this field."""
        return any(target.field == name for target in self.targets)


def _keep(column: str, value: Any, made: Replayed) -> None:
    key = column if guess(column) is None else f"{KEPT_AS}{column}"
    value = loose(value)
    into = made.measurements if type(value) in (int, float) else made.metadata
    into[key] = value


def map_columns(sample: Iterable[Map[str, Any]], options: Options) -> TraceMapping:
    """The mapping of a trace whose first rows are `sample`.

    Raises ConfigurationError when an override makes no sense, or a name leaves a unit open.
    """
    rows = list(sample)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    chosen = dict(_overridden(columns, options))
    taken = {target.field for target in chosen.values() if target.field != KEEP}
    targets: list[Target] = []
    for column in columns:
        target = chosen.get(column) or _guessed(column, taken)
        taken.add(target.field)
        targets.append(target)
    return TraceMapping([_with_unit(target, rows, options) for target in targets], options)


def _guessed(column: str, taken: set[str]) -> Target:
    found: Guess | None = guess(column)
    if found is None:
        return Target(column, KEEP, None, "no field of this name")
    if found.field in taken:
        return Target(column, KEEP, None, f"another column is the {found.field}")
    why = "by its name" if found.unit is None else "by its name, unit too"
    return Target(column, found.field, found.unit, why)


def _overridden(columns: list[str], options: Options) -> Iterable[tuple[str, Target]]:
    for said, column in options.mapped:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1, cutoff=0.5)
            hint = f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(columns)}"
            raise ConfigurationError("--map", f"no column {column!r}{hint}")
        name, unit = _field_and_unit(said)
        yield column, Target(column, name, unit, "--map")


def _field_and_unit(said: str) -> tuple[str, str | None]:
    if said == KEEP or said in FIELDS:
        return said, None
    name, _, unit = said.rpartition("_")
    if name in (*TIMES, *DURATIONS) and unit in US_PER:
        return name, unit
    raise ConfigurationError("--map", f"no field {said!r}; there are {', '.join(FIELDS)}, {KEEP}")


def _with_unit(target: Target, rows: list[Map[str, Any]], options: Options) -> Target:
    """The target with the unit its numbers need, or ConfigurationError that shows how to say it."""
    if target.unit is not None or target.field not in (*TIMES, *DURATIONS):
        return target
    if target.field in DURATIONS:
        raise ConfigurationError(
            f"column {target.column!r}",
            f"its name does not say the unit of its numbers. Say it with --map "
            f"{target.field}_ms={target.column} (or _s, _us, _ns), or keep the column as it is "
            f"with --map {KEEP}={target.column}",
        )
    if not any(is_number(row.get(target.column)) for row in rows):
        return Target(target.column, target.field, None, f"{target.why}, ISO 8601 text")
    if options.time_unit is None:
        raise ConfigurationError(
            f"column {target.column!r}",
            "its times are numbers, and its name does not say in which unit. Say it with "
            "--time-unit s (or ms, us, ns)",
        )
    return Target(target.column, target.field, options.time_unit, f"{target.why}, --time-unit")
