"""Where segments go that neither memory nor the keep can take: a temporary file without a name.

Only emitters that must not wait lead here (`execute_nowait` while a store has been unavailable for so long
that what waits for it is at its limit). What is spilled is what would have been written: redacted, in the
same blocks. It is not durable: it relieves memory, and is written to the keep when that takes again.
"""

import tempfile
import threading
from pathlib import Path
from typing import IO

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores.blocks import decoded, encoded

Extent = tuple[int, int]
"""(offset, size) of a block in the file, in bytes."""


class Spill:
    """An append file of blocks, made when it is first used; gone with the process."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._end = 0
        self._lock = threading.Lock()

    def put(self, columns: Columns) -> Extent:
        """Append a block; OSError when the disk is full, and then what was there is read as ever."""
        block = encoded(columns)
        with self._lock:
            if self._file is None:
                # Without a buffer: what could not be written would be tried again before each read.
                self._file = tempfile.TemporaryFile(  # noqa: SIM115 - lives as long as the store
                    dir=self._folder, prefix="crucible-spill-", buffering=0
                )
            self._file.seek(self._end)
            rest = memoryview(block)
            while rest:
                rest = rest[self._file.write(rest) :]
            extent = (self._end, len(block))
            self._end += len(block)
            return extent

    def get(self, extent: Extent) -> Columns:
        """The block of an extent."""
        offset, size = extent
        with self._lock:
            assert self._file is not None  # noqa: S101 - an extent comes from `put`
            self._file.seek(offset)
            return decoded(self._file.read(size))

    def clear(self) -> None:
        """Everything in it has been written elsewhere."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._end = None, 0
