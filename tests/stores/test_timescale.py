"""What TimescaleDB adds; its server is named by CRUCIBLE_TIMESCALE_DSN (a database where schemas may be made)."""

import os
import secrets

import asyncpg
import pytest

import crucible_telemetry as ct
from crucible_telemetry.stores.postgres.keep import PostgresKeep

DSN = os.environ.get("CRUCIBLE_TIMESCALE_DSN")
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.timescale,
    pytest.mark.skipif(
        DSN is None, reason="CRUCIBLE_TIMESCALE_DSN names no server with TimescaleDB"
    ),
]


@pytest.fixture
def schema():
    return f"crucible_test_{secrets.token_hex(4)}"


async def asked(schema, *queries):
    connection = await asyncpg.connect(DSN, server_settings={"search_path": f"{schema}, public"})
    try:
        return [[tuple(row) for row in await connection.fetch(query)] for query in queries]
    finally:
        await connection.close()


async def test_events_are_a_hypertable_and_read_again_as_they_were(schema):
    url = f"{DSN}{'&' if '?' in DSN else '?'}schema={schema}"
    try:
        async with ct.Lab(url) as lab, lab.experiment("a", privacy="full") as exp:
            day_us = 86_400_000_000
            for day in range(20):
                ct.execute_nowait("llm.request.stop", {"n": day}, at_us=(20_000 + day) * day_us)
            before = await exp.events()
        keep = PostgresKeep(url)
        await keep.open()
        assert (await keep.about())["timescaledb"] != "no"
        await keep.close()
        chunks, compressed = await asked(
            schema,
            f"SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_schema = '{schema}'",
            "SELECT compress_chunk(c, true) FROM show_chunks('event_rows') c",
        )
        assert chunks == [(20,)]
        assert len(compressed) == 20
        async with ct.Lab(url) as lab:
            (found,) = lab.list_experiments()
            assert repr(await found.events()) == repr(before)
    finally:
        await asked(schema, f"DROP SCHEMA {schema} CASCADE")


async def test_continuous_aggregates_count_what_is_there(schema):
    url = f"{DSN}{'&' if '?' in DSN else '?'}schema={schema}"
    try:
        async with ct.Lab(url) as lab, lab.experiment("a"):
            for second in range(180):
                ct.execute_nowait("a.b", at_us=1_728_000_000_000_000 + second * 1_000_000)
        (found,) = await asked(schema, "SELECT sum(events), count(*) FROM events_per_minute")
        assert found == [(180, 3)]
    finally:
        await asked(schema, f"DROP SCHEMA {schema} CASCADE")
