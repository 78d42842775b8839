"""Lines of a file → a store whose columns hold the figures as they were exported: nothing is priced or judged anew."""

from typing import Any, Final

import numpy as np

from crucible_telemetry.collect.figures import base_flags
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.events.columns import (
    DTYPES,
    FILL,
    FIXED,
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
from crucible_telemetry.stores.memory import MemoryStore

BATCH: Final = 2048
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
    time, tokens beyond 32 bits) is a ValueError.
    """

    def __init__(self, reader: ExperimentReader) -> None:
        self.reader = reader
        self.store = MemoryStore(reader)
        self._seqs: list[Any] = []
        self._trials: dict[tuple[Any, ...], int] = {}
        self._flags: dict[str, int] = {}
        self._span: tuple[int, ...] = (0,)
        self._clear()

    def _clear(self) -> None:
        self._rows: list[bytes] = []
        self._values: dict[str, list[int]] = {name: [] for name in (*FIXED, *FILL)}
        self._batch_seqs: list[int] = []

    def add(self, line: Any) -> None:
        """Take one line."""
        figures = _figures(line) | {
            "flags": self._counted_as(line),
            "outcome": _outcome(line.outcome),
            "model": self.reader.models.number((line.provider, line.model)),
            "error": self.reader.errors.number(line.error_type or ""),
            "trial": self._trial(line),
            "timestamp_us": _whole("timestamp_us", line.timestamp_us, -_LIMIT, _LIMIT),
        }
        seq = _whole("seq", line.seq, 0, _LIMIT)
        row, figures["shape"] = _encoded(line, figures["trial"])
        self._rows.append(row)
        self._batch_seqs.append(seq)
        for name, column in self._values.items():
            column.append(figures[name])
        if len(self._rows) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the store."""
        if not self._rows:
            return
        columns = {
            name: np.array(values, DTYPES[name])
            for name, values in self._values.items()
            if name in FIXED or any(value != FILL[name] for value in values)
        }
        first = self.store.last_seq + 1
        times = self._values["timestamp_us"]
        known = self._span if first > 1 else ()
        self._span = (min((*known, *times)), max((*known, *times)))
        self.store.append(Columns(first, Payload.of(self._rows), columns))
        self._seqs.append(np.array(self._batch_seqs, np.int64))
        self._clear()

    def seqs(self) -> Any:
        """The file's seq of each line ``(n,)``; None where they count the lines too, or are not there."""
        found = np.concatenate([np.zeros(0, np.int64), *self._seqs])
        counted = np.arange(1, len(found) + 1)
        return None if not found.any() or np.array_equal(found, counted) else found

    def life(self) -> Life:
        """From the first event to the last, on the clock of the events."""
        first_us, last_us = min(self._span), max(self._span)
        life = Life(self.reader.experiment_id, first_us, 0)
        life.move("stop", last_us, (last_us - first_us) * 1000)
        return life

    @property
    def in_trials(self) -> bool:
        """Whether some event says of which item it is."""
        return any(item is not None for item, *_ in self._trials)

    def _counted_as(self, line: Any) -> int:
        if line.event_id:  # all columns are there, so what is not said does not hold
            return flags_of({name: getattr(line, name) for name in _COUNTED})
        flags = self._flags.get(line.event_name)
        if flags is None:
            flags = self._flags[line.event_name] = base_flags(Plan(line.event_name, (), ()))
        return flags

    def _trial(self, line: Any) -> int:
        """The number under which this identity is known; 0 for nobody's."""
        identity = {name: getattr(line, field) for name, field in _IDENTITY.items()}
        key = tuple(identity.values())
        if key == (None,) * len(key):
            return 0
        number = self._trials.get(key)
        if number is None:
            number = self._trials[key] = self.reader.trials.new_number()
            self.reader.trials.stamp(number, **identity)
        return number


def _figures(line: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, field, scale in _SCALED:
        value = line.exact.get(name, getattr(line, field))
        if type(value) is float:
            value = round(value * scale) if abs(value) < _LIMIT else _LIMIT
        found[name] = MISSING if value is None else _whole(field, value, 0, _LIMIT)
    for name, field in _TOKENS:
        value = getattr(line, field)
        found[name] = NO_TOKENS if value is None else _whole(field, value, 0, _MOST_TOKENS + 1)
    marks = line.measurements.get(CHUNK_TOKENS)
    found[STREAMED] = marks if type(marks) is int and 0 <= marks <= _MOST_TOKENS else NO_TOKENS
    return found


def _whole(field: str, value: int, low: int, high: int) -> int:
    if not low <= value < high:
        raise ValueError(f"{field}: {value} is out of range")
    return value


def _outcome(label: str | None) -> int:
    if label not in _OUTCOMES:
        raise ValueError(f"outcome: {label!r} is none of {', '.join(filter(None, _OUTCOMES))}")
    return _OUTCOMES[label]


def _encoded(line: Any, trial: int) -> tuple[bytes, int]:
    """(row, number of its shape) of a line."""
    name, numbers, words = line.event_name, line.measurements, line.metadata
    link, at_us = _link(line), line.timestamp_us
    shape = SHAPES.intern(name, numbers, words)
    if shape is None:
        return encode((at_us, GENERIC_SHAPE, trial, link, name, numbers, words)), GENERIC_SHAPE
    return encode((at_us, shape.id, trial, link, *numbers.values(), *words.values())), shape.id


def _link(line: Any) -> Link | None:
    if line.span_id is None and line.parent_id is None and line.trace_id is None:
        return None
    span, parent = _span("span_id", line.span_id), _span("parent_id", line.parent_id)
    return span, parent, line.trace_id or 0, line.wraps


def _span(field: str, digits: str | None) -> int | None:
    if digits is None:
        return None
    number = int(digits, 16)
    return _whole(field, number, 0, 2**64)
