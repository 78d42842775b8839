"""Events as rows of PostgreSQL and back: COPY's binary format, built and read by column. PURE.

A row has the typed columns and the payload as it is, so that what is read again is what was written, bit
for bit. Rows are not made one by one: those that lack the same columns look alike but for their numbers,
and are one structured array (COPY's format: PostgreSQL manual, "COPY", "Binary Format").
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from crucible_telemetry.events.columns import (
    DTYPES,
    FILL,
    FIXED,
    NANO,
    STREAMED,
    TOKENS,
    Columns,
    Payload,
)
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.shape import decode_rows

FIELDS: Final[dict[str, tuple[str, int]]] = {
    "timestamp_us": ("timestamp_us", 8),
    "shape": ("shape", 8),
    "flags": ("flags", 2),
    "outcome": ("outcome", 2),
    "model": ("model", 4),
    "trial": ("trial", 8),
    "error": ("error", 4),
    **{name: (name, 8) for name in NANO},
    **{name: (f"{name}_tokens", 4) for name in (*TOKENS, STREAMED)},
}
"""Column of `Columns` -> (column of the table, bytes of its integers)."""
SQL_TYPES: Final = {2: "smallint", 4: "integer", 8: "bigint"}
ROW_COLUMNS: Final = (
    "experiment", "seq", *(column for column, _ in FIELDS.values()), "event_name", "payload",
)  # fmt: skip
"""Columns of the table in the order of COPY; `event_name` only where the row carries its own."""

COPY_HEAD: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_END: Final = b"\xff\xff"
_NULL: Final = -1


def lean(columns: Columns) -> Columns:
    """The same rows, in the one form that is hashed: no optional column that no row has, each in its own type."""
    arrays: dict[str, Any] = {name: getattr(columns, name) for name in FIXED}
    arrays |= {n: a for n, a in columns.optional().items() if bool((a != FILL[n]).any())}
    typed = {name: array.astype(DTYPES[name], copy=False) for name, array in arrays.items()}
    return Columns(columns.first_seq, columns.payload, typed)


def copied(experiment: int, columns: Columns) -> bytes:
    """The rows as COPY takes them, without its head and end. `experiment`: its number in the table."""
    there = {name: array != FILL[name] for name, array in columns.optional().items()}
    generic = columns.shape == GENERIC_SHAPE
    pattern = generic.astype(np.int64)
    for bit, mask in enumerate(there.values(), 1):
        pattern |= mask.astype(np.int64) << bit
    heads: list[bytes] = [b""] * len(columns)
    for one in np.unique(pattern).tolist():
        at = np.flatnonzero(pattern == one)
        names = {name for bit, name in enumerate(there, 1) if one >> bit & 1}
        for index, head in zip(at.tolist(), _heads(experiment, columns, at, names), strict=True):
            heads[index] = head
    rows = columns.payload.rows()
    for index in np.flatnonzero(generic).tolist():
        heads[index] = _named(heads[index], rows[index])
    return b"".join(chain.from_iterable(zip(heads, rows, strict=True)))


def _heads(experiment: int, columns: Columns, at: NDArray[np.intp], names: set[str]) -> list[bytes]:
    """All of these rows but their payloads, whose sizes are the last thing in each."""
    values: dict[str, tuple[Any, int]] = {
        "experiment": (experiment, 4), "seq": (columns.seqs(at), 8),
    }  # fmt: skip
    for name, (_, size) in FIELDS.items():
        if name in FIXED or name in names:
            values[name] = (getattr(columns, name)[at], size)
        else:
            values[name] = (None, 0)
    layout = _layout({name: size for name, (_, size) in values.items()})
    table = np.empty(len(at), [*layout, ("no name", ">i4"), ("payload size", ">i4")])
    table["fields"], table["no name"] = len(ROW_COLUMNS), _NULL
    for name, (column, size) in values.items():
        table[f"{name} size"] = size or _NULL
        if size:
            table[name] = column
    table["payload size"] = np.diff(columns.payload.offsets)[at]
    raw, width = table.tobytes(), table.itemsize
    return [raw[start : start + width] for start in range(0, len(raw), width)]


def _named(head: bytes, row: bytes) -> bytes:
    """The head of a generic row: its name is in the row."""
    name = _own_name(row)
    if name is None:
        return head
    return head[:-8] + len(name).to_bytes(4, "big") + name + head[-4:]


def _own_name(row: bytes) -> bytes | None:
    try:
        name = decode_rows([row])[0][4]
    except (msgspec.MsgspecError, IndexError, TypeError):
        return None
    return text(name).encode() if isinstance(name, str) else None


def text(words: str) -> str:
    """As PostgreSQL can hold it, for people to read: NUL and lone surrogates are shown by other characters."""
    return words.replace("\0", "\u2400").encode("utf-8", "replace").decode()


def bigint(number: int) -> int | None:
    """As a column of 64 bits can hold it, for people to read."""
    return number if -(2**63) <= number < 2**63 else None


def _layout(sizes: dict[str, int]) -> list[tuple[str, str]]:
    """How a row lies in COPY's format whose fields have these sizes; 0 is NULL, which has no bytes."""
    layout = [("fields", ">i2")]
    for name, size in sizes.items():
        layout += [(f"{name} size", ">i4"), *([(name, f">i{size}")] if size else [])]
    return layout


def fixed_select() -> str:
    """What to select so that all rows of a COPY are of one size: no NULL, and of the payload its length."""
    columns = ["seq"]
    for name, (column, _) in FIELDS.items():
        columns.append(f"coalesce({column}, '{FILL[name]}')" if name in FILL else column)
    return ", ".join([*columns, "octet_length(payload)"])


def unpacked(copy: bytes, blob: bytes) -> tuple[NDArray[np.int64], Columns]:
    """(seqs, columns) of a COPY of `fixed_select`, ordered by seq, and of all payloads in a row.

    ValueError when the two do not fit.
    """
    sizes = {"seq": 8, **{name: size for name, (_, size) in FIELDS.items()}, "payload": 4}
    table = np.frombuffer(copy[len(COPY_HEAD) : -len(COPY_END)], _layout(sizes))
    offsets = np.zeros(len(table) + 1, np.uint32)
    np.cumsum(table["payload"], out=offsets[1:])
    if int(offsets[-1]) != len(blob):
        raise ValueError(f"{len(blob)} bytes of rows where {int(offsets[-1])} should be")
    arrays: dict[str, Any] = {name: table[name].astype(DTYPES[name]) for name in FIELDS}
    seqs = table["seq"].astype(np.int64)
    return seqs, lean(Columns(int(seqs[0]) if len(seqs) else 1, Payload(blob, offsets), arrays))


def copy_stream(parts: Sequence[tuple[int, Columns]]) -> Iterator[bytes]:
    """A whole COPY: (number of the experiment, rows) each."""
    yield COPY_HEAD
    for experiment, columns in parts:
        yield copied(experiment, columns)
    yield COPY_END


def near(
    parts: Sequence[tuple[int, Columns]], chunk_us: int, most: int
) -> tuple[list[tuple[int, Columns]], list[tuple[int, Columns]]]:
    """(parts that together lie in no more chunks of time than `most`, the others): (experiment, rows) each."""
    chunks: set[int] = set()
    taken: list[tuple[int, Columns]] = []
    others: list[tuple[int, Columns]] = []
    for part in parts:
        touched = chunks | set(np.unique(part[1].timestamp_us // chunk_us).tolist())
        if len(touched) > most:
            others.append(part)
        else:
            taken.append(part)
            chunks = touched
    return taken, others


def missing(seqs: NDArray[np.int64], first: int, last: int) -> str:
    """The seqs between `first` and `last` that are not there, the first few by name."""
    gone = np.setdiff1d(np.arange(first, last + 1), seqs)
    named = ", ".join(map(str, gone[:5].tolist()))
    return named if len(gone) <= 5 else f"{named} and {len(gone) - 5:,} more"


def word_text(kind: str, word: Any) -> tuple[str | None, str | None]:
    """(provider, name) of a word, for people: a shape's and an error's is its name alone."""
    provider, name = word if kind == "model" else (None, word[0] if kind == "shape" else word)
    return (None if provider is None else text(provider)), (None if name is None else text(name))
