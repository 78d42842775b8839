"""The tables of a lab on a server: made where nothing is, and told from another program's."""

from typing import Any, Final

from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.stores.paths import READ_IT
from crucible_telemetry.stores.postgres import schema
from crucible_telemetry.stores.postgres.about import licence_of
from crucible_telemetry.stores.postgres.address import Address
from crucible_telemetry.stores.postgres.server import driver

_MAKING: Final = 0x43525543
"""The advisory lock under which tables are made: two labs may begin at once."""
_ENCODINGS: Final = ("UTF8", "SQL_ASCII")
"""Of a database: others cannot hold every name."""
_OURS: Final = {"keep", "experiments", "segments", "event_rows"}
"""Tables that every lab has."""


async def make_or_check(connection: Any, address: Address) -> None:
    """Make the schema and its tables where they are not; else see `check`."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
        if not await connection.fetchval(
            "SELECT count(*) FROM pg_namespace WHERE nspname = $1", address.schema
        ):
            await connection.execute(f"CREATE SCHEMA {address.quoted_schema}")
        if await _tables(connection, address):
            await check(connection, address)
            await _check_writable(connection, address)
        else:
            await _check_encoding(connection, address)
            await _make(connection)


async def check(connection: Any, address: Address) -> None:
    """`StoreRefused` where no lab of this version is, or none that this user may read."""
    reason = await _unread(connection, address)
    if reason is not None:
        raise StoreRefused(address.shown, reason)


async def _unread(connection: Any, address: Address) -> str | None:
    name = address.schema
    there = await _tables(connection, address)
    if not there:
        return f"holds no lab in schema {name!r}"
    if not there >= _OURS:
        return f"schema {name!r} is of another program"
    if not await connection.fetchval("SELECT has_schema_privilege($1, 'USAGE')", name):
        return f"schema {name!r} may not be read by this user"
    found = await connection.fetchval("SELECT format FROM keep")
    if found is None or found == schema.FORMAT:
        return None if found else f"schema {name!r} is of another program"
    way = "update the library" if found > schema.FORMAT else "archive it with the version of it"
    return f"has format {found}; this version reads {schema.FORMAT}: {way}"


async def _tables(connection: Any, address: Address) -> set[str]:
    """What stands in the schema, whoever may read it."""
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1",
        address.schema,
    )
    return {row[0] for row in rows}


async def _check_writable(connection: Any, address: Address) -> None:
    may = await connection.fetchval(
        "SELECT bool_and(has_table_privilege(name, right_to)) FROM unnest($1::text[]) name,"
        " unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) right_to",
        [*schema.WRITTEN],
    )
    if not may:
        reason = f"schema {address.schema!r} may not be written by this user: {READ_IT}"
        raise StoreRefused(address.shown, reason)


async def _check_encoding(connection: Any, address: Address) -> None:
    found = await connection.fetchval("SHOW server_encoding")
    if found not in _ENCODINGS:
        reason = (
            f"the database has encoding {found}, which lacks letters: make one WITH ENCODING 'UTF8'"
        )
        raise StoreRefused(address.shown, reason)


async def _make(connection: Any) -> None:
    """Tables, and what TimescaleDB adds where it is there."""
    await connection.execute(schema.TABLES)
    licence = await licence_of(connection)
    if licence is None or not await _tried(connection, schema.HYPERTABLE):
        await connection.execute(schema.PLAIN)
    elif licence == "timescale":
        for statements in (schema.COMPRESSION, *schema.AGGREGATES):
            await _tried(connection, statements)
    await connection.execute(schema.EVENTS)


async def _tried(connection: Any, statements: str) -> bool:
    """Whether the server did it; events are kept all the same without."""
    try:
        async with connection.transaction():
            await connection.execute(statements)
    except driver().PostgresError as error:
        log.warning("TimescaleDB: %s", error)
        return False
    return True
