"""The seal of a Parquet or Arrow file: SHA-256 of every stretch of it, in bytes that its format leaves unused. PURE.

Checksums of Parquet cover pages, not the footer that says what they mean, and Arrow files have none. Before the
footer, where no reader looks, stands::

    msgpack [[[end, rows, sha256], …], sha256 of the footer]; its length, 4 bytes little-endian; CRUCSEAL

A stretch ends at byte `end` and holds `rows` rows; its hash is cut to 16 bytes.
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

MAGIC: Final = b"CRUCSEAL"
TAIL: Final = len(MAGIC) + 4
MAX_SEAL_BYTES: Final = 16 * 2**20
MARK: Final = b"crucible.sealed"
"""Key in the metadata of a schema: a file that has it, and no seal, was cut or changed."""
ENDS: Final = {"parquet": b"PAR1", "arrow": b"ARROW1"}
"""What stands behind the length of the footer."""


class Stretch(Struct, frozen=True, array_like=True):
    """Bytes up to `end`, and what they have to be."""

    end: int
    rows: int
    sha256: bytes


class Seal(Struct, frozen=True, array_like=True):
    """All stretches, and the hash of the footer."""

    stretches: list[Stretch]
    footer: bytes


def digest(data: bytes) -> bytes:
    """The hash of a stretch."""
    return hashlib.sha256(data).digest()[:16]


class Sealing:
    """Follows a file as it is written."""

    def __init__(self, kind: str) -> None:
        self._tail = len(ENDS[kind]) + 4
        self._at = 0
        self._stretches: list[Stretch] = []

    def stretch(self, data: bytes, rows: int) -> bytes:
        """Bytes that hold `rows` rows."""
        self._at += len(data)
        self._stretches.append(Stretch(self._at, rows, digest(data)))
        return data

    def end(self, data: bytes) -> bytes:
        """The last bytes, footer included, with the seal before the footer."""
        length = int.from_bytes(data[-self._tail :][:4], "little")
        footer = len(data) - self._tail - length
        before = self.stretch(data[:footer], 0)
        return before + sealed(Seal(self._stretches, digest(data[footer:]))) + data[footer:]


def sealed(seal: Seal) -> bytes:
    """A seal as bytes."""
    body = msgspec.msgpack.encode(seal)
    return body + len(body).to_bytes(4, "little") + MAGIC


def read(data: bytes) -> Seal:
    """The seal of these bytes (without its tail); ValueError for what is none."""
    return msgspec.msgpack.decode(data, type=Seal)
