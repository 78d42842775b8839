"""What a server says of itself and of a lab's tables, for `crucible doctor`."""

from typing import Any

from crucible_telemetry.stores.postgres.schema import COMPRESS_AFTER_US, DAY_US


async def about(connection: Any, schema: str) -> dict[str, Any]:
    """Server, TimescaleDB and why it is not used, and bytes of each table; of a hypertable its chunks,
    what compression saves, and the continuous aggregates.
    """  # noqa: D205 - the summary is one sentence
    version = await connection.fetchval("SELECT current_setting('server_version')")
    found = {"server": f"PostgreSQL {version}", "schema": schema}
    chunked = await has_hypertable(connection)
    found["timescaledb"] = await _timescale(connection, chunked=chunked)
    sizes = await connection.fetch(
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' ORDER BY 2 DESC"
    )
    tables = dict(sizes)
    if not chunked:
        return {**found, "bytes": tables}
    tables["event_rows"] = await connection.fetchval("SELECT hypertable_size('event_rows')")
    largest_first = dict(sorted(tables.items(), key=lambda table: -table[1]))
    return {**found, **await _hypertable(connection), "bytes": largest_first}


async def licence_of(connection: Any) -> str | None:
    """``timescale`` or ``apache``; None where this database has no TimescaleDB."""
    licence: str | None = await connection.fetchval(
        "SELECT current_setting('timescaledb.license', true) FROM pg_extension"
        " WHERE extname = 'timescaledb'"
    )
    return licence


async def has_hypertable(connection: Any) -> bool:
    """Whether events are in a hypertable of TimescaleDB."""
    if await licence_of(connection) is None:
        return False
    return bool(
        await connection.fetchval(
            "SELECT count(*) FROM timescaledb_information.hypertables"
            " WHERE hypertable_schema = current_schema() AND hypertable_name = 'event_rows'"
        )
    )


async def _timescale(connection: Any, *, chunked: bool) -> str:
    """Version and licence; or why this is plain PostgreSQL."""
    installed, available = await connection.fetchrow(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb')"
    )
    if chunked:
        return f"{installed}, licence {await licence_of(connection)}"
    if installed is not None:
        return f"{installed}, not used: these tables were made without it (a restored archive in a new schema has it)"
    if available is not None:
        return f"not used: the server has {available}, this database has not (CREATE EXTENSION timescaledb)"
    return "not used: the server does not have it"


async def _hypertable(connection: Any) -> dict[str, str]:
    chunks, compresses, span_us = await connection.fetchrow(
        "SELECT h.num_chunks, h.compression_enabled, d.integer_interval"
        " FROM timescaledb_information.hypertables h"
        " JOIN timescaledb_information.dimensions d USING (hypertable_schema, hypertable_name)"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = 'event_rows'"
    )
    views = await connection.fetch(
        "SELECT view_name FROM timescaledb_information.continuous_aggregates"
        " WHERE hypertable_schema = current_schema() AND hypertable_name = 'event_rows'"
    )
    without = f"none: licence {await licence_of(connection)} has none"
    return {
        "hypertable": f"event_rows, in chunks of {span_us / DAY_US:g} days: {chunks}",
        "compression": await _compression(connection, chunks) if compresses else without,
        "aggregates": ", ".join(sorted(name for (name,) in views)) or without,
        "jobs": await _jobs(connection),
    }


async def _compression(connection: Any, chunks: int) -> str:
    stats = await connection.fetchrow(
        "SELECT number_compressed_chunks, before_compression_total_bytes,"
        " after_compression_total_bytes FROM hypertable_compression_stats('event_rows')"
    )
    done, before, after = stats or (0, 0, 0)  # no row where there is no chunk
    told = f"after {COMPRESS_AFTER_US / DAY_US:g} days; so far {done or 0} of {chunks}"
    if not done:
        return told
    return f"{told}, {before / 1e6:.3g} MB to {after / 1e6:.3g} MB ({before / after:.3g} ×)"


async def _jobs(connection: Any) -> str:
    """How the last runs of compression and of the aggregates' refresh ended."""
    rows = await connection.fetch(
        "SELECT application_name, s.last_run_status FROM timescaledb_information.jobs j"
        " LEFT JOIN timescaledb_information.job_stats s USING (job_id)"
        " WHERE j.hypertable_schema = current_schema()"
    )
    if not rows:
        return "none"
    failed = [name for name, status in rows if status == "Failed"]
    return (
        f"{len(rows)}, failed last: {', '.join(failed)}" if failed else f"{len(rows)}, none failed"
    )
