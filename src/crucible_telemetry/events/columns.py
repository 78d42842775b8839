"""A batch of events as columns: what the drain makes, the board counts and the stores keep. PURE.

One class serves a batch of sixteen rows and a sealed segment of eight thousand. Columns that no row
has are None, so that a plain log line pays nothing for time to first token.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.event import Event, Identity
from crucible_telemetry.events.shape import Row, decode_rows

Ints = NDArray[np.int64]

MISSING: Final = -(2**63)
"""In int64 columns (`latency_ns`, `cost_pico`, `ttft_ns`, `itl_ns`): this row has no value."""
NO_TOKENS: Final = -1
"""In int32 columns (token counts): this row has no value."""

ENDS: Final = 1
"""Flag: the event ends an operation."""
LLM: Final = 2
"""Flag: the operation is a call to a language model."""
WRAPS: Final = 4
"""Flag: the operation is a span that contains others that are counted, so its cost and tokens are not."""
MARKED: Final = 8
"""Flag: something in the row was replaced (unencodable, too long, an enricher that failed)."""

RANK_SHIFT: Final = 4
RANKS: Final = 7 << RANK_SHIFT
"""Flag bits: how far outside the operation that is paid for this one lies by its name; see `counted_once`."""
AROUND_ALL: Final = 3 << RANK_SHIFT
"""From this rank on an operation wraps paid tools too; below it, calls to a model."""

NANO: Final = ("latency_ns", "cost_pico", "ttft_ns", "itl_ns")
TOKENS: Final = ("prompt", "completion", "total", "cached", "reasoning", "cache_write")
STREAMED: Final = "streamed"
"""Tokens by the marks of chunks: what a stream's pace is of while no usage is known; never billed."""
FIXED: Final = ("timestamp_us", "shape", "flags", "outcome", "model", "trial", "error")
DTYPES: Final[dict[str, Any]] = {
    "timestamp_us": np.int64,
    "shape": np.uint32,
    "flags": np.uint8,
    "outcome": np.uint8,
    "model": np.uint16,
    "trial": np.uint32,
    "error": np.uint16,
    **dict.fromkeys(NANO, np.int64),
    **dict.fromkeys((*TOKENS, STREAMED), np.int32),
}
FILL: Final = {**dict.fromkeys(NANO, MISSING), **dict.fromkeys((*TOKENS, STREAMED), NO_TOKENS)}


def counted_once(flags: NDArray[np.uint8], reports: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whose cost, or whose tokens, count: a mask ``(n,)``; `reports` says which rows have any.

    Ends of operations that wrap no counted one, and what reports for such an end. Of those that may
    report the same money, the nearest to the call are believed: an ensemble (known by name alone to
    wrap calls) counts when no call and nothing nearer was paid, a task when nothing at all was.
    """
    ranks = flags & RANKS
    may = ((flags & (ENDS | RANKS)) != 0) & ((flags & WRAPS) == 0)
    paid = may & reports
    calls = ranks[paid & ((flags & (LLM | RANKS)) != 0)].min(initial=RANKS)
    nearest = ranks[paid].min(initial=RANKS)
    counts: NDArray[np.bool_] = may & (ranks <= np.where(ranks < AROUND_ALL, calls, nearest))
    return counts


class Payload:
    """Encoded rows, one after the other in one blob: no object per event."""

    __slots__ = ("blob", "offsets")

    def __init__(self, blob: bytes, offsets: NDArray[np.uint32]) -> None:
        self.blob = blob
        self.offsets = offsets  # n + 1 of them

    @classmethod
    def of(cls, rows: Sequence[bytes]) -> "Payload":
        """Join rows (fewer than 4 GiB together)."""
        offsets = np.zeros(len(rows) + 1, np.uint32)
        np.cumsum(np.fromiter(map(len, rows), np.uint32, len(rows)), out=offsets[1:])
        return cls(b"".join(rows), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        offsets = self.offsets
        return self.blob[int(offsets[index]) : int(offsets[index + 1])]

    def some(self, at: NDArray[np.intp]) -> list[bytes]:
        """The rows at these positions."""
        blob, offsets = self.blob, self.offsets
        bounds = zip(offsets[at].tolist(), offsets[at + 1].tolist(), strict=True)
        return [blob[start:end] for start, end in bounds]

    def rows(self) -> list[bytes]:
        """All rows, cut apart again."""
        blob, ends = self.blob, self.offsets.tolist()
        return [blob[a:b] for a, b in pairwise(ends)]


class Columns:
    """`n` events in `seq` order, contiguous from `first_seq`; treat every array as read-only.

    Shapes are all ``(n,)``. `timestamp_us`: µs since the epoch. `shape`: id in the shape table.
    `flags`: `ENDS | LLM | WRAPS | MARKED | RANKS`. `outcome`: `Outcome` values. `model`, `error`: ids in the
    experiment's vocabularies (0 = none). `trial`: trial number (0 = none). `latency_ns`, `ttft_ns`,
    `itl_ns`: ns; `cost_pico`: 10⁻¹² USD; `prompt completion total cached reasoning cache_write streamed`: tokens;
    each of these is None when no row has it. `names`: names of generic rows by position, on the way only.
    `gapped`: the seq of each row where rows between were cut away, else None.
    """

    __slots__ = (*FIXED, *NANO, *TOKENS, STREAMED, "first_seq", "gapped", "names", "payload")

    gapped: Ints | None

    timestamp_us: Ints
    shape: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    outcome: NDArray[np.uint8]
    model: NDArray[np.uint16]
    trial: NDArray[np.uint32]
    error: NDArray[np.uint16]
    latency_ns: Ints | None
    cost_pico: Ints | None
    ttft_ns: Ints | None
    itl_ns: Ints | None
    prompt: NDArray[np.int32] | None
    completion: NDArray[np.int32] | None
    total: NDArray[np.int32] | None
    cached: NDArray[np.int32] | None
    reasoning: NDArray[np.int32] | None
    cache_write: NDArray[np.int32] | None
    streamed: NDArray[np.int32] | None

    def __init__(
        self,
        first_seq: int,
        payload: Payload,
        arrays: dict[str, Any],
        names: dict[int, str] | None = None,
    ) -> None:
        self.first_seq = first_seq
        self.payload = payload
        self.names = names
        self.gapped = None
        for name in FIXED:
            setattr(self, name, arrays[name])
        for name in FILL:
            setattr(self, name, arrays.get(name))

    def __len__(self) -> int:
        return len(self.timestamp_us)

    @property
    def last_seq(self) -> int:
        """`seq` of the last row."""
        if self.gapped is not None:
            return int(self.gapped[-1])
        return self.first_seq + len(self.timestamp_us) - 1

    def seqs(self, at: NDArray[np.intp]) -> Ints:
        """`seq` of the rows at these positions."""
        return at + self.first_seq if self.gapped is None else self.gapped[at]

    def decoded(self, at: NDArray[np.intp]) -> list[Row]:
        """The rows at these positions as lists of values, under their shapes of this process."""
        rows = decode_rows(self.payload.some(at))
        for row, shape in zip(rows, self.shape[at].tolist(), strict=True):
            row[1] = shape  # a row that another process wrote holds that one's number
        return rows

    def optional(self) -> dict[str, Any]:
        """The optional columns that are there, by name."""
        return {name: column for name in FILL if (column := getattr(self, name)) is not None}

    def replaced(self, **arrays: NDArray[Any]) -> "Columns":
        """The same rows with other values in some columns."""
        kept = {name: getattr(self, name) for name in FIXED} | self.optional()
        again = Columns(self.first_seq, self.payload, kept | arrays, self.names)
        again.gapped = self.gapped
        return again

    @classmethod
    def joined(cls, parts: "Sequence[Columns]") -> "Columns":
        """Several in `seq` order, contiguous, as one; names of generic rows stay behind."""
        if len(parts) == 1:
            return parts[0]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in FIXED
        }
        for name, fill in FILL.items():
            columns = [getattr(part, name) for part in parts]
            if any(column is not None for column in columns):
                arrays[name] = np.concatenate(
                    [
                        np.full(len(part), fill, DTYPES[name]) if column is None else column
                        for part, column in zip(parts, columns, strict=True)
                    ]
                )
        sizes = [int(part.payload.offsets[-1]) for part in parts]
        starts = np.cumsum([0, *sizes[:-1]])
        offsets = np.concatenate(
            [np.zeros(1, np.uint32)]
            + [
                part.payload.offsets[1:] + np.uint32(at)
                for part, at in zip(parts, starts, strict=True)
            ]
        )
        payload = Payload(b"".join(part.payload.blob for part in parts), offsets)
        return cls(parts[0].first_seq, payload, arrays)


class Reader(Protocol):
    """Turns the numbers in columns back into words, and rows back into events."""

    condition: str
    """The condition of all its events."""
    tags: tuple[str, ...]
    """The tags of all its events."""

    def keys(self, shape: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Keys of the measurements and of the metadata of a shape (never of `GENERIC_SHAPE`)."""
        ...

    def identity(self, trial: int) -> Identity:
        """Whose the events of a trial are, unless their metadata says otherwise; 0 is no trial."""
        ...

    def name(self, shape: int) -> str:
        """Event name of a shape (never of `GENERIC_SHAPE`, whose rows carry their own)."""
        ...

    def model(self, model: int) -> tuple[str | None, str | None]:
        """(provider, model) of an id in the `model` column; (None, None) for 0."""
        ...

    def error(self, error: int) -> str:
        """Error type of an id in the `error` column."""
        ...

    def row_name(self, columns: Columns, index: int) -> str:
        """Event name of one row, generic rows included."""
        ...

    def fields(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """The fields that `metrics_config` names and some row has, shape ``(n,)`` each.

        NaN where a row has none, inf where it is none to count with (NaN, infinite).
        """
        ...

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        """The rows at these positions, decoded, in the order asked for."""
        ...
