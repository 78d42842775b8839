"""A few bytes behind the value of a row that tell whether value and key are as they were written. PURE.

SQLite's pages carry no checksum, and a flipped bit in a number is a number again. Blocks of events have digests
of 16 bytes; what is small (records, words, trials, roll-ups, the entries of blocks) is sealed with 8.
"""

import hashlib
from typing import Final

SEAL_BYTES: Final = 8


def sealed(data: bytes, *key: object) -> bytes:
    """The value with its seal behind it: BLAKE2b (RFC 7693) of the key as Python shows it, and the value."""
    return data + _seal(data, key)


def unsealed(data: object, *key: object) -> bytes | None:
    """The value; None when it, or the key, is not as it was written."""
    if not isinstance(data, bytes) or len(data) < SEAL_BYTES:
        return None
    value, seal = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    return value if _seal(value, key) == seal else None


def _seal(data: bytes, key: tuple[object, ...]) -> bytes:
    shown = repr(key).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(shown + data, digest_size=SEAL_BYTES).digest()
