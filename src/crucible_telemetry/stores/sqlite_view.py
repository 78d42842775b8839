"""A SQLite file that is read only, as it was when it was opened; other processes may go on writing it.

One connection and one transaction: the list of blocks and the blocks themselves belong together, however the
writer joins them meanwhile. The writer's journal cannot be shortened as long as the view is open.
"""

from pathlib import Path

import apsw

from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.stores import paths
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.sqlite import OPEN_BUSY_MS, SqliteKeep
from crucible_telemetry.stores.sqlite_rows import all_kept


class SqliteView(SqliteKeep):
    """A `Keep` that only reads; nothing of the file is changed, and none is made."""

    async def open(self) -> list[KeptExperiment]:
        """See `Keep.open`; `StoreRefused` where no file is."""
        return await self._as_reader(self._open_view)

    def _open_view(self) -> list[KeptExperiment]:
        paths.check_read(self.path, self.url)
        marks = self._marks.read()
        try:
            self._reading = _begun(str(self.path), apsw.SQLITE_OPEN_READONLY)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            if _journal(self.path):
                raise
            # On a medium that cannot be written nobody writes: no journal has to be shared.
            uri = f"{self.path.resolve().as_uri()}?immutable=1"
            self._reading = _begun(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        self._check_format(self._reading)
        return all_kept(self._reading, marks)

    def _look(self) -> list[KeptExperiment]:
        reader = self._reader()
        if reader.in_transaction:
            reader.execute("COMMIT")
        reader.execute("BEGIN")
        return all_kept(reader, {})

    def _writer(self) -> apsw.Connection:
        raise StoreRefused(self.url, "is open to be read only")


def _begun(path: str, flags: int) -> apsw.Connection:
    connection = apsw.Connection(path, flags=flags)
    try:
        connection.set_busy_timeout(OPEN_BUSY_MS)
        connection.execute("BEGIN; SELECT count(*) FROM sqlite_master").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _journal(path: Path) -> bool:
    wal = paths.journal_of(path)
    return wal.exists() and wal.stat().st_size > 0
