"""A loss of power, played: every write to a lab's files is recorded, and they are made again as a disk may keep them.

What was synced is there. Of what was not, anything may be: nothing, all, some writes and not others, and of
one write some sectors of 512 bytes. A file that was deleted may be there all the same.
"""

import random
from contextlib import contextmanager

import apsw

from crucible_telemetry.stores import marks
from crucible_telemetry.stores.sqlite import SqliteKeep

SECTOR = 512
VFS_NAME = "crucible-tape"
CHECKPOINT_PAGES = 24


class Tape:
    """What happened to files, in order: (what, name, …)."""

    def __init__(self):
        self.acts = []

    def syncs(self):
        """Where something was synced."""
        return [at for at, act in enumerate(self.acts) if act[0] == "sync"]


class TapedFile(apsw.VFSFile):
    def __init__(self, inherit, filename, flags, tape):
        super().__init__(inherit, filename, flags)
        name = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self._tape, self._name = tape, name.rpartition("/")[2]

    def xWrite(self, data, offset):  # noqa: N802
        super().xWrite(data, offset)
        self._tape.acts.append(("write", self._name, offset, bytes(data)))

    def xTruncate(self, size):  # noqa: N802
        super().xTruncate(size)
        self._tape.acts.append(("truncate", self._name, size))

    def xSync(self, flags):  # noqa: N802
        super().xSync(flags)
        self._tape.acts.append(("sync", self._name))


class TapingVFS(apsw.VFS):
    def __init__(self, tape):
        super().__init__(VFS_NAME, "")
        self._tape = tape

    def xOpen(self, name, flags):  # noqa: N802
        return TapedFile("", name, flags, self._tape)

    def xDelete(self, name, sync):  # noqa: N802
        super().xDelete(name, sync)
        name = name.rpartition("/")[2]
        self._tape.acts.append(("delete", name))
        if sync:  # of the folder: the file is gone for certain
            self._tape.acts.append(("sync", name))


@contextmanager
def taped(monkeypatch):
    """Labs on SQLite write to a tape too."""
    tape = Tape()
    vfs = TapingVFS(tape)

    def connected(keep):
        connection = apsw.Connection(str(keep.path), vfs=VFS_NAME)
        connection.set_busy_timeout(5_000)
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        return connection

    put, wait = marks.put, marks.wait

    def putting(file, data, offset):
        put(file, data, offset)
        tape.acts.append(("write", "runs.db-marks", offset, data))

    def waiting(file):
        wait(file)
        tape.acts.append(("sync", "runs.db-marks"))

    with monkeypatch.context() as patch:
        patch.setattr(SqliteKeep, "_connected", connected)
        patch.setattr(marks, "put", putting)
        patch.setattr(marks, "wait", waiting)
        yield tape
    vfs.unregister()


class Disk:
    """What is on the disk for certain, and what may be."""

    def __init__(self):
        self.files = {}
        self.loose = {}

    def act(self, act):
        what, name, *rest = act
        if what == "sync":
            for one in self.loose.pop(name, []):
                _apply(self.files, name, *one)
        else:
            self.loose.setdefault(name, []).append((what, *rest))

    def after_cut(self, chance, how):
        """Files as they may be found, by name."""
        files = {name: bytearray(data) for name, data in self.files.items()}
        for name, acts in self.loose.items():
            for act in HOW[how](acts, chance):
                _apply(files, name, *act)
        return files


def _apply(files, name, what, *rest):
    if what == "delete":
        files.pop(name, None)
        return
    data = files.setdefault(name, bytearray())
    if what == "truncate":
        (size,) = rest
        del data[size:]
        data.extend(bytes(size - len(data)))
        return
    offset, piece = rest
    data.extend(bytes(max(offset + len(piece) - len(data), 0)))
    data[offset : offset + len(piece)] = piece


def _some(acts, chance):
    return [act for act in acts if chance.random() < 0.5]


def _shuffled(acts, chance):
    return chance.sample(acts, len(acts)) if chance.random() < 0.5 else _some(acts, chance)[::-1]


def _torn(acts, chance):
    for act in acts:
        if act[0] != "write":
            if chance.random() < 0.5:
                yield act
            continue
        _, offset, data = act
        for at in range(0, len(data), SECTOR):
            if chance.random() < 0.7:
                yield "write", offset + at, data[at : at + SECTOR]


HOW = {
    "nothing": lambda _acts, _chance: [],
    "all": lambda acts, _chance: acts,
    "the first": lambda acts, chance: acts[: chance.randrange(len(acts) + 1)],
    "some": _some,
    "in another order": _shuffled,
    "torn": _torn,
}
"""What the disk took of the writes that nobody waited for."""


def cuts(tape, number, chance):
    """(place on the tape, how): at every sync, before and after, and between, as many as asked for."""
    near = [at + more for at in tape.syncs() for more in (0, 1)]
    places = [*near, *(chance.randrange(len(tape.acts)) for _ in range(number))]
    chance.shuffle(places)
    names = list(HOW)
    return [(places[at % len(places)], names[at % len(names)]) for at in range(number)]


def found_after(tape, place, how, chance: random.Random):
    """The files after a cut at this place of the tape."""
    disk = Disk()
    for act in tape.acts[:place]:
        disk.act(act)
    return disk.after_cut(chance, how)
