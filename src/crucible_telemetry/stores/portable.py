"""Blocks that carry their own words: bytes that any process can read back into columns. PURE.

What the numbers in columns stand for (shapes, models, error types, trials) is known to one process only. A
portable block is ``b"CTP1"``, the length of a msgpack list of its words, the words, and a block (`blocks.py`)
whose numbers are places in that list. A few hundred bytes more, and it needs nothing beside it.
"""

from typing import Any, Final, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.events.event import GENERIC_SHAPE, Identity
from crucible_telemetry.stores.blocks import decoded, encoded
from crucible_telemetry.stores.spelling import localised, mapped

MAGIC: Final = b"CTP1"
_HEAD: Final = len(MAGIC) + 4

Spelt = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A shape: (name, measurement keys, metadata keys)."""


class StoreReader(Reader, Protocol):
    """What a store is given to understand its rows: words by number, and numbers by word.

    The numbers mean something in this process only; all of them are small integers.
    """

    def shape_number(
        self, name: str, measurement_keys: tuple[str, ...], metadata_keys: tuple[str, ...]
    ) -> int | None:
        """The number of a shape; None when the process's table is full (4,096 of them)."""
        ...

    def model_number(self, provider: str | None, model: str | None) -> int:
        """The number of a model."""
        ...

    def error_number(self, error: str) -> int:
        """The number of an error type."""
        ...

    def trial_number(self, trial: int, identity: Identity) -> int:
        """The number of a trial that another process called `trial`."""
        ...


class Words(Struct, frozen=True, array_like=True):
    """What the numbers of a portable block stand for; number 0 of each is none, and not listed."""

    shapes: list[Spelt]
    models: list[tuple[str | None, str | None]]
    errors: list[str]
    trials: list[tuple[int, Identity]]


def encode(columns: Columns, reader: StoreReader) -> bytes:
    """Some rows, contiguous in seq, as a portable block."""
    places = {name: _distinct(columns, name) for name in ("shape", "model", "error", "trial")}
    words = Words(
        [(reader.name(n), *reader.keys(n)) for n in places["shape"]],
        [reader.model(n) for n in places["model"]],
        [reader.error(n) for n in places["error"]],
        [(n, reader.identity(n)) for n in places["trial"]],
    )
    arrays = {name: _placed(getattr(columns, name), numbers) for name, numbers in places.items()}
    head = msgspec.msgpack.encode(words)
    return b"".join(
        (MAGIC, len(head).to_bytes(4, "little"), head, encoded(columns.replaced(**arrays)))
    )


def decode(block: bytes, reader: StoreReader) -> Columns:
    """The rows of a portable block, by this process's numbers; `StoreDamaged` when it cannot be one."""
    try:
        words, columns = _taken_apart(block)
        return _localised(columns, words, reader)
    except (ValueError, TypeError, IndexError, msgspec.MsgspecError) as error:
        raise StoreDamaged("block", f"is no portable block: {error}") from error


def _taken_apart(block: bytes) -> tuple[Words, Columns]:
    if block[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin like one")
    end = _HEAD + int.from_bytes(block[len(MAGIC) : _HEAD], "little")
    return msgspec.msgpack.decode(block[_HEAD:end], type=Words), decoded(block[end:])


def _localised(columns: Columns, words: Words, reader: StoreReader) -> Columns:
    models = [reader.model_number(*one) for one in words.models]
    errors = [reader.error_number(one) for one in words.errors]
    trials = [reader.trial_number(*one) for one in words.trials]
    shapes = [reader.shape_number(*one) for one in words.shapes]
    numbered = columns.replaced(
        model=_numbered(columns.model, models),
        error=_numbered(columns.error, errors),
        trial=_numbered(columns.trial, trials),
    )
    return localised(numbered, [("", (), ()), *words.shapes], [GENERIC_SHAPE, *shapes])


def _distinct(columns: Columns, name: str) -> list[int]:
    """The numbers in a column but for 0 (no shape of its own, no model, no error, no trial)."""
    found: list[int] = np.unique(getattr(columns, name)).tolist()
    return [number for number in found if number]


def _placed(column: NDArray[Any], numbers: list[int]) -> NDArray[Any]:
    """A column with places in the list of numbers, from 1, instead of the numbers."""
    found: NDArray[Any] = np.searchsorted([0, *numbers], column).astype(column.dtype)
    return found


def _numbered(column: NDArray[Any], numbers: list[int]) -> NDArray[Any]:
    """A column with numbers instead of places."""
    if len(column) and int(column.max()) > len(numbers):
        raise ValueError(f"a word of {int(column.max())} where there are {len(numbers)}")
    return mapped(column, dict(enumerate(numbers, 1)))
