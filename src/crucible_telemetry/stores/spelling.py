"""An experiment's own numbers for shapes, models and error types, so that what is written can be read elsewhere.

Shapes are numbered per process on the way; a file keeps them by numbers of its own, 1, 2, 3 … in the
order they came. Number 0 is the generic shape, whose rows carry their own keys.
"""

from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns, Payload
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.shape import SHAPES, ShapeTable, decode_rows, encode
from crucible_telemetry.stores.damage import KINDS, NAMED, runs_of
from crucible_telemetry.stores.keeping import Word

DAMAGED: Final = "crucible.damaged"
"""What stands for a word that is damaged, where somebody reads on all the same."""
NOTHING: Final[Mapping[str, frozenset[int]]] = {}


class Spelling:
    """Translates columns to the experiment's numbers and back; knows which words are not written yet."""

    def __init__(
        self,
        reader: Any,
        words: list[Word],
        shapes: ShapeTable = SHAPES,
        damaged: Mapping[str, frozenset[int]] = NOTHING,
    ) -> None:
        self._reader, self._shapes = reader, shapes
        self._damaged = damaged
        self._kept: list[tuple[Any, ...]] = [("", (), ())]
        self._number: dict[int, int] = {GENERIC_SHAPE: 0}
        self._local: list[int | None] = [GENERIC_SHAPE]
        self._written = dict.fromkeys(KINDS, 1)
        self._sent = self._written
        for word in sorted((*words, *_stand_ins(damaged)), key=lambda word: word.number):
            self._learn(word)

    def _learn(self, word: Word) -> None:
        """A word that was written before: words come in the order of their numbers."""
        self._written[word.kind] = word.number + 1
        if word.kind == "shape" and word.word is None:
            self._kept.append((DAMAGED, None, None))
            self._local.append(None)
        elif word.kind == "shape":
            name, numbers, words = word.word
            shape = self._shapes.intern(name, tuple(numbers), tuple(words))
            self._kept.append((name, tuple(numbers), tuple(words)))
            self._local.append(None if shape is None else shape.id)
            if shape is not None:
                self._number[shape.id] = word.number
        elif word.kind == "model":
            self._reader.models.number(tuple(word.word))
        else:
            self._reader.errors.number(word.word)

    # -- to the disk ----------------------------------------------------------------------------

    def numbered(self, columns: Columns) -> Columns:
        """The same rows, their shapes by the experiment's numbers; new shapes get the next ones."""
        for shape in np.unique(columns.shape).tolist():
            if shape not in self._number:
                self._number[shape] = len(self._kept)
                known = self._shapes.by_id[shape]
                self._kept.append((known.name, known.measurement_keys, known.metadata_keys))
                self._local.append(shape)
        return columns.replaced(shape=mapped(columns.shape, self._number))

    def news(self) -> tuple[Word, ...]:
        """Words that are not written yet."""
        lists: dict[str, list[Any]] = {
            "shape": self._kept,
            "model": self._reader.models.words,
            "error": self._reader.errors.words,
        }
        self._sent = {kind: len(words) for kind, words in lists.items()}
        return tuple(
            Word(kind, number, lists[kind][number])
            for kind in KINDS
            for number in range(self._written[kind], self._sent[kind])
        )

    def written(self) -> None:
        """The news given last are on the disk."""
        self._written = self._sent

    @property
    def numbers(self) -> dict[str, int]:
        """The greatest number by kind, with the news given last."""
        return {kind: count - 1 for kind, count in self._sent.items() if count > 1}

    # -- from the disk --------------------------------------------------------------------------

    def unreadable(self, columns: Columns, trials: AbstractSet[int] | None) -> str | None:
        """Which of these rows use words that are damaged, or trials that are none of `trials`; None: no row does."""
        bad = np.zeros(len(columns), np.bool_)
        for kind, numbers in self._damaged.items():
            bad |= np.isin(getattr(columns, kind), list(numbers))
        if trials is not None:
            bad |= ~np.isin(columns.trial, [0, *trials])
        if not bad.any():
            return None
        runs = runs_of(columns.seqs(np.flatnonzero(bad)).tolist())
        which = ", ".join(f"{first} to {last}" for first, last in runs[:NAMED])
        more = f" and {len(runs) - NAMED:,} more runs" if len(runs) > NAMED else ""
        return f"{which}{more}: shapes, models, error types or trials that they name are damaged"

    def localised(self, columns: Columns) -> Columns:
        """The same rows, their shapes by this process's numbers."""
        return localised(columns, self._kept, self._local)


def localised(
    columns: Columns, kept: Sequence[tuple[Any, ...]], local: Sequence[int | None]
) -> Columns:
    """The same rows, their shapes by this process's numbers.

    `kept` says for each number in the columns what the shape is (name, measurement keys, metadata keys), and
    `local` which one it is here; None where this process's table is full.
    """
    present = np.unique(columns.shape).tolist()
    strangers = [number for number in present if local[number] is None]
    if strangers:
        return _generic(columns, set(strangers), kept, local)
    table = {number: local[number] or GENERIC_SHAPE for number in present}
    return columns.replaced(shape=mapped(columns.shape, table))


def _generic(
    columns: Columns,
    strangers: set[int],
    kept: Sequence[tuple[Any, ...]],
    local: Sequence[int | None],
) -> Columns:
    """This process's table of shapes is full: rows of further ones carry their keys themselves."""
    rows = columns.payload.rows()
    numbers = columns.shape.tolist()
    for at, number in enumerate(numbers):
        if number in strangers:
            rows[at] = _spelled(rows[at], *kept[number])
        numbers[at] = local[number] or GENERIC_SHAPE
    again = columns.replaced(shape=np.array(numbers, np.uint32))
    again.payload = Payload.of(rows)
    return again


def _stand_ins(damaged: Mapping[str, frozenset[int]]) -> Iterator[Word]:
    """In the places of words that are damaged, so that the others keep their numbers."""
    for kind, numbers in damaged.items():
        for number in numbers:
            marked = f"{DAMAGED} {number}"
            word = {"shape": None, "model": (None, marked), "error": marked}[kind]
            yield Word(kind, number, word)


def _spelled(
    row: bytes, name: str, numbers: tuple[str, ...] | None, words: tuple[str, ...] | None
) -> bytes:
    """A row with its keys in it; without keys its values are kept as a list."""
    values = decode_rows([row])[0]
    at_us, _, trial, link, *rest = values
    if numbers is None or words is None:
        return encode((at_us, GENERIC_SHAPE, trial, link, name, {}, {"values": rest}))
    split = len(numbers)
    return encode((
        at_us, GENERIC_SHAPE, trial, link, name,
        dict(zip(numbers, rest[:split], strict=True)),
        dict(zip(words, rest[split:], strict=True)),
    ))  # fmt: skip


def mapped(numbers: NDArray[Any], table: Mapping[int, int]) -> NDArray[Any]:
    """Other numbers for these, of the same type; those that `table` does not name become 0."""
    largest = int(numbers.max()) if len(numbers) else 0
    to = np.zeros(largest + 1, numbers.dtype)
    for number, other in table.items():
        if number <= largest:
            to[number] = other
    found: NDArray[Any] = to[numbers]
    return found
