"""What the columns of a store tell of its events by themselves, as Arrow arrays: no row is decoded.

Texts are dictionary arrays: what a number stands for is asked once. Shapes are all ``(n,)``.
"""

from collections.abc import Callable, Iterator, Sequence, Set as AbstractSet
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucible_telemetry.collect.read_back import FIGURES
from crucible_telemetry.events.columns import (
    FILL,
    FIXED,
    RANK_SHIFT,
    RANKS,
    TOKENS,
    Columns,
    Payload,
)
from crucible_telemetry.events.event import GENERIC_SHAPE, IDENTITY, Outcome
from crucible_telemetry.events.known import known
from crucible_telemetry.events.shape import SHAPES
from crucible_telemetry.export.cells import json_text
from crucible_telemetry.export.columns import EXACT, FLAGS, RANK, exact_figures
from crucible_telemetry.export.walk import Decoder
from crucible_telemetry.export.words import utf8

Arrays = dict[str, Any]
Numbered = tuple[NDArray[Any], Callable[[int], tuple[Any, ...]], tuple[str, ...]]
"""Numbers that stand for words, what each stands for, and the fields that these words are."""

pa.array([0])  # with its first array pyarrow imports pandas, where that is: now, in a thread
TEXT: Final = pa.string()
TEXTS: Final = pa.list_(TEXT)
_INDEX: Final = pa.int32()
_TYPES: Final = {
    "success": pa.bool_(), "tags": TEXTS, "repeat": pa.int64(), "attempt": pa.int64(),
}  # fmt: skip
"""Of the fields that a number stands for and that are no texts."""
_NARROW: Final = 2**16
_FIGURES: Final = {**FIGURES, **{name: (f"{name}_tokens", None) for name in TOKENS}}
WORDS: Final = frozenset({
    "experiment_id", "experiment_name", "condition", "event_name", "category", "outcome", "provider",
    "model", "error_type", "sample_id", "session_id", "user_id", "cohort",
})  # fmt: skip
"""The texts that come as dictionaries."""
TOLD: Final = WORDS | {
    "seq", "event_id", "timestamp_us", "tags", "success", "repeat", "attempt", *FLAGS, RANK,
    *(field for field, _ in _FIGURES.values()),
}  # fmt: skip
"""Everything that columns tell."""
_OF_EXPERIMENT: Final = ("experiment_id", "experiment_name", "condition", "tags")


def together(parts: Sequence[tuple[Columns, NDArray[np.intp]]]) -> Columns:
    """Rows of several columns as one, without their payload."""
    arrays: Arrays = {
        name: np.concatenate([getattr(columns, name)[at] for columns, at in parts])
        for name in FIXED
    }
    for name, fill in FILL.items():
        found = [getattr(columns, name) for columns, _ in parts]
        if any(column is not None for column in found):
            arrays[name] = np.concatenate(
                [
                    np.full(len(at), fill) if column is None else column[at]
                    for column, (_, at) in zip(found, parts, strict=True)
                ]
            )
    return Columns(0, Payload(b"", np.zeros(1, np.uint32)), arrays)


def stored(words: Decoder, columns: Columns, seqs: Any, wanted: AbstractSet[str]) -> Arrays:
    """The fields that are `wanted` and that the columns tell; what no row has is left out.

    Not told: names of events of the generic shape (null here), spans, and ids that stand in a row's metadata.
    """
    found: Arrays = {}
    if "seq" in wanted:
        found["seq"] = pa.array(seqs)
    if "event_id" in wanted:
        digits = pa.array(seqs).cast(TEXT)
        found["event_id"] = pc.binary_join_element_wise(utf8(words.experiment_id), digits, "-")
    if "timestamp_us" in wanted:
        found["timestamp_us"] = pa.array(columns.timestamp_us)
    for numbers, word, fields in _numbered(words, columns):
        if not wanted.isdisjoint(fields):
            found |= _worded(numbers, word, fields)
    found |= _figures(columns, wanted) | _counted(columns.flags, wanted)
    every = np.arange(len(columns))
    exact = exact_figures(columns, every) if EXACT in wanted else {}
    if exact:
        texts = {place: json_text(one) for place, one in exact.items()}
        found[EXACT] = pa.array(map(texts.get, every.tolist()), TEXT)
    return found


def _numbered(words: Decoder, columns: Columns) -> Iterator[Numbered]:
    spec, same = words.spec, np.zeros(len(columns), np.uint8)
    own = (words.experiment_id, spec.name, spec.condition, spec.tags)
    yield same, lambda _: own, _OF_EXPERIMENT
    yield columns.shape, _name, ("event_name", "category")
    yield columns.outcome, _outcome, ("success", "outcome")
    yield columns.model, words.model, ("provider", "model")
    yield columns.error, lambda number: (words.error(number) or None,), ("error_type",)
    yield columns.trial, words.identity, IDENTITY


def _name(shape: int) -> tuple[str | None, str | None]:
    if shape == GENERIC_SHAPE:
        return None, None
    name = SHAPES.by_id[shape].name
    return name, known(name).category


def _outcome(number: int) -> tuple[bool | None, str | None]:
    outcome = Outcome(number)
    return outcome.success, outcome.label


def _worded(
    numbers: NDArray[Any], word: Callable[[int], tuple[Any, ...]], fields: Sequence[str]
) -> Arrays:
    seen, places = distinct(numbers)
    columns = list(zip(*map(word, seen.tolist()), strict=True))
    return {
        name: as_words(_TYPES.get(name, TEXT), places, values)
        for name, values in zip(fields, columns, strict=True)
        if any(value is not None for value in values)
    }


def distinct(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """`np.unique` with its inverse, without sorting where the numbers lie close together."""
    low, high = int(numbers.min()), int(numbers.max())
    if high == low:
        return np.array([low]), np.zeros(len(numbers), np.int32)
    if high - low >= _NARROW:
        seen, places = np.unique(numbers, return_inverse=True)
        return seen, places.astype(np.int32)
    shifted = numbers - numbers.dtype.type(low)
    there = np.bincount(shifted) > 0
    return np.flatnonzero(there) + low, (np.cumsum(there, dtype=np.int32) - 1)[shifted]


def as_words(kind: Any, places: NDArray[np.int32], words: Sequence[Any]) -> Any:
    """The word at each place: texts by their dictionary, which names each once, others as they are."""
    if kind != TEXT:
        return pa.array([_fitting(kind, word) for word in words], kind).take(pa.array(places))
    numbers: dict[str, int] = {}
    renumbered = np.array(
        [-1 if one is None else numbers.setdefault(utf8(one), len(numbers)) for one in words],
        np.int32,
    )
    found = renumbered[places]
    indices = pa.array(found, _INDEX, mask=found < 0 if (renumbered < 0).any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(numbers, TEXT))


def _fitting(kind: Any, word: Any) -> Any:
    """A word as Arrow takes it; a position beyond 64 bits is null (`metadata` has it)."""
    if kind == TEXTS:
        return [utf8(one) for one in word]
    return None if type(word) is int and not -(2**63) <= word < 2**63 else word


def _figures(columns: Columns, wanted: AbstractSet[str]) -> Arrays:
    """Milliseconds, dollars and tokens, derived from the stored integers."""
    found = {}
    for name, (field, divisor) in _FIGURES.items():
        column = getattr(columns, name)
        if field in wanted and column is not None:
            missing = column == FILL[name]
            values = column.astype(np.int64) if divisor is None else column / divisor
            found[field] = pa.array(values, mask=missing if missing.any() else None)
    return found


def _counted(flags: NDArray[np.uint8], wanted: AbstractSet[str]) -> Arrays:
    """What the events count as; null where it does not hold, as in the other formats."""
    found = {}
    for name in wanted & FLAGS.keys():
        holds = (flags & FLAGS[name]) != 0
        if holds.any():
            found[name] = pa.array(holds, mask=~holds)
    ranks = ((flags & RANKS) >> RANK_SHIFT).astype(np.int64)
    if RANK in wanted and ranks.any():
        found[RANK] = pa.array(ranks, mask=ranks == 0)
    return found
