"""What a lab's SQLite file is: its tables, how it is made, and how a transaction is.

Tables: `experiments` (id, name, state, started_us, record, tip), `words` (shapes, models and error types by
number), `trials`, `blocks` (events), `rollups`; their rows: `sqlite_rows.py`. `PRAGMA application_id` says that a file is ours, `user_version` which format it has.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

FORMAT: Final = 2
APPLICATION_ID: Final = 0x43525543
"""``CRUC``."""
SCHEMA: Final = """
CREATE TABLE experiments (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL,
  started_us INTEGER NOT NULL, record BLOB NOT NULL, tip BLOB);
CREATE TABLE words (
  experiment TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL, word BLOB NOT NULL,
  PRIMARY KEY (experiment, kind, number)) WITHOUT ROWID;
CREATE TABLE trials (
  experiment TEXT NOT NULL, number INTEGER NOT NULL, record BLOB NOT NULL,
  PRIMARY KEY (experiment, number)) WITHOUT ROWID;
CREATE TABLE blocks (
  experiment TEXT NOT NULL, first_seq INTEGER NOT NULL, rows INTEGER NOT NULL, min_us INTEGER NOT NULL,
  max_us INTEGER NOT NULL, digest BLOB NOT NULL, data BLOB NOT NULL);
CREATE UNIQUE INDEX blocks_by_seq ON blocks (experiment, first_seq, rows, min_us, max_us, digest);
CREATE TABLE rollups (
  experiment TEXT NOT NULL, level_s INTEGER NOT NULL, start_us INTEGER NOT NULL, cells BLOB NOT NULL,
  PRIMARY KEY (experiment, level_s, start_us)) WITHOUT ROWID;
"""
TABLES: Final = {"words": "experiment", "trials": "experiment", "blocks": "experiment",
                 "rollups": "experiment", "experiments": "id"}  # fmt: skip
"""Tables, and their columns that hold an experiment's id."""


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """All or nothing; waits for another process that writes, as long as the connection's busy timeout.

    In statements, each of which lets the interpreter go: apsw's own ``with connection`` keeps it while it
    commits, and the event loop stood still as long (measured: 17 to 57 ms for six megabytes).
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after some errors SQLite has ended it itself
            connection.execute("ROLLBACK")
        raise


def make_if_empty(connection: apsw.Connection) -> None:
    """Make a lab's file of one that is empty."""
    if not _is_empty(connection):
        return
    with transaction(connection):
        if _is_empty(connection):  # another process may have made it meanwhile
            connection.execute(SCHEMA)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", FORMAT)


def _is_empty(connection: apsw.Connection) -> bool:
    """Whether nobody has made anything of the file yet."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").get
    return not tables and not connection.pragma("user_version")


def abandon(connection: apsw.Connection) -> None:
    """Never close it: closing in a child of `fork` could fold the parent's journal into the file."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
