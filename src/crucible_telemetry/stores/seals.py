"""A few bytes behind the value of a row that tell whether value and key are as they were written. PURE.

SQLite's pages carry no checksum, and a flipped bit in a number is a number again. Blocks of events have digests
of 16 bytes; what is small (records, words, trials, roll-ups, the entries of blocks) is sealed with 8.
"""

import hashlib
from typing import Final

from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.stores.keeping import Rollup

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


def unsealed_rollup(
    url: str, experiment_id: str, level_s: int, start_us: int, cells: object
) -> Rollup:
    """The roll-up a row of the keep at `url` holds; `StoreDamaged` when it is not as it was written."""
    value = unsealed(cells, "rollup", experiment_id, level_s, start_us)
    if value is None:
        raise StoreDamaged(url, f"experiment {experiment_id!r}: a roll-up is damaged")
    return Rollup(level_s, start_us, value)


def _seal(data: bytes, key: tuple[object, ...]) -> bytes:
    shown = repr(key).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(shown + data, digest_size=SEAL_BYTES).digest()
