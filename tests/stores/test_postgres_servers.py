"""The keep on servers, for users and with values that are not as one would wish."""

import asyncpg
import pytest
import servers
from servers import rows_of

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.stores.postgres.keep import PostgresKeep

pytestmark = pytest.mark.asyncio


@pytest.fixture
def url():
    return servers.postgres().url()


async def test_a_database_that_cannot_hold_every_name_is_refused_before_anything_is_kept(url):
    await rows_of(
        url,
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    with pytest.raises(StoreRefused, match="has encoding LATIN1, .* ENCODING 'UTF8'"):
        await ct.Lab(url.replace("/postgres?", "/latin?")).open()


async def test_nothing_is_written_without_the_lock_that_tells_others_who_writes(url):
    await rows_of(url, "CREATE ROLE writer LOGIN")
    await rows_of(url, "GRANT CREATE ON DATABASE postgres TO writer")
    keep = PostgresKeep(url.replace("postgres@", "writer@"))
    holder = await asyncpg.connect(url.partition("&schema=")[0])
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", keep._lock)
        for _ in range(2):
            with pytest.raises(StoreRefused, match="permission denied|must be a superuser"):
                await keep.open()
        await holder.close()
        assert await keep.open() == []
    finally:
        await holder.close()
        await keep.close()


async def test_who_may_read_only_is_told_at_the_opening_and_reads(url):
    async with ct.Lab(url) as lab, lab.experiment("a"):
        await ct.execute("x")
    schema = url.rpartition("=")[2]
    for right in ("CREATE ROLE reader LOGIN", f"GRANT USAGE ON SCHEMA {schema} TO reader",
                  f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader"):  # fmt: skip
        await rows_of(url, right)
    as_reader = url.replace("postgres@", "reader@")
    with pytest.raises(StoreRefused, match="may not be written by this user: .* read_only=True"):
        await ct.Lab(as_reader).open()
    async with ct.Lab(as_reader, read_only=True) as lab:
        assert [len(await exp.events()) for exp in lab.list_experiments()] == [1]


async def test_numbers_and_times_at_the_borders_are_kept_and_shown_as_far_as_columns_can(url):
    first_us, last_us = -62_135_596_800_000_000, 253_402_300_799_999_999
    repeats = [2**63 - 1, -(2**63)]
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        for repeat in repeats:
            async with exp.trial(item="q", repeat=repeat):
                await ct.execute("x", {}, at_us=last_us)
                await ct.execute("x", {}, at_us=first_us)
        assert (await exp.flush()).complete
    times = await rows_of(url, "SELECT DISTINCT timestamp_us, time::text FROM events ORDER BY 1")
    assert times == [
        (first_us, "0001-01-01 00:00:00+00"), (last_us, "9999-12-31 23:59:59.999999+00"),
    ]  # fmt: skip
    assert await rows_of(url, "SELECT repeat FROM trials ORDER BY number") == [
        (repeat,) for repeat in repeats
    ]
