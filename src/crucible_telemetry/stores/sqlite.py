"""The keep in one file: SQLite in WAL mode, one writing and one reading connection, each in a thread of its own.

Events are blocks (`blocks.py`), up to eight thousand to a row: a commit is a few statements however many
events it holds, so that the writing thread does not fight the event loop for the interpreter (measured:
row by row every statement gives the interpreter up, and takes up to 5 ms to get it back).

Tables: `experiments` (id, name, state, started_us, record), `words` (shapes, models and error types by
number), `trials`, `blocks` (events), `rollups`. Records and words are msgpack. `PRAGMA application_id`
says that a file is ours, `user_version` which format it has.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import apsw
import msgspec

from crucible_telemetry.errors import StoreDamaged, StoreError, StoreRefused, StoreUnavailable
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores import paths
from crucible_telemetry.stores.blocks import BlockInfo, decoded, digest, encoded, info_of
from crucible_telemetry.stores.keeping import (
    Change,
    ExperimentChange,
    KeptExperiment,
    RecordHead,
    Rollup,
    Word,
)
from crucible_telemetry.stores.worker import Worker

T = TypeVar("T")
Durability = Literal["normal", "full"]

FORMAT: Final = 1
APPLICATION_ID: Final = 0x43525543
"""``CRUC``."""
OPEN_BUSY_MS: Final = 5_000
"""How long opening waits for another process that holds the file."""
BUSY_MS: Final = 500
"""How long a write does; it is tried again, and who waits for it is told so within a second."""
SCHEMA: Final = """
CREATE TABLE experiments (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, started_us INTEGER NOT NULL,
  record BLOB NOT NULL);
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
_TABLES: Final = {"words": "experiment", "trials": "experiment", "blocks": "experiment",
                  "rollups": "experiment", "experiments": "id"}  # fmt: skip
_RETRY: Final = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError)


class SqliteKeep:
    """A `Keep` in the file at `path`. `durability`: ``"normal"`` survives the process and, but for a tail of
    the last commits, a loss of power; ``"full"`` waits for the disk at each commit and loses nothing.
    """  # noqa: D205 - the summary is one sentence

    def __init__(self, path: Path, durability: Durability = "normal") -> None:
        self.path, self._durability = path, durability
        self._writing: apsw.Connection | None = None
        self._reading: apsw.Connection | None = None
        self._writer_thread = Worker("crucible-sqlite-writer")
        self._reader_thread = Worker("crucible-sqlite-reader")

    @property
    def url(self) -> str:
        """See `Keep.url`."""
        return f"sqlite:///{self.path}"

    async def open(self) -> list[KeptExperiment]:
        """See `Keep.open`; makes the file and its folder."""
        return await self._as_writer(self._open)

    async def claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        """See `Keep.claim`; a file does not know who writes it."""
        return await self._as_writer(lambda: self._claim(experiment_id, before, record))

    async def write(self, change: Change) -> list[list[BlockInfo]]:
        """See `Keep.write`."""
        return await self._as_writer(lambda: self._write(change))

    async def load(self, experiment_id: str, block: BlockInfo) -> Columns:
        """See `Keep.load`."""
        return await self._as_reader(lambda: self._load(experiment_id, block))

    async def rollups(
        self, experiment_id: str, level_s: int, since_us: int, until_us: int
    ) -> list[Rollup]:
        """See `Keep.rollups`."""
        query = (
            "SELECT start_us, cells FROM rollups"
            " WHERE experiment = ? AND level_s = ? AND start_us >= ? AND start_us < ? ORDER BY start_us"
        )
        values = (experiment_id, level_s, since_us, until_us)
        rows: list[Any] = await self._as_reader(
            lambda: self._reader().execute(query, values).fetchall()
        )
        return [Rollup(level_s, start_us, cells) for start_us, cells in rows]

    async def forget(self, experiment_id: str) -> None:
        """See `Keep.forget`."""
        await self._as_writer(lambda: self._forget(experiment_id))

    async def close(self) -> None:
        """See `Keep.close`."""
        try:
            # One after the other: a connection is closed in the thread that used it last.
            await self._as_reader(self._close_reading)
            await self._as_writer(self._close_writing)
        finally:
            self._reader_thread.end()
            self._writer_thread.end()

    def disown(self) -> None:
        """See `Keep.disown`."""
        for connection in (self._reading, self._writing):
            if connection is not None:
                _abandon(connection)
        self._reading = self._writing = None

    # -- in the threads -------------------------------------------------------------------------

    async def _as_writer(self, work: Callable[[], T]) -> T:
        return await self._writer_thread.run(lambda: self._guarded(work))

    async def _as_reader(self, work: Callable[[], T]) -> T:
        return await self._reader_thread.run(lambda: self._guarded(work))

    def _guarded(self, work: Callable[[], T]) -> T:
        """SQLite's errors as ours."""
        try:
            return work()
        except StoreError:
            raise
        except msgspec.MsgspecError as error:
            raise StoreDamaged(self.url, f"a row is not as it was written: {error}") from error
        except apsw.NotADBError as error:
            raise StoreRefused(self.url, "is no SQLite database") from error
        except apsw.CorruptError as error:
            raise StoreDamaged(self.url, str(error)) from error
        except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise StoreRefused(self.url, f"cannot be written: {error}") from error
        except _RETRY as error:
            raise StoreUnavailable(self.url, str(error)) from error
        except (apsw.Error, OSError) as error:
            raise StoreRefused(self.url, str(error)) from error

    def _open(self) -> list[KeptExperiment]:
        paths.make_ready(self.path, self.url)
        writing = self._writing = self._connected()
        paths.check_written(writing, self.url)
        _make_if_empty(writing)
        self._check_format(writing)
        writing.execute("PRAGMA journal_mode=WAL")
        level = "FULL" if self._durability == "full" else "NORMAL"
        writing.execute(f"PRAGMA synchronous={level}")
        self._reading = self._connected()
        writing.set_busy_timeout(BUSY_MS)
        return all_kept(writing)

    def _connected(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(OPEN_BUSY_MS)
        return connection

    def _check_format(self, connection: apsw.Connection) -> None:
        application = connection.pragma("application_id")
        found = connection.pragma("user_version")
        if application != APPLICATION_ID:
            raise StoreRefused(self.url, "is a database of another program")
        if found != FORMAT:
            raise StoreRefused(
                self.url, f"has format {found}; this version reads {FORMAT}: update the library"
            )

    def _write(self, change: Change) -> list[list[BlockInfo]]:
        connection, infos = self._writer(), []
        with connection:
            for one in change:
                self._write_small(connection, one)
                infos.append([_write_block(connection, one.id, part) for part in one.parts])
        return infos

    def _write_small(self, connection: apsw.Connection, one: ExperimentChange) -> None:
        pack = msgspec.msgpack.encode
        if one.record is not None:
            head = msgspec.msgpack.decode(one.record, type=RecordHead)
            connection.execute(
                "INSERT INTO experiments VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, record = excluded.record",
                (one.id, head.name, head.state, head.started_us, one.record),
            )
        connection.executemany(
            "INSERT OR REPLACE INTO words VALUES (?, ?, ?, ?)",
            [(one.id, word.kind, word.number, pack(word.word)) for word in one.words],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO trials VALUES (?, ?, ?)",
            [(one.id, number, record) for number, record in one.trials],
        )
        if one.forget_rollups:
            connection.execute("DELETE FROM rollups WHERE experiment = ?", (one.id,))
        connection.executemany(
            "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?)",
            [(one.id, rollup.level_s, rollup.start_us, rollup.cells) for rollup in one.rollups],
        )

    def _claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        state = msgspec.msgpack.decode(record, type=RecordHead).state
        self._writer().execute(
            "UPDATE experiments SET state = ?, record = ? WHERE id = ? AND record = ?",
            (state, record, experiment_id, before),
        )
        return _kept(self._writer(), experiment_id)

    def _load(self, experiment_id: str, block: BlockInfo) -> Columns:
        named = f"experiment {experiment_id!r}, events {block.first_seq} to {block.last_seq}"
        query = "SELECT data FROM blocks WHERE experiment = ? AND first_seq = ?"
        try:
            data = self._reader().execute(query, (experiment_id, block.first_seq)).get
        except apsw.CorruptError as error:
            raise StoreDamaged(self.url, f"{named}: {error}") from error
        if data is None:
            raise StoreDamaged(self.url, f"{named}: not there")
        if digest(data) != block.digest:
            raise StoreDamaged(self.url, f"{named}: not as they were written (digest differs)")
        return decoded(data)

    def _forget(self, experiment_id: str) -> None:
        connection = self._writer()
        with connection:
            for table, column in _TABLES.items():
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (experiment_id,))  # noqa: S608 - our own names

    def _close_reading(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            connection.close()

    def _close_writing(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            connection.close()

    def _writer(self) -> apsw.Connection:
        if self._writing is None:
            raise StoreRefused(self.url, "is closed")
        return self._writing

    def _reader(self) -> apsw.Connection:
        if self._reading is None:
            raise StoreRefused(self.url, "is closed")
        return self._reading

    async def about(self) -> dict[str, Any]:
        """Format, and bytes of the file and its journal, for `crucible doctor`."""
        wal = self.path.with_name(self.path.name + "-wal")
        return {
            "format": FORMAT,
            "file_bytes": self.path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        }


def _is_empty(connection: apsw.Connection) -> bool:
    """Whether nobody has made anything of the file yet."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").get
    return not tables and not connection.pragma("user_version")


def _abandon(connection: apsw.Connection) -> None:
    """Never close it: closing in a child of `fork` could fold the parent's journal into the file."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _make_if_empty(connection: apsw.Connection) -> None:
    if not _is_empty(connection):
        return
    # Immediate, and looked at again inside: another process may make it in this moment.
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if _is_empty(connection):
            connection.execute(SCHEMA)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", FORMAT)
    connection.execute("COMMIT")


def all_kept(connection: apsw.Connection) -> list[KeptExperiment]:
    """The experiments in the order they were started."""
    ids = [row[0] for row in connection.execute("SELECT id FROM experiments ORDER BY rowid")]
    return [_kept(connection, one) for one in ids]


def _kept(connection: apsw.Connection, one: str) -> KeptExperiment:
    get: Callable[..., Any] = connection.execute
    unpack = msgspec.msgpack.decode
    return KeptExperiment(
        id=one,
        record=get("SELECT record FROM experiments WHERE id = ?", (one,)).get,
        words=[
            Word(kind, number, unpack(word))
            for kind, number, word in get(
                "SELECT kind, number, word FROM words WHERE experiment = ? ORDER BY kind, number",
                (one,),
            )
        ],
        trials=get(
            "SELECT number, record FROM trials WHERE experiment = ? ORDER BY number", (one,)
        ).fetchall(),
        blocks=[
            BlockInfo(first_seq=first, rows=rows, min_us=low, max_us=high, digest=mark)
            for first, rows, low, high, mark in get(
                "SELECT first_seq, rows, min_us, max_us, digest FROM blocks INDEXED BY blocks_by_seq"
                " WHERE experiment = ? ORDER BY first_seq",
                (one,),
            )
        ],
    )


def _write_block(connection: apsw.Connection, one: str, columns: Columns) -> BlockInfo:
    block = encoded(columns)
    info = info_of(columns, block)
    connection.execute(
        "DELETE FROM blocks WHERE experiment = ? AND first_seq BETWEEN ? AND ?",
        (one, info.first_seq, info.last_seq),
    )
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)",
        (one, info.first_seq, info.rows, info.min_us, info.max_us, info.digest, block),
    )
    return info
