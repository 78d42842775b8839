"""F4 on a server: rows that are gone or not as they were written are named, and the rest is read."""

import asyncpg
import pytest
import servers

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged

pytestmark = pytest.mark.asyncio
T0_US = 1_700_000_000_000_000
BLOCK = 50
DAMAGES = {
    "blocks at the end": (
        "DELETE FROM segments WHERE first_seq > 100",
        "events 101 to 200 are missing",
    ),
    "rows": ("DELETE FROM event_rows WHERE seq BETWEEN 60 AND 61", "missing are 60, 61"),
    "a payload": (
        "UPDATE event_rows SET payload = overlay(payload placing '\\x00'::bytea from 2) WHERE seq = 70",
        "events 51 to 100: not as they were",
    ),
    "the span of a block": (
        "UPDATE segments SET max_us = max_us + 1 WHERE first_seq = 51",
        "51 to",
    ),
    "a word": (
        "UPDATE words SET word = '\\x00' WHERE kind = 'shape'",
        "that they name are damaged",
    ),
    "a word that is gone": ("DELETE FROM words WHERE kind = 'model'", "that they name are damaged"),
    "a trial": (
        "UPDATE trials SET record = record || '\\x00'::bytea",
        "that they name are damaged",
    ),
    "trials that are gone": ("DELETE FROM trials", "that they name are damaged"),
}


async def filled():
    url = servers.postgres().url()
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        for part in range(4):
            async with exp.trial(item=f"q{part}"):
                for number in range(part * BLOCK, (part + 1) * BLOCK):
                    ct.execute_nowait(
                        "llm.request.stop",
                        {"n": number},
                        {"model": "m"},
                        at_us=T0_US + number * 1_000_000,
                    )
            await exp.flush()
    return url


async def run(url, statement):
    connection = await asyncpg.connect(servers.postgres().dsn)
    try:
        await connection.execute(f"SET search_path TO {url.rpartition('schema=')[2]}; {statement}")
    finally:
        await connection.close()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_f04_what_is_damaged_on_a_server_is_named_and_the_rest_is_read(damage):
    url = await filled()
    statement, named = DAMAGES[damage]
    await run(url, statement)
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(StoreDamaged, match=named):
            await exp.events()
    async with ct.Lab(url, on_damage="skip") as lab:
        (exp,) = lab.list_experiments()
        there = [event.seq for event in await exp.events()]
        lost = (await exp.metrics()).summary.marks.get("missing", 0)
        assert len(there) + lost == 4 * BLOCK
        assert there[:BLOCK] == list(range(1, BLOCK + 1))
        assert exp.health().store.damage


@pytest.mark.parametrize("level_s", [0, 60])
async def test_f04_roll_ups_that_are_damaged_on_a_server_are_told_of_and_made_anew(level_s, caplog):
    url = await filled()
    await run(url, f"UPDATE rollups SET cells = cells || '\\x00'::bytea WHERE level_s = {level_s}")
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert sum(row.event_count for row in await exp.windowed_metrics(60)) == 4 * BLOCK
        assert "made anew" in caplog.text


async def test_f04_without_its_record_an_experiment_of_a_server_is_read_all_the_same(caplog):
    url = await filled()
    await run(url, "UPDATE experiments SET record = record || '\\x00'::bytea, tip = '\\x00'")
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert len(await exp.events()) == 4 * BLOCK
        assert "its record is damaged" in caplog.text
        assert "its tip is damaged" in caplog.text
        with pytest.raises(StoreDamaged, match="its record is damaged"):
            await exp.reopen()
