"""A file of marks beside a database: how far each experiment has been committed, kept outside its journal.

A journal that is torn or has a flipped bit is cut by SQLite at the last transaction that is whole, without a word;
what was behind it is missed only by somebody who knows how far it went. So after each commit the keep
writes one slot per experiment here: its id, the number of the commit and the last seq, sealed, in place
(measured: 3 µs a commit). That waits for no disk: after ``kill -9`` the slot is there, or is that of a
commit before, which accuses nobody; a slot that is torn, and a database that came without this file, say nothing.

When the machine itself stops, slots may be lost with the journal. So a commit that does not wait for the disk
either is preceded, now and then, by a promise that does: that no event behind some seq will be committed
before the next one. It is as many events ahead as come in one to ten seconds, holds while the machine runs
(its boot's id stands beside it), and is taken back when the file is closed whole.
"""

import hashlib
import os
import struct
from collections.abc import Mapping, Set as AbstractSet
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.stores.keeping import Mark, Tip
from crucible_telemetry.stores.seals import SEAL_BYTES, sealed, unsealed

SUFFIX: Final = "-marks"
SLOT_BYTES: Final = 128
STEP: Final = (1_024, 262_144)
"""The fewest and the most events that a promise goes ahead."""
STEP_NS: Final = (1_000_000_000, 10_000_000_000)
"""A promise that lasted less is followed by one twice as far, one that lasted longer by half."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_BOOT_BYTES: Final = 8
_FIGURES: Final = struct.Struct(f"<qqq{_BOOT_BYTES}s")
_ID_BYTES: Final = SLOT_BYTES - SEAL_BYTES - _FIGURES.size - 1
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)

Tips = Mapping[int, tuple[str, Tip]]
"""Experiments and their tips by the row they have in the database."""


class _Slot(Struct):
    """What stands in the file of one experiment, and how its promises go."""

    row: int
    tip: Tip = Tip()
    promised: int = 0
    step: int = 0
    since_ns: int | None = None
    """When the last promise was made; None: none was."""


class Marks:
    """The file beside `database`; an experiment's slot is that of its row there. Used in one thread.

    `promises`: whether commits do not wait for the disk.
    """

    def __init__(self, database: Path, *, promises: bool) -> None:
        self._database = database
        self._promises = promises
        self._slots: dict[str, _Slot] = {}
        self._file: int | None = None
        self._refused = False

    @property
    def path(self) -> Path:
        """Where it is: beside the file itself, not beside a link to it."""
        database = self._database.resolve()
        return database.with_name(database.name + SUFFIX)

    def read(self) -> dict[str, Mark]:
        """What is known, by experiment; nothing where no file is."""
        here = boot()
        return {found.id: found.mark(here) for found in self._found()}

    def _found(self) -> list["_Found"]:
        try:
            data = self.path.read_bytes()
        except OSError:
            return []
        slots = (
            _read(row, data[row * SLOT_BYTES :][:SLOT_BYTES])
            for row in range(len(data) // SLOT_BYTES)
        )
        return [slot for slot in slots if slot is not None]

    def miss_no_more(self, ids: AbstractSet[str]) -> None:
        """It has been told that of these nothing is left."""
        self._put({found.row: bytes(SLOT_BYTES) for found in self._found() if found.id in ids})

    def promise(self, tips: Tips) -> None:
        """Before a commit: wait for the disk where it goes further than was promised."""
        if not self._promises:
            return
        short = [one for row, (one, tip) in tips.items() if self._ahead(row, one, tip)]
        if short:
            self._write(short, sync=True)

    def _ahead(self, row: int, one: str, tip: Tip) -> bool:
        """Whether this tip is further than was promised; then the next promise is made."""
        slot = self._slots.setdefault(one, _Slot(row))
        slot.row = row
        if tip.last_seq <= slot.promised:
            return False
        now_ns = monotonic_ns()
        slot.step = _next_step(slot, now_ns)
        slot.since_ns, slot.promised = now_ns, tip.last_seq + slot.step
        return True

    def committed(self, tips: Tips) -> None:
        """After a commit."""
        for row, (one, tip) in tips.items():
            slot = self._slots.setdefault(one, _Slot(row))
            slot.row, slot.tip = row, tip
        self._write([one for one, _ in tips.values()])

    def forget(self, row: int, one: str) -> None:
        """Nothing of an experiment is to be missed."""
        self._slots.pop(one, None)
        self._put({row: bytes(SLOT_BYTES)})

    def close(self, *, whole: bool) -> None:
        """Let go of the file; `whole`: the database is on the disk without a journal, nothing is promised."""
        if whole and self._file is not None:
            here = boot()
            kept = [one for one in self._found() if one.promised and one.booted == here]
            self._put({one.row: replace(one, promised=0).slot() for one in kept}, sync=True)
        file, self._file = self._file, None
        self._slots.clear()
        if file is not None:
            os.close(file)

    def disown(self) -> None:
        """In a child of `fork`: the file is the parent's."""
        self._file = None

    def _write(self, ids: list[str], *, sync: bool = False) -> None:
        here, found = boot(), []
        for one in ids:
            slot = self._slots[one]
            tip = slot.tip
            found.append(_Found(slot.row, one, tip.commit, tip.last_seq, slot.promised, here))
        self._put({one.row: one.slot() for one in found}, sync=sync)

    def _put(self, slots: Mapping[int, bytes], *, sync: bool = False) -> None:
        if not slots:
            return
        try:
            if self._file is None:
                self._file = _opened(self.path, self._database.stat().st_mode)
            for row, slot in slots.items():
                put(self._file, slot, row * SLOT_BYTES)
            if sync:
                wait(self._file)
        except OSError as error:
            if not self._refused:
                log.warning("%s cannot be written: %s", self.path, error)
            self._refused = True


put = os.pwrite
wait = getattr(os, "fdatasync", os.fsync)


def boot() -> bytes:
    """Which run of the machine this is; nothing where that cannot be told."""
    try:
        return hashlib.blake2b(_BOOT.read_bytes(), digest_size=_BOOT_BYTES).digest()
    except OSError:
        return bytes(_BOOT_BYTES)


def _next_step(slot: _Slot, now_ns: int) -> int:
    if slot.since_ns is None:
        return STEP[0]
    lasted_ns = now_ns - slot.since_ns
    factor = 2.0 if lasted_ns < STEP_NS[0] else 0.5 if lasted_ns > STEP_NS[1] else 1.0
    return min(max(int(slot.step * factor), STEP[0]), STEP[1])


def _opened(path: Path, mode: int) -> int:
    """The file, for whom the database is; when it is new, its name is on the disk too."""
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC, mode & 0o666)
    if is_new and hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return file


class _Found(Struct, frozen=True):
    """A slot as it stands in the file."""

    row: int
    id: str
    commit: int
    last_seq: int
    promised: int
    booted: bytes

    def mark(self, here: bytes) -> Mark:
        """What is known by it in this run of the machine: as long as that goes on, nothing promised is lost."""
        holds = self.booted == here or not any(self.booted)
        promised = 0 if holds else self.promised
        return Mark(commit=self.commit, last_seq=self.last_seq, promised=promised)

    def slot(self) -> bytes:
        """As bytes; none where the id is too long."""
        name = self.id.encode("utf-8", "surrogatepass")
        if len(name) > _ID_BYTES:
            return bytes(SLOT_BYTES)
        figures = _FIGURES.pack(self.commit, self.last_seq, self.promised, self.booted)
        return sealed(figures + bytes([len(name)]) + name.ljust(_ID_BYTES, b"\0"), "mark")


def _read(row: int, slot: bytes) -> _Found | None:
    value = unsealed(slot, "mark")
    if value is None:
        return None
    start = _FIGURES.size + 1
    name = value[start : start + value[start - 1]].decode("utf-8", "surrogatepass")
    return _Found(row, name, *_FIGURES.unpack_from(value))
