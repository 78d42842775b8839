"""The keep in one file: SQLite in WAL mode, one writing and one reading connection, each in a thread of its own.

Events are blocks (`blocks.py`), up to eight thousand to a row: a commit is a few statements however many
events it holds, so that the writing thread does not fight the event loop for the interpreter (measured:
row by row every statement gives the interpreter up, and takes up to 5 ms to get it back).
Beside the file and its journal lie its marks (`marks.py`).
"""

from collections.abc import Callable, Mapping, Set as AbstractSet
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import apsw
import msgspec

from crucible_telemetry.errors import (
    StoreDamaged,
    StoreError,
    StoreRefused,
    StoreTaken,
    StoreUnavailable,
)
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.stores import paths
from crucible_telemetry.stores.blocks import BlockInfo, decoded, digest
from crucible_telemetry.stores.keeping import Change, KeptExperiment, Mark, Rollup, Tip, deleted
from crucible_telemetry.stores.marks import Marks
from crucible_telemetry.stores.seals import unsealed_rollup
from crucible_telemetry.stores.sqlite_file import (
    APPLICATION_ID,
    FORMAT,
    TABLES,
    abandon,
    make_if_empty,
    transaction,
)
from crucible_telemetry.stores.sqlite_rows import (
    all_kept,
    is_anothers,
    kept_one,
    numbers_of,
    replace_record,
    whole,
    write_block,
    write_small,
)
from crucible_telemetry.stores.worker import Worker

T = TypeVar("T")
Durability = Literal["normal", "full"]

OPEN_BUSY_MS: Final = 5_000
"""How long opening waits for another process that holds the file."""
BUSY_MS: Final = 500
"""How long a write does; it is tried again, and who waits for it is told so within a second."""
_RETRY: Final = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError)


class SqliteKeep:
    """A `Keep` in the file at `path`. `durability`: ``"normal"`` survives the process and, but for a tail of
    the last commits, a loss of power; ``"full"`` waits for the disk at each commit and loses nothing.
    """  # noqa: D205 - the summary is one sentence

    def __init__(self, path: Path, durability: Durability = "normal") -> None:
        self.path, self._durability = path, durability
        self._writing: apsw.Connection | None = None
        self._reading: apsw.Connection | None = None
        self._marks = Marks(path, promises=durability != "full")
        self._rows: dict[str, int] = {}
        """Experiments that were committed, by id: their rows in the table."""
        self._file: AbstractSet[tuple[int, int]] = frozenset()
        """What the file was when it was opened: its device and inode."""
        self._writer_thread = Worker("crucible-sqlite-writer")
        self._reader_thread = Worker("crucible-sqlite-reader")

    @property
    def url(self) -> str:
        """See `Keep.url`."""
        return f"sqlite:///{self.path}"

    async def open(self) -> list[KeptExperiment]:
        """See `Keep.open`; makes the file and its folder."""
        return await self._as_writer(self._open)

    async def look(self) -> list[KeptExperiment]:
        """See `Keep.look`."""
        return await self._as_reader(self._look)

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
        return [
            unsealed_rollup(self.url, experiment_id, level_s, start_us, cells)
            for start_us, cells in rows
        ]

    async def size(self, experiment_id: str) -> int:
        """See `Keep.size`."""
        query = "SELECT coalesce(sum(length(data)), 0) FROM blocks WHERE experiment = ?"
        found: int = await self._as_reader(
            lambda: self._reader().execute(query, (experiment_id,)).get
        )
        return found

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
                abandon(connection)
                paths.inherit(self.path)
        self._reading = self._writing = None
        self._marks.disown()

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
        except (apsw.CorruptError, UnicodeDecodeError) as error:
            raise StoreDamaged(self.url, str(error)) from error
        except (apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise StoreRefused(self.url, f"cannot be written: {error}") from error
        except _RETRY as error:
            raise StoreUnavailable(self.url, str(error)) from error
        except (apsw.Error, OSError) as error:
            raise StoreRefused(self.url, str(error)) from error

    def _open(self) -> list[KeptExperiment]:
        paths.make_ready(self.path, self.url)
        marks = self._marks.read()  # first: what comes after is no loss
        writing = self._writing = self._connected()
        paths.check_written(writing, self.url)
        # Until it is in WAL mode: a journal that was deleted, and is there again after a loss of power,
        # would take the whole file back to what it was before.
        writing.execute("PRAGMA synchronous=EXTRA")
        make_if_empty(writing)
        self._check_format(writing)
        paths.check_journal(writing.execute("PRAGMA journal_mode=WAL").get, self.url)
        level = "FULL" if self._durability == "full" else "NORMAL"
        writing.execute(f"PRAGMA synchronous={level}")
        self._file = paths.known_as(self.path)
        self._reading = self._connected()
        writing.set_busy_timeout(BUSY_MS)
        kept = all_kept(writing, marks)
        wrong = whole(writing)
        if wrong is not None:
            log.warning("%s: the table of experiments is damaged: %s", self.url, wrong)
        self._told_lost(marks.keys() - {one.id for one in kept}, marks)
        return kept

    def _look(self) -> list[KeptExperiment]:
        reader = self._reader()
        reader.execute("BEGIN")
        try:
            return all_kept(reader, {})
        finally:
            reader.execute("COMMIT")

    def _told_lost(self, ids: AbstractSet[str], marks: Mapping[str, Mark]) -> None:
        """Experiments of which nothing is left."""
        self._marks.miss_no_more(ids)
        for one in sorted(ids):
            least, most = marks[one].last_seq, max(marks[one].last_seq, marks[one].promised)
            log.warning(
                "%s: experiment %r is not there: its events 1 to %d, as far as there were any, are lost (at least %d)",
                self.url, one, most, least,
            )  # fmt: skip

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
            way = "update the library" if found > FORMAT else "archive it with the version of it"
            raise StoreRefused(self.url, f"has format {found}; this version reads {FORMAT}: {way}")

    def _write(self, change: Change) -> list[list[BlockInfo]]:
        connection, infos = self._writer(), []
        paths.check_there(self.path, self.url, self._file)
        with transaction(connection):
            for one in change:
                if one.record is not None and is_anothers(connection, one.id, one.record):
                    raise StoreTaken(self.url, one.id)
                write_small(connection, one)
                infos.append([write_block(connection, one.id, part) for part in one.parts])
            tips = self._tips(change)
            self._marks.promise(tips)
        self._rows.update((one, row) for row, (one, _) in tips.items())
        self._marks.committed(tips)
        return infos

    def _tips(self, change: Change) -> dict[int, tuple[str, Tip]]:
        """How far these experiments go, by the rows they have; one that is being restored has none yet."""
        tips = {one.id: one.tip for one in change if one.tip is not None}
        rows = self._rows | numbers_of(self._writer(), tips.keys() - self._rows.keys())
        return {rows[one]: (one, tip) for one, tip in tips.items() if one in rows}

    def _claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        replace_record(self._writer(), experiment_id, before, record)
        return kept_one(self._writer(), experiment_id, self._marks.read().get(experiment_id))

    def _load(self, experiment_id: str, block: BlockInfo) -> Columns:
        named = f"experiment {experiment_id!r}, events {block.first_seq} to {block.last_seq}"
        data, why = None, "not there"
        # By its index, and where that is damaged by looking through the table.
        for how in ("", "NOT INDEXED"):
            query = f"SELECT data FROM blocks {how} WHERE experiment = ? AND first_seq = ?"  # noqa: S608 - our own words
            try:
                data = self._reader().execute(query, (experiment_id, block.first_seq)).get
            except (apsw.CorruptError, UnicodeDecodeError) as error:
                why = str(error)
            if isinstance(data, bytes) and digest(data) == block.digest:
                return decoded(data)
        if data is None and not numbers_of(self._reader(), [experiment_id]):
            raise deleted(self.url, experiment_id)
        if data is not None:
            why = "not as they were written (digest differs)"
        raise StoreDamaged(self.url, f"{named}: {why}")

    def _forget(self, experiment_id: str) -> None:
        connection = self._writer()
        numbers = numbers_of(connection, [experiment_id])
        # The mark first: a process that is killed in between misses nothing.
        for one, number in numbers.items():
            self._marks.forget(number, one)
            self._rows.pop(one, None)
        with transaction(connection):
            for table, column in TABLES.items():
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", (experiment_id,))  # noqa: S608 - our own names

    def _close_reading(self) -> None:
        connection, self._reading = self._reading, None
        if connection is not None:
            connection.close()

    def _close_writing(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            connection.close()
            self._marks.close(whole=not paths.journal_of(self.path).exists())

    def _writer(self) -> apsw.Connection:
        if self._writing is None:
            raise StoreRefused(self.url, "is closed")
        return self._writing

    def _reader(self) -> apsw.Connection:
        if self._reading is None:
            raise StoreRefused(self.url, "is closed")
        return self._reading

    def _structure(self) -> str:
        try:
            found = self._reader().execute("PRAGMA integrity_check(3)").fetchall()
        except apsw.CorruptError as error:  # so far gone that the check cannot go through it
            return str(error)
        return "; ".join(str(row[0]) for row in found)

    async def about(self) -> dict[str, Any]:
        """Format, bytes of the file and its journal, what SQLite itself finds; for `crucible doctor`."""
        wal = paths.journal_of(self.path)
        return {
            "format": FORMAT,
            "structure": await self._as_reader(self._structure),
            "file_bytes": self.path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
        }
