"""Stored rows → the fields of `Event`s, a field at a time for all rows. PURE.

An event has some 35 fields, and most of them are the same in all rows or follow from a small number: what
is asked once per shape, trial, model and name costs nothing per event.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import FILL, TOKENS, Columns
from crucible_telemetry.events.event import IDENTITY, Identity, Outcome
from crucible_telemetry.events.known import known
from crucible_telemetry.events.scope import span_hex, trace_hex
from crucible_telemetry.events.shape import SHAPES, Row, contents

Rows = NDArray[np.intp]
Fields = dict[str, Iterable[Any]]
"""Values by field name: as many as there are rows, or an endless repetition of one."""

FIGURES: Final = {
    "latency_ns": ("latency_ms", 1e6),
    "cost_pico": ("cost_usd", 1e12),
    "ttft_ns": ("ttft_ms", 1e6),
    "itl_ns": ("itl_ms", 1e6),
}
"""Field and divisor of each integer column."""
_ENDS: Final = {outcome.value: (outcome.success, outcome.label) for outcome in Outcome}
_NUMBERS: Final = frozenset({"repeat", "attempt"})


class Words(Protocol):
    """What the numbers in columns stand for."""

    def model(self, model: int) -> tuple[str | None, str | None]:
        """(provider, model)."""
        ...

    def error(self, error: int) -> str:
        """The error's type."""
        ...

    def identity(self, trial: int) -> Identity:
        """Whose trial it was."""
        ...


def event_fields(rows: Sequence[Row], columns: Columns, at: Rows, words: Words) -> Fields:
    """What rows, decoded, and columns at the same places tell; at least one row."""
    names, measurements, metadata = contents(rows)
    owned: Fields = _worded(columns.trial[at], words.identity, IDENTITY)
    carried = owned.keys() & _carried(set(columns.shape[at].tolist()))
    if carried:
        metadata = list(metadata)
        owned |= {name: _own(name, owned[name], metadata) for name in carried}
    categories = {name: known(name).category for name in set(names)}
    return {
        "timestamp_us": columns.timestamp_us[at].tolist(),
        "event_name": names,
        "measurements": measurements,
        "metadata": metadata,
        "category": map(categories.__getitem__, names),
        **_figures(columns, at),
        **_tokens(columns, at),
        **_worded(columns.outcome[at], _ENDS.__getitem__, ("success", "outcome")),
        **_worded(columns.model[at], words.model, ("provider", "model")),
        **_worded(columns.error[at], lambda n: (words.error(n) or None,), ("error_type",)),
        **owned,
        **_linked(rows),
    }


def _figures(columns: Columns, at: Rows) -> Fields:
    """Milliseconds and dollars, derived from the stored integers."""
    return {
        field: _present(getattr(columns, name), at, FILL[name], divisor)
        for name, (field, divisor) in FIGURES.items()
    }


def _tokens(columns: Columns, at: Rows) -> Fields:
    return {f"{name}_tokens": _present(getattr(columns, name), at, FILL[name]) for name in TOKENS}


def _present(
    column: NDArray[Any] | None, at: Rows, missing: int, divisor: float | None = None
) -> Iterable[Any]:
    if column is None:
        return repeat(None)
    values = column[at]
    found: list[Any] = (values if divisor is None else values / divisor).tolist()
    for row in np.flatnonzero(values == missing).tolist():
        found[row] = None
    return found


def _worded(
    numbers: NDArray[Any], words: Callable[[int], tuple[Any, ...]], names: Sequence[str]
) -> Fields:
    """Some fields that follow from a number; `words` is asked once for each."""
    listed = numbers.tolist()
    if listed.count(listed[0]) == len(listed):
        return {name: repeat(w) for name, w in zip(names, words(listed[0]), strict=True)}
    known_words = {number: words(number) for number in set(listed)}
    of_rows = map(known_words.__getitem__, listed)
    return dict(zip(names, zip(*of_rows, strict=True), strict=True))


def _carried(shapes: Iterable[int]) -> set[str]:
    """Keys that the metadata of some of these rows may have; the generic shape may have any id."""
    return {key for shape in shapes for key in SHAPES.by_id[shape].metadata_keys or IDENTITY}


def _own(name: str, ids: Iterable[Any], metadata: Sequence[dict[str, Any]]) -> list[Any]:
    """Ids as the metadata gives them, else as the trial does."""
    word = _number if name in _NUMBERS else _text
    return [word(of.get(name), one) for of, one in zip(metadata, ids, strict=False)]


def _text(value: object, given: str | None) -> str | None:
    return str(value) if type(value) in (str, int) else given


def _number(value: object, given: int | None) -> int | None:
    return value if type(value) is int else given


def _linked(rows: Sequence[Row]) -> Fields:
    """Where the events hang in the tree of spans."""
    links = [row[3] for row in rows]
    if not any(links):
        return dict.fromkeys(("span_id", "parent_id", "trace_id"), repeat(None))
    none = (None, None, None, False)
    spans, parents, traces, _ = zip(*(link or none for link in links), strict=True)
    return {
        "span_id": map(span_hex, spans),
        "parent_id": map(span_hex, parents),
        "trace_id": map(trace_hex, traces),
    }
