"""Whether a path can be a lab's file, found out before SQLite says "unable to open database file"."""

import os
import stat
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import apsw

from crucible_telemetry.errors import StoreRefused, StoreUnavailable

READ_IT: Final = "open it with read_only=True to read it"
"""What to do where nothing may be written."""

_INHERITED: Final[set[tuple[int, int]]] = set()
"""Files (device, inode) that were open when this process was forked off."""


def inherit(path: Path) -> None:
    """In a child of `fork`: never open this file here.

    SQLite keeps in memory which locks the process has, by file, and the child has that from its parent without
    the locks: it would wait for ever for one that nobody holds, or write without one.
    """
    _INHERITED.update(known_as(path))


def known_as(path: Path) -> set[tuple[int, int]]:
    """Device and inode of the file there; none where there is none."""
    try:
        found = path.stat()
    except OSError:
        return set()
    return {(found.st_dev, found.st_ino)}


def _check_own(path: Path, url: str) -> None:
    if known_as(path) & _INHERITED:
        raise StoreRefused(
            url,
            "was open when this process was forked, which SQLite does not bear: begin the process by spawn"
            ' (multiprocessing.get_context("spawn")), or give it a file of its own',
        )


def make_ready(path: Path, url: str) -> None:
    """Make its folder; `StoreRefused` when the path cannot be written as a lab's file all the same."""
    _check_own(path, url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target = path.resolve()
        reason = _of_file(target) if target.exists() else _of_new(target)
    except OSError as error:
        where = "" if error.filename is None else f": {str(error.filename)!r}"
        reason = f"cannot be made: {error.strerror or error}{where}"
    if reason is not None:
        raise StoreRefused(url, reason)


def check_there(path: Path, url: str, opened: AbstractSet[tuple[int, int]]) -> None:
    """`StoreUnavailable` when the file that was opened, known as this, stands at its path no longer.

    SQLite goes on with a file that was deleted, and nothing written there is ever seen again.
    """
    if known_as(path) != opened:
        raise StoreUnavailable(
            url,
            "was deleted, moved or replaced since it was opened: put the file back to go on, or archive"
            " what this lab still reads before it is closed",
        )


def check_written(connection: apsw.Connection, url: str) -> None:
    """`StoreRefused` when SQLite could open a file for reading only."""
    if connection.readonly("main"):
        raise StoreRefused(url, f"cannot be written: {READ_IT}")


def check_journal(mode: object, url: str) -> None:
    """`StoreRefused` when the file cannot have the journal that lets one write while others read."""
    if mode != "wal":
        raise StoreRefused(
            url,
            "cannot have a write-ahead log there, as on some network drives: choose a local disk",
        )


def check_read(path: Path, url: str) -> None:
    """`StoreRefused` when a path cannot be read as a lab's file."""
    _check_own(path, url)
    reason = _unread(path)
    if reason is not None:
        raise StoreRefused(url, reason)


def _unread(path: Path) -> str | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not stat.S_ISREG(found.st_mode):
        return _kind(path)
    if not os.access(path, os.R_OK):
        return "may not be read by this user"
    if not found.st_size and not journal_of(path).exists():
        return "holds no lab: it is empty"
    return None


def journal_of(path: Path) -> Path:
    """Where SQLite has the journal of a file: beside the file itself, not beside a link to it."""
    file = path.resolve()
    return file.with_name(file.name + "-wal")


def _of_file(path: Path) -> str | None:
    if not path.is_file():
        return _kind(path)
    if not os.access(path, os.W_OK):
        return f"may not be written by this user: {READ_IT}"
    if not os.access(path.parent, os.W_OK) and not journal_of(path).exists():
        return f"has no room for its journal, its folder may not be written by this user: {READ_IT}"
    return None


def _of_new(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"is a link to {str(path)!r}, whose folder is not there"
    if not os.access(path.parent, os.W_OK):
        return f"cannot be made: its folder {str(path.parent)!r} may not be written by this user"
    return None


def _kind(path: Path) -> str:
    return "is a folder, not a file" if path.is_dir() else "is no file but a device or a pipe"
