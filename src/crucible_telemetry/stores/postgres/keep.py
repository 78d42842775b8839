"""PostgreSQL as a `Keep`: see `stores/keeping.py` for what each verb promises."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
from msgspec.structs import replace

from crucible_telemetry.errors import StoreDamaged, StoreRefused
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.runtime.aside import AsideLoop
from crucible_telemetry.stores.blocks import BlockInfo, digest, encoded
from crucible_telemetry.stores.keeping import Change, KeptExperiment, Rollup, deleted
from crucible_telemetry.stores.postgres import rows, writing
from crucible_telemetry.stores.postgres.about import about, has_hypertable
from crucible_telemetry.stores.postgres.address import Address
from crucible_telemetry.stores.postgres.making import check, make_or_check
from crucible_telemetry.stores.postgres.reading import all_kept
from crucible_telemetry.stores.postgres.schema import WRITTEN
from crucible_telemetry.stores.postgres.server import LONG_S, Connection, driver, new_lock
from crucible_telemetry.stores.seals import unsealed_rollup

T = TypeVar("T")

GHOST_S: Final = 1.0
GHOST_LOOKS: Final = 20
"""How long, and how often meanwhile, a session that may be a dead process's is looked at."""
_abandoned: Final[list[Any]] = []
"""Connections of the parent, in a child of `fork`: never closed, which might tell the server so."""


class PostgresKeep:
    """A `Keep` in the schema of a database: one writing and one reading connection, on a loop of their own.

    The answer to a commit is waited for, whatever the lab's `durability`: how sure it then is, is the
    server's `synchronous_commit`.
    """

    def __init__(self, url: str) -> None:
        driver()
        self._address = Address(url)
        self._lock = new_lock()
        self._loop = AsideLoop("crucible-postgres")
        self._begin()

    def _begin(self) -> None:
        self._writing = Connection(self._address, lock=self._lock)
        self._reading = Connection(self._address)
        self._chunked = False
        """Whether events are in a hypertable of TimescaleDB."""

    @property
    def url(self) -> str:
        """See `Keep.url`."""
        return self._address.shown

    async def open(self) -> list[KeptExperiment]:
        """See `Keep.open`; makes the schema and its tables."""
        self._loop.start()
        return await self._loop.call(lambda: self._writing.first_use(self._opened))

    async def look(self) -> list[KeptExperiment]:
        """See `Keep.look`."""
        return await self._call(self._reading, self._viewed)

    async def claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        """See `Keep.claim`."""

        async def work(connection: Any) -> KeptExperiment:
            claim = writing.Claim(experiment_id, before, record)
            return await _claimed(connection, self.url, claim, self._lock)

        return await self._call(self._writing, work)

    async def write(self, change: Change) -> list[list[BlockInfo]]:
        """See `Keep.write`."""

        async def work(connection: Any) -> list[list[BlockInfo]]:
            async with connection.transaction():
                return await writing.write(
                    connection, change, self._lock, self.url, chunked=self._chunked
                )

        return await self._call(self._writing, work)

    async def load(self, experiment_id: str, block: BlockInfo) -> Columns:
        """See `Keep.load`."""

        async def work(connection: Any) -> Columns:
            return await _loaded(connection, self.url, experiment_id, block)

        return await self._call(self._reading, work)

    async def rollups(
        self, experiment_id: str, level_s: int, since_us: int, until_us: int
    ) -> list[Rollup]:
        """See `Keep.rollups`."""
        query = (
            "SELECT start_us, cells FROM rollups WHERE experiment = (SELECT number FROM experiments"
            " WHERE id = $1) AND level_s = $2 AND start_us >= $3 AND start_us < $4 ORDER BY start_us"
        )
        found = await self._fetch(query, experiment_id, level_s, since_us, until_us)
        return [
            unsealed_rollup(self.url, experiment_id, level_s, start_us, cells)
            for start_us, cells in found
        ]

    async def size(self, experiment_id: str) -> int:
        """See `Keep.size`."""
        tables = ("event_rows", *(["strewn_rows"] if self._chunked else []))
        counts = [
            f"SELECT sum(octet_length(payload)) AS size FROM {table} WHERE experiment ="  # noqa: S608 - our own names
            " (SELECT number FROM experiments WHERE id = $1)"
            for table in tables
        ]
        query = f"SELECT coalesce(sum(size), 0)::bigint FROM ({' UNION ALL '.join(counts)}) s"  # noqa: S608
        ((found,),) = await self._fetch(query, experiment_id)
        return int(found)

    async def forget(self, experiment_id: str) -> None:
        """See `Keep.forget`."""

        async def work(connection: Any) -> None:
            async with connection.transaction():
                number = await connection.fetchval(
                    "DELETE FROM experiments WHERE id = $1 RETURNING number", experiment_id
                )
                for table in (*WRITTEN[1:], *(["strewn_rows"] if self._chunked else [])):
                    await connection.execute(
                        f"DELETE FROM {table} WHERE experiment = $1",  # noqa: S608 - our own names
                        number,
                        timeout=LONG_S,
                    )

        await self._call(self._writing, work)

    async def close(self) -> None:
        """See `Keep.close`."""
        if self._loop.running:
            await self._loop.call(self._writing.close)
            await self._loop.call(self._reading.close)
            await self._loop.stop()

    def disown(self) -> None:
        """See `Keep.disown`: the loop's thread stayed in the parent."""
        _abandoned.append((self._loop, self._writing, self._reading))
        self._loop = AsideLoop("crucible-postgres")
        self._begin()

    async def about(self) -> dict[str, Any]:
        """What the server says of itself and of the tables, for `crucible doctor`: see `about.py`."""
        return await self._call(self._reading, lambda c: about(c, self._address.schema))

    # -- on the loop beside ---------------------------------------------------------------------

    async def _call(self, which: Connection, work: Callable[[Any], Awaitable[T]]) -> T:
        if not self._loop.running:
            raise StoreRefused(self.url, "is closed")
        return await self._loop.call(lambda: which.use(work))

    async def _fetch(self, query: str, *values: Any) -> list[Any]:
        async def work(connection: Any) -> list[Any]:
            found: list[Any] = await connection.fetch(query, *values)
            return found

        return await self._call(self._reading, work)

    async def _viewed(self, connection: Any) -> list[KeptExperiment]:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await check(connection, self._address)
            self._chunked = await has_hypertable(connection)
            return await all_kept(connection)

    async def _opened(self, connection: Any) -> list[KeptExperiment]:
        await make_or_check(connection, self._address)
        self._chunked = await has_hypertable(connection)
        return await all_kept(connection)


async def _claimed(connection: Any, url: str, claim: writing.Claim, lock: int) -> KeptExperiment:
    """An experiment, ours now unless it is `held`; a session whose process died is given time to end."""
    held = True
    for _ in range(GHOST_LOOKS):
        async with connection.transaction():
            held = await writing.claimed(connection, claim, lock)
        if not held:
            break
        await anyio.sleep(GHOST_S / GHOST_LOOKS)
    found = await all_kept(connection, claim.id)
    if not found:
        raise deleted(url, claim.id)
    return replace(found[0], held=held)


async def _loaded(connection: Any, url: str, experiment_id: str, block: BlockInfo) -> Columns:
    """The rows of a block: what is of one size by COPY, the payloads in one piece.

    Measured, 8,192 rows: 22 ms, most of it the server's; every value a Python object 30 ms, and then no columns yet.
    """
    number = await connection.fetchval(
        "SELECT number FROM experiments WHERE id = $1", experiment_id
    )
    if number is None:
        raise deleted(url, experiment_id)
    # Numbers, all of them: COPY takes no parameters.
    rows_of = (
        f"FROM all_rows WHERE experiment = {number:d} AND seq BETWEEN {block.first_seq:d}"
        f" AND {block.last_seq:d} AND timestamp_us BETWEEN {block.min_us:d} AND {block.max_us:d} ORDER BY seq"
    )
    pieces: list[bytes] = []

    async def take(piece: bytes) -> None:
        pieces.append(piece)

    await connection.copy_from_query(
        f"SELECT {rows.fixed_select()} {rows_of}", output=take, format="binary", timeout=LONG_S
    )
    blob = await connection.fetchval(
        f"SELECT string_agg(payload, ''::bytea) FROM (SELECT payload {rows_of}) ordered",  # noqa: S608
        timeout=LONG_S,
    )
    return _checked(url, experiment_id, block, (b"".join(pieces), blob or b""))


def _checked(url: str, experiment_id: str, block: BlockInfo, found: tuple[bytes, bytes]) -> Columns:
    """The columns, when they are what was written."""
    named = f"experiment {experiment_id!r}, events {block.first_seq} to {block.last_seq}"
    try:
        seqs, columns = rows.unpacked(*found)
    except ValueError as error:
        raise StoreDamaged(url, f"{named}: {error}") from error
    if len(seqs) != block.rows:
        gone = rows.missing(seqs, block.first_seq, block.last_seq)
        raise StoreDamaged(url, f"{named}: missing are {gone}")
    if digest(encoded(columns)) != block.digest:
        raise StoreDamaged(url, f"{named}: not as they were written (digest differs)")
    return columns
