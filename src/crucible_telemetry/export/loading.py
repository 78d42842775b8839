"""Lines of a file → a store whose columns hold the figures as they were exported: nothing is priced or judged anew."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import astuple

from crucible_telemetry.collect.figures import base_flags
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.events.columns import (
    DTYPES,
    MISSING,
    NO_TOKENS,
    STREAMED,
    TOKENS,
    Columns,
    Payload,
)
from crucible_telemetry.events.enrich import Plan
from crucible_telemetry.events.event import GENERIC_SHAPE, Outcome
from crucible_telemetry.events.shape import SHAPES, Link, encode
from crucible_telemetry.events.usage import CHUNK_TOKENS
from crucible_telemetry.export.columns import flags_of
from crucible_telemetry.export.reading import Line, as_unreadable
from crucible_telemetry.stores.memory import MemoryStore

BATCH: Final = 1024
"""Lines read at once: 3–4 ms."""
_NAMES: Final = Line.__struct_fields__
_LIMIT: Final = 2**62
_OUTCOMES: Final = {outcome.label: outcome for outcome in Outcome}
_SCALED: Final = (
    ("latency_ns", "latency_ms", 1e6), ("ttft_ns", "ttft_ms", 1e6), ("itl_ns", "itl_ms", 1e6),
    ("cost_pico", "cost_usd", 1e12),
)  # fmt: skip
_MOST_TOKENS: Final = int(np.iinfo(DTYPES[STREAMED]).max)
_TOKENS: Final = tuple((name, f"{name}_tokens") for name in TOKENS)
_COUNTED: Final = ("ends", "llm", "wraps", "marked", "rank")
_IDENTITY: Final = {
    "item": "sample_id", "repeat": "repeat", "attempt": "attempt",
    "session": "session_id", "user": "user_id", "cohort": "cohort",
}  # fmt: skip


class Loader:
    """Fills a store with the lines of one experiment, in the order of the file.

    The store's seqs count the lines; `seqs` are those of the file. What a line cannot be (a negative
    time, tokens beyond 32 bits) is told once some lines have gathered.
    """

    def __init__(self, reader: ExperimentReader, path: Path) -> None:
        self.reader, self._path = reader, path
        self.store = MemoryStore(reader)
        self._seqs: list[Any] = []
        self._trials: dict[tuple[Any, ...], int] = {}
        self._flags: dict[str, int] = {}
        self._span: tuple[int, ...] = ()
        self._waiting: list[tuple[int, Any]] = []

    def add(self, number: int, line: Any) -> None:
        """Take one line; `number` is where it stands in the file."""
        self._waiting.append((number, line))
        if len(self._waiting) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the store; `UnreadableFile` names the first line that cannot be."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        lines = [line for _, line in waiting]
        try:
            rows, columns, seqs = self._read(lines)
        except Exception:
            for number, line in waiting:
                with as_unreadable(self._path, number):
                    self._read([line])
            raise
        times = columns["timestamp_us"]
        known = (*self._span, int(times.min()), int(times.max()))
        self._span = (min(known), max(known))
        self.store.append(Columns(self.store.last_seq + 1, Payload.of(rows), columns))
        self._seqs.append(seqs)

    def _read(self, lines: list[Any]) -> tuple[list[bytes], dict[str, Any], Any]:
        """(rows, columns by name, the file's seqs) of some lines, a field at a time."""
        given = dict(zip(_NAMES, zip(*map(astuple, lines), strict=True), strict=True))
        trials = _each(self._trial, *(given[field] for field in _IDENTITY.values()))
        rows, shapes = zip(*map(_encoded, lines, trials), strict=True)
        models, errors = self.reader.models.number, self.reader.errors.number
        found = {
            "timestamp_us": _whole("timestamp_us", given["timestamp_us"], -_LIMIT, _LIMIT),
            "shape": shapes,
            "flags": _each(
                self._counted_as,
                map(bool, given["event_id"]),
                given["event_name"],
                *(given[name] for name in _COUNTED),
            ),
            "outcome": _each(_outcome, given["outcome"]),
            "model": _each(lambda *named: models(named), given["provider"], given["model"]),
            "trial": trials,
            "error": _each(lambda kind: errors(kind or ""), given["error_type"]),
            **_figures(given),
        }
        columns = {
            name: np.asarray(column, DTYPES[name])
            for name, column in found.items()
            if column is not None
        }
        return list(rows), columns, np.array(_whole("seq", given["seq"], 0, _LIMIT), np.int64)

    def seqs(self) -> Any:
        """The file's seq of each line ``(n,)``; None where they count the lines too, or are not there."""
        found = np.concatenate([np.zeros(0, np.int64), *self._seqs])
        counted = np.arange(1, len(found) + 1)
        return None if not found.any() or np.array_equal(found, counted) else found

    def life(self) -> Life:
        """From the first event to the last, on the clock of the events."""
        first_us, last_us = self._span or (0, 0)
        life = Life(self.reader.experiment_id, first_us, 0)
        life.move("stop", last_us, (last_us - first_us) * 1000)
        return life

    @property
    def in_trials(self) -> bool:
        """Whether some event says of which item it is."""
        return any(item is not None for item, *_ in self._trials)

    def trial_number(self, record: TrialRecord) -> int:
        """The number of the trial of this identity; 0 where no event was emitted in it."""
        return self._trials.get(tuple(getattr(record, field) for field in _IDENTITY), 0)

    def _counted_as(self, whole: bool, name: str, *counted: Any) -> int:  # noqa: FBT001 - a value
        if whole:  # all columns are there, so what is not said does not hold
            return flags_of(dict(zip(_COUNTED, counted, strict=True)))
        flags = self._flags.get(name)
        if flags is None:
            flags = self._flags[name] = base_flags(Plan(name, (), ()))
        return flags

    def _trial(self, *key: Any) -> int:
        """The number under which this identity is known; 0 for nobody's."""
        if key == (None,) * len(key):
            return 0
        number = self._trials.get(key)
        if number is None:
            number = self._trials[key] = self.reader.trials.new_number()
            self.reader.trials.stamp(number, **dict(zip(_IDENTITY, key, strict=True)))
        return number


def _each(answer: Callable[..., int], *columns: Iterable[Any]) -> list[int]:
    """The answer for the values of each row, asked once per distinct ones."""
    rows = list(zip(*columns, strict=True))
    answers = {row: answer(*row) for row in dict.fromkeys(rows)}
    return [answers[row] for row in rows]


def _figures(given: dict[str, Sequence[Any]]) -> dict[str, Any]:
    """The columns of figures; None for one that no row has."""
    found = {name: _scaled(name, field, scale, given) for name, field, scale in _SCALED}
    for name, field in _TOKENS:
        found[name] = _counts(field, given[field])
    marks = [numbers.get(CHUNK_TOKENS) for numbers in given["measurements"]]
    sound = [type(n) is int and 0 <= n <= _MOST_TOKENS for n in marks]
    found[STREAMED] = np.where(sound, marks, NO_TOKENS) if any(sound) else None
    return found


def _scaled(name: str, field: str, scale: float, given: dict[str, Sequence[Any]]) -> Any:
    """Milliseconds or dollars as the integers they came from; where these stand beside, these."""
    values = given[field]
    missing = np.array([value is None for value in values])
    exact = {at: own[name] for at, own in enumerate(given["exact"]) if name in own}
    if missing.all() and not exact:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        # As `round` does: half to even, of the product of two floats.
        scaled = np.rint(np.array(values, np.float64) * scale)
        there = ~missing
        there[list(exact)] = False
        odd = there & ~((scaled >= 0) & (scaled < _LIMIT))
    if odd.any():
        raise ValueError(f"{field}: {values[int(odd.argmax())]} is out of range")
    whole = np.full(len(values), MISSING)
    whole[there] = scaled[there].astype(np.int64)
    whole[list(exact)] = _whole(field, list(exact.values()), 0, _LIMIT)
    return whole


def _counts(field: str, values: Sequence[int | None]) -> list[int] | None:
    said = [value for value in values if value is not None]
    if not said:
        return None
    _whole(field, said, 0, _MOST_TOKENS + 1)
    return [NO_TOKENS if value is None else value for value in values]


def _whole(field: str, values: Sequence[int], low: int, high: int) -> Sequence[int]:
    """The values, all of them in the range."""
    for value in (min(values, default=low), max(values, default=low)):
        if not low <= value < high:
            raise ValueError(f"{field}: {value} is out of range")
    return values


def _outcome(label: str | None) -> int:
    if label not in _OUTCOMES:
        raise ValueError(f"outcome: {label!r} is none of {', '.join(filter(None, _OUTCOMES))}")
    return _OUTCOMES[label]


def _encoded(line: Any, trial: int) -> tuple[bytes, int]:
    """(row, number of its shape) of a line."""
    name, numbers, words = line.event_name, line.measurements, line.metadata
    link, at_us = _link(line), line.timestamp_us
    number = SHAPES.by_key.get((name, *numbers, None, *words))
    if number is None:
        shape = SHAPES.intern(name, numbers, words)
        if shape is None:
            row = encode((at_us, GENERIC_SHAPE, trial, link, name, numbers, words))
            return row, GENERIC_SHAPE
        number = shape.id
    return encode((at_us, number, trial, link, *numbers.values(), *words.values())), number


def _link(line: Any) -> Link | None:
    if line.span_id is None and line.parent_id is None and line.trace_id is None:
        return None
    span, parent = _span("span_id", line.span_id), _span("parent_id", line.parent_id)
    return span, parent, line.trace_id or 0, line.wraps


def _span(field: str, digits: str | None) -> int | None:
    if digits is None:
        return None
    return _whole(field, [int(digits, 16)], 0, 2**64)[0]
