"""The columns of one batch in the making: figures come by groups of one shape, and go where their rows are. PURE."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from crucible_telemetry.events.columns import (
    DTYPES,
    FILL,
    FIXED,
    MARKED,
    NO_TOKENS,
    WRAPS,
    Columns,
    Payload,
)
from crucible_telemetry.events.enrich import constant

MAX_TOKENS: Final = 2**31 - 1
"""A sum beyond it is left out, as a count beyond it is."""


class Batch:
    """Columns in the making: a value for each row, written a group at a time."""

    __slots__ = ("arrays", "count", "marked", "names", "shape", "whole")

    def __init__(self, count: int) -> None:
        self.count = count
        self.arrays: dict[str, Any] = {}
        self.whole: dict[str, Any] = {}
        self.shape: dict[int, int] = {}
        self.marked: list[int] = []
        self.names: dict[int, str] = {}

    def put(self, at: list[int] | None, header: Sequence[Any], found: dict[str, Any]) -> None:
        """Write the columns of the rows at these positions (None: all)."""
        trials = header[2]
        found = {
            **found,
            "timestamp_us": header[0],
            "trial": trials[0] if constant(trials) else trials,
        }
        links = header[3]
        if links.count(None) < len(links) and any(link is not None and link[3] for link in links):
            base = found["flags"]
            found["flags"] = [base | WRAPS if link and link[3] else base for link in links]
        if at is None:
            self.whole = found
            return
        # By index arrays: 5 ns a row, where a loop takes 30 a column; a lone row needs no array.
        places: Any = at[0] if len(at) == 1 else np.fromiter(at, np.intp, len(at))
        for name, values in found.items():
            column = self.arrays.get(name)
            if column is None:
                column = self.arrays[name] = np.full(self.count, FILL.get(name, 0), DTYPES[name])
            if isinstance(values, int):
                column[places] = values
            elif len(at) == 1:
                column[places] = values[0]
            elif isinstance(values, np.ndarray):
                column[places] = values
            else:
                column[places] = np.fromiter(values, DTYPES[name], len(at))

    def columns(self, first_seq: int, rows: list[bytes], shapes: list[int]) -> Columns:
        """The finished batch."""
        for at, shape in self.shape.items():
            shapes[at] = shape
        same = not self.arrays and not self.shape
        sources: dict[str, Any] = {
            **self.arrays,
            **self.whole,
            "shape": shapes[0] if same else shapes,
        }
        arrays = {
            name: _array(sources.get(name, 0), name, self.count)
            for name in (*FIXED, *(name for name in FILL if name in sources))
        }
        if "prompt" in arrays or "completion" in arrays:
            arrays["total"] = _totals(arrays, self.count)
        if self.marked:
            arrays["flags"][self.marked] |= MARKED
        return Columns(first_seq, Payload.of(rows), arrays, self.names or None)


def _totals(arrays: dict[str, Any], count: int) -> Any:
    """Total tokens: as reported, else prompt + completion."""
    none = np.full(count, NO_TOKENS, np.int32)
    prompt, completion = arrays.get("prompt", none), arrays.get("completion", none)
    summed = np.maximum(prompt, 0).astype(np.int64) + np.maximum(completion, 0)
    summed[((prompt < 0) & (completion < 0)) | (summed > MAX_TOKENS)] = NO_TOKENS
    total = arrays.get("total", none)
    return np.where(total >= 0, total, summed).astype(np.int32)


def _array(values: Any, name: str, count: int) -> Any:
    dtype = DTYPES[name]
    if isinstance(values, int):
        return np.full(count, values, dtype)
    if isinstance(values, np.ndarray):
        return values.astype(dtype, copy=False)
    return np.fromiter(values, dtype, count)
