"""Columns as bytes and back: how a durable store keeps a run of events. PURE.

A block is ``b"CTB1"``, the length of a msgpack header, the header, then each column as it lies in memory
(little-endian), the offsets of the rows and the rows themselves. Rows are the msgpack arrays of
`events/shape.py`; their keys are those of the shape in the column `shape` (a number in the experiment's
own list), not of the number inside the row, which meant something to one process only.
"""

import hashlib
import sys
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.events.columns import DTYPES, FIXED, Columns, Payload

MAGIC: Final = b"CTB1"
DIGEST_BYTES: Final = 16
_HEAD: Final = len(MAGIC) + 4


class BlockInfo(Struct, frozen=True, kw_only=True):
    """What is known of a block without reading it: which events, from when, and their digest.

    `digest`: BLAKE2b (RFC 7693), 16 bytes, of the block's bytes.
    """

    first_seq: int
    rows: int
    min_us: int
    max_us: int
    digest: bytes

    @property
    def last_seq(self) -> int:
        """`seq` of the last event."""
        return self.first_seq + self.rows - 1


class Header(Struct, frozen=True, array_like=True):
    """The head of a block: events, and (name, dtype) of each column in order."""

    first_seq: int
    rows: int
    columns: list[tuple[str, str]]


def encoded(columns: Columns) -> bytes:
    """A block; the shapes are by the experiment's own numbers."""
    arrays: dict[str, NDArray[Any]] = {name: getattr(columns, name) for name in FIXED}
    arrays |= columns.optional()
    header = msgspec.msgpack.encode(
        Header(
            columns.first_seq,
            len(columns),
            [(name, array.dtype.str.lstrip("<>=|")) for name, array in arrays.items()],
        )
    )
    payload = columns.payload
    pieces = [_little(array) for array in (*arrays.values(), payload.offsets)]
    return b"".join((MAGIC, len(header).to_bytes(4, "little"), header, *pieces, payload.blob))


def decoded(block: bytes) -> Columns:
    """The columns of a block; arrays are views of it. `StoreDamaged` when it cannot be one."""
    try:
        return _decoded(block)
    except (ValueError, TypeError, msgspec.MsgspecError) as error:
        raise StoreDamaged("block", f"is no block: {error}") from error


def _decoded(block: bytes) -> Columns:
    if block[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin like one")
    size = int.from_bytes(block[len(MAGIC) : _HEAD], "little")
    header = msgspec.msgpack.decode(block[_HEAD : _HEAD + size], type=Header)
    at = _HEAD + size
    arrays: dict[str, Any] = {}
    for name, dtype in header.columns:
        arrays[name] = np.frombuffer(block, np.dtype(dtype).newbyteorder("<"), header.rows, at)
        at += arrays[name].nbytes
        if name in DTYPES:
            arrays[name] = arrays[name].astype(DTYPES[name], copy=False)
    offsets = np.frombuffer(block, "<u4", header.rows + 1, at)
    blob = block[at + offsets.nbytes :]
    if int(offsets[-1]) != len(blob):
        raise ValueError(f"{len(blob)} bytes of rows where {int(offsets[-1])} should be")
    return Columns(header.first_seq, Payload(blob, offsets.astype(np.uint32, copy=False)), arrays)


def digest(block: bytes) -> bytes:
    """What tells a block from one with a flipped bit."""
    return hashlib.blake2b(block, digest_size=DIGEST_BYTES).digest()


def info_of(columns: Columns, block: bytes) -> BlockInfo:
    """What is to be known of a block."""
    times = columns.timestamp_us
    return BlockInfo(
        first_seq=columns.first_seq,
        rows=len(columns),
        min_us=int(times.min()),
        max_us=int(times.max()),
        digest=digest(block),
    )


def _little(array: NDArray[Any]) -> bytes:
    return array.tobytes() if sys.byteorder == "little" else array.byteswap().tobytes()
