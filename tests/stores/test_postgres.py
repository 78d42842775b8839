"""The keep on a server, as labs and people with SQL see it."""

import asyncio
import math
import os
import sys
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import servers
from servers import rows_of

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged, StoreRefused, StoreUnavailable
from crucible_telemetry.events.columns import DTYPES
from crucible_telemetry.lab.durable import keep_of
from crucible_telemetry.stores.postgres import rows
from crucible_telemetry.stores.postgres.keep import PostgresKeep

pytestmark = pytest.mark.asyncio

HARD = {
    "nan": math.nan, "inf": -math.inf, "huge": 2**63 + 5, "larger": 10**40, "nul": "a\0b",
    "surrogate": "\ud800", "deep": [[[{"a": None}]]], "bytes": b"\xff\x00", "text": "ünï ↯ 😀",
}  # fmt: skip


@pytest.fixture
def url():
    return servers.postgres().url()


async def session_ends(url):
    """Every session of a keep ends without a word, as when its process dies."""
    await rows_of(
        url.partition("&")[0],
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'crucible_telemetry'",
    )


async def call(exp, latency_ms=100, **metadata):
    async with exp.scope():
        await ct.execute(
            "llm.request.stop",
            {"duration_ms": latency_ms, "input_tokens": 3, "output_tokens": 4, "cost_usd": 0.25},
            {"provider": "openai", "model": "gpt-4o", **metadata},
        )


async def test_what_was_kept_is_read_again_by_another_lab_as_it_was(url):
    async with ct.Lab(url) as lab, lab.experiment("a", tags=["t"], privacy="none") as exp:
        async with exp.trial(item="q\01", repeat=2) as trial:
            trial.score(correct=True)
            for value in HARD.values():
                await ct.execute("odd.event", {"n": 1}, {"value": value})
        await call(exp)
        before, summary = await exp.events(), await exp.metrics()
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        after = await exp.events()
        assert repr([*after]) == repr([*before])
        assert repr((await exp.metrics()).latency) == repr(summary.latency)
        (trial,) = await exp.trials()
        assert (trial.item, trial.repeat, trial.scores) == ("q\01", 2, {"correct": True})


async def test_the_view_shows_events_to_people_with_sql(url):
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        async with exp.trial(item="q1", repeat=2):
            await call(exp)
        await ct.execute("log", {}, {"text": "x"})
    found = await rows_of(
        url,
        "SELECT experiment_id, experiment_name, seq, event_name, outcome, success, provider, model, sample_id,"
        " repeat, latency_ns, cost_usd, prompt_tokens, completion_tokens FROM events ORDER BY seq",
    )
    assert found[0][1:] == (
        "a", 1, "llm.request.stop", "ok", True, "openai", "gpt-4o", "q1", 2, 100_000_000, found[0][11], 3, 4,
    )  # fmt: skip
    assert float(found[0][11]) == 0.25
    assert found[1][3:11] == ("log", *[None] * 7)
    ((first, at_us, at),) = await rows_of(
        url, "SELECT seq, timestamp_us, time FROM events ORDER BY seq LIMIT 1"
    )
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    shown = readme.partition("```sql\nSELECT experiment_name, model")[2].partition(";")[0]
    schema = url.rpartition("=")[2]
    query = f"SELECT experiment_name, model{shown}".replace("crucible.", f"{schema}.")
    ((name, model, calls, cost_usd, p99_ms),) = await rows_of(url, query)
    assert (name, model, calls, float(cost_usd), p99_ms) == ("a", "gpt-4o", 1, 0.25, 100.0)
    assert first == 1
    assert abs(at.timestamp() * 1e6 - at_us) < 1


async def test_the_view_names_its_columns_as_sql_of_the_lab_does(url):
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        async with exp.trial(item="q1"):
            await call(exp)
        await exp.flush()
        columns = await rows_of(
            url,
            "SELECT attname FROM pg_attribute WHERE attrelid = 'events'::regclass ORDER BY attnum",
        )
        names = [name for (name,) in columns]
        own = {"latency_ns", "ttft_ns", "itl_ns", "cost_pico", "streamed_tokens", "payload"}
        shared = [name for name in names if name not in {*own, "time"}]
        ((told),) = await rows_of(url, f"SELECT {', '.join(shared)} FROM events")
        ((asked),) = await lab.sql(f"select {', '.join(shared)} from events")
    assert own < set(names)
    assert {"latency_ms", "cost_usd", "experiment_name", "sample_id"} < set(shared)
    assert [float(x) if isinstance(x, Decimal) else x for x in told] == [*asked]


async def test_every_column_of_events_has_its_place_in_the_table(url):
    assert set(rows.FIELDS) == set(DTYPES)
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        async with ct.llm_call(provider="openai", model="gpt-4o") as one:
            one.usage(input_tokens=9, output_tokens=3, cached=2, reasoning=1)
            one.cost(0.25)
            for _ in range(3):
                one.chunk()
        written = await exp.events()
    async with ct.Lab(url) as lab:
        assert await lab.list_experiments()[0].events() == written


async def test_a_row_that_was_deleted_is_named(url):
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        for _ in range(10):
            await call(exp)
    await rows_of(url, "DELETE FROM event_rows WHERE seq IN (4, 7)")
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(StoreDamaged, match="events 1 to 10: missing are 4, 7"):
            await exp.events()


async def test_a_value_that_was_changed_is_found(url):
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        for _ in range(3):
            await call(exp)
    await rows_of(url, "UPDATE event_rows SET latency_ns = 1 WHERE seq = 2")
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(StoreDamaged, match="events 1 to 3: not as they were written"):
            await exp.events()


async def test_an_experiment_of_another_lab_is_running_as_long_as_that_lab_lives(url):
    async with ct.Lab(url) as one:
        exp = await one.start_experiment("a", capture="scope")
        await call(exp)
        await exp.flush()
        async with ct.Lab(url) as other:
            (theirs,) = other.list_experiments()
            assert theirs.state == "running"
            assert len(await theirs.events()) == 1
            with pytest.raises(ct.LifecycleError):
                await other.reopen_experiment(theirs.id)


async def test_of_two_labs_that_found_it_interrupted_one_goes_on(url):
    one = await ct.Lab(url).open()
    exp = await one.start_experiment("a", capture="scope")
    await call(exp)
    await exp.flush()
    await session_ends(url)
    two, three = await ct.Lab(url).open(), await ct.Lab(url).open()
    try:
        assert [e.state for lab in (two, three) for e in lab.list_experiments()] == [
            "interrupted"
        ] * 2
        again = await two.reopen_experiment(exp.id)
        await call(again)
        await again.flush()
        with pytest.raises(ct.LifecycleError, match="running in another lab"):
            await three.reopen_experiment(exp.id)
        await again.stop()
        with pytest.raises(StoreRefused, match="gone on with by another lab"):
            await three.reopen_experiment(exp.id)
    finally:
        await two.close()
        await three.close()
        await one.close()


async def test_a_lab_that_was_out_of_reach_loses_what_another_took_over_and_keeps_the_rest(url):
    one = await ct.Lab(url).open()
    taken = await one.start_experiment("taken", capture="scope")
    kept = await one.start_experiment("kept", capture="scope")
    await call(taken)
    await taken.flush()
    async with holding_back(one):
        await session_ends(url)
        async with ct.Lab(url) as two:
            again = await two.reopen_experiment(taken.id)
            await call(again)
            await again.flush()
            await call(taken)
            await call(kept)
            assert (await taken.flush()).failed == 1
            one._durable.writer.keep._writing.held_back = False
            assert (await kept.flush()).complete
            with pytest.raises(ct.ExperimentFailed):
                await taken.flush()
            await call(taken)  # neither waits nor raises
            assert (taken.state, kept.state) == ("failed", "running")
            assert taken.counts.refused == 1
    report = await one.close()
    assert list(report) == [taken.id]
    assert "1 events are not on the disk" in report[taken.id]
    assert "written by another lab" in report[taken.id]
    async with ct.Lab(url) as lab:
        counts = {exp.name: len(await exp.events()) for exp in lab.list_experiments()}
    assert counts == {"taken": 2, "kept": 1}


@pytest.mark.parametrize("how", ["stopped", "its process died"])
async def test_what_another_lab_wrote_stays_when_it_has_ended_before_this_one_is_back(url, how):
    one = await ct.Lab(url).open()
    mine = await one.start_experiment("a", capture="scope")
    await call(mine)
    await mine.flush()
    async with holding_back(one):
        await session_ends(url)
        two = await ct.Lab(url).open()
        theirs = await two.reopen_experiment(mine.id)
        for latency_ms in (1, 2, 3):
            await call(theirs, latency_ms)
        await (theirs.stop() if how == "stopped" else theirs.flush())
        await session_ends(url)
        for _ in range(5):
            await call(mine, 999)
        one._durable.keep._writing.held_back = False
        with pytest.raises(ct.ExperimentFailed):
            await mine.flush()
    assert "written by another lab" in (await one.close())[mine.id]
    await two.close()
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert [e.latency_ms for e in await exp.events()] == [100, 1, 2, 3]


@asynccontextmanager
async def holding_back(lab):
    """The lab's server is out of its reach."""
    connection = lab._durable.keep._writing
    connected = connection._connected

    async def away():
        if connection.held_back:
            raise ConnectionRefusedError("out of reach")
        return await connected()

    connection.held_back, connection._connected = True, away
    yield


async def test_what_is_deleted_leaves_nothing_behind(url):
    async with ct.Lab(url) as lab:
        async with lab.experiment("a") as exp, exp.trial(item="1"):
            await call(exp)
        await exp.cleanup()
        assert lab.list_experiments() == []
    for table in ("experiments", "words", "trials", "segments", "rollups", "event_rows"):
        assert await rows_of(url, f"SELECT * FROM {table}") == [], table


async def test_two_labs_that_begin_at_once_make_the_tables_once(url):
    keeps = [PostgresKeep(url) for _ in range(4)]
    try:
        assert await asyncio.gather(*(keep.open() for keep in keeps)) == [[]] * 4
    finally:
        for keep in keeps:
            await keep.close()


async def test_a_server_that_is_not_there_says_so_at_once_and_without_the_password():
    with pytest.raises(StoreUnavailable) as raised:
        async with ct.Lab("postgresql://me:secret@127.0.0.1:1/runs"):
            pass
    assert "postgresql://me@127.0.0.1:1/runs" in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_a_database_that_does_not_exist_is_refused(url):
    with pytest.raises(StoreRefused, match='"nowhere" does not exist'):
        async with ct.Lab(url.replace("/postgres?", "/nowhere?")):
            pass


async def test_a_schema_of_another_program_and_a_newer_format_are_refused(url):
    await rows_of(url, f"CREATE SCHEMA {url.rpartition('=')[2]}")
    await rows_of(url, "CREATE TABLE theirs (n int)")
    with pytest.raises(StoreRefused, match="another program"):
        async with ct.Lab(url):
            pass
    newer = servers.postgres().url()
    async with ct.Lab(newer):
        pass
    await rows_of(newer, "UPDATE keep SET format = 99")
    with pytest.raises(StoreRefused, match="format 99"):
        async with ct.Lab(newer):
            pass


async def test_without_the_driver_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ct.ConfigurationError, match=r"crucible-telemetry\[postgres\]"):
        keep_of("postgresql://host/db", "normal")


async def test_a_keep_tells_about_its_server(url):
    keep = PostgresKeep(url)
    await keep.open()
    about = await keep.about()
    await keep.close()
    assert about["server"].startswith("PostgreSQL ")
    if "CRUCIBLE_TIMESCALE" not in os.environ:
        assert about["timescaledb"] == "not used: the server does not have it"
    assert about["bytes"]["event_rows"] > 0


async def test_what_would_be_pruned_is_told_with_its_events_and_bytes(url):
    async with ct.Lab(url) as lab:
        async with lab.experiment("a") as exp:
            for number in range(10):
                await ct.execute("x.y", {"n": number}, {"mark": "t" * 100})
        await lab.start_experiment("b")
        (found,) = await lab.prune(1e-9, archived_only=False, dry_run=True)
    assert (found.id, found.events) == (exp.id, 10)
    assert 10 * 100 < found.bytes < 10 * 300
