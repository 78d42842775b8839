"""A file of marks beside a database: how far each experiment has been committed, kept outside its journal.

A journal that is torn or has a flipped bit is cut by SQLite at the last transaction that is whole, without a word;
what was behind it is missed only by somebody who knows how far it went. So after each commit the keep
writes one slot per experiment here: its id, the number of the commit and the last seq, sealed, in place
(measured: 3 µs a commit). Nothing waits for the disk: after ``kill -9`` the slot is there, or is that of a
commit before, which accuses nobody; a slot that is torn, and a database that came without this file, say nothing.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from crucible_telemetry.events.mailbox import log
from crucible_telemetry.stores.keeping import Mark
from crucible_telemetry.stores.seals import SEAL_BYTES, sealed, unsealed

SUFFIX: Final = "-marks"
SLOT_BYTES: Final = 128
_FIGURES: Final = struct.Struct("<qq")
_ID_BYTES: Final = SLOT_BYTES - SEAL_BYTES - _FIGURES.size - 1


class Marks:
    """The file beside `database`; an experiment's slot is that of its row there. Used in one thread."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + SUFFIX)
        self._file: int | None = None
        self._refused = False

    def read(self) -> dict[str, Mark]:
        """What is known, by experiment; nothing where no file is."""
        try:
            data = self.path.read_bytes()
        except OSError:
            return {}
        slots = (data[at : at + SLOT_BYTES] for at in range(0, len(data), SLOT_BYTES))
        return dict(found for slot in slots if (found := _read(slot)) is not None)

    def write(self, slots: Mapping[int, tuple[str, Mark | None]]) -> None:
        """Put these in place, by row; None: nothing is known any more."""
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o644)
            for row, (one, mark) in slots.items():
                slot = bytes(SLOT_BYTES) if mark is None else _written(one, mark)
                os.pwrite(self._file, slot, row * SLOT_BYTES)
        except OSError as error:
            if not self._refused:
                log.warning("%s cannot be written: %s", self.path, error)
            self._refused = True

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def disown(self) -> None:
        """In a child of `fork`: the file is the parent's."""
        self._file = None


_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)


def _written(one: str, mark: Mark) -> bytes:
    name = one.encode("utf-8", "surrogatepass")
    if len(name) > _ID_BYTES:
        return bytes(SLOT_BYTES)
    figures = _FIGURES.pack(mark.commit, mark.last_seq)
    return sealed(figures + bytes([len(name)]) + name.ljust(_ID_BYTES, b"\0"), "mark")


def _read(slot: bytes) -> tuple[str, Mark] | None:
    value = unsealed(slot, "mark")
    if value is None:
        return None
    commit, last_seq = _FIGURES.unpack_from(value)
    start = _FIGURES.size + 1
    name = value[start : start + value[start - 1]].decode("utf-8", "surrogatepass")
    return name, Mark(commit=commit, last_seq=last_seq)
