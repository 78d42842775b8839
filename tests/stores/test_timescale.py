"""What TimescaleDB adds. Its server is named by CRUCIBLE_TIMESCALE_DSN (a database where schemas may be made)
or is the tests' own with CRUCIBLE_TIMESCALE=timescale or =apache: see servers.py.
"""

import secrets
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import servers

import crucible_telemetry as ct
from crucible_telemetry.lab.checkup import look
from crucible_telemetry.metrics.rollups import LEVELS_S
from crucible_telemetry.stores.postgres.schema import CHUNK_US, MOST_CHUNKS

pytestmark = [pytest.mark.asyncio, pytest.mark.timescale]

WEEK_US = CHUNK_US
T0 = 2_800 * WEEK_US
"""In 2023: old enough to be compressed at once."""


class Place:
    """A schema of a database with TimescaleDB, dropped at the end."""

    def __init__(self, dsn):
        self.schema = f"crucible_test_{secrets.token_hex(4)}"
        self.dsn = dsn
        self.url = f"{dsn}{'&' if '?' in dsn else '?'}schema={self.schema}"

    async def asked(self, query, *values):
        settings = {"search_path": f"{self.schema}, public, elsewhere"}
        connection = await asyncpg.connect(self.dsn, server_settings=settings)
        try:
            return [tuple(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()

    async def about(self):
        found = await look(self.url)
        await found.keep.close()
        return found.about

    async def compressed(self):
        """Every chunk compressed, by us or by the policy's job; how many there are."""
        await self.asked("SELECT compress_chunk(c, true) FROM show_chunks('event_rows') c")
        ((chunks, done),) = await self.asked(
            "SELECT total_chunks, number_compressed_chunks FROM hypertable_compression_stats('event_rows')"
        )
        assert done == chunks
        return done

    async def refreshed(self):
        """Every policy's job has run, as the server does by itself in time."""
        jobs = await self.asked(
            "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name LIKE 'policy_refresh%'"
            " AND hypertable_schema = current_schema()"
        )
        assert len(jobs) == 3
        for (job,) in jobs:
            await self.asked(f"CALL run_job({job})")

    async def quiet(self):
        """No job of a policy runs from now on: tests decide what is compressed and refreshed."""
        await self.asked(
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs"
            " WHERE hypertable_schema = current_schema()"
        )


@pytest_asyncio.fixture
async def place():
    place = Place(servers.timescale())
    async with ct.Lab(place.url):
        pass
    try:
        await place.quiet()
        yield place
    finally:
        await place.asked(f"DROP SCHEMA {place.schema} CASCADE")


@pytest_asyncio.fixture
async def full(place):
    """The same, under the licence that has compression and aggregates."""
    await licensed(place, "timescale")
    return place


async def licence(place):
    ((found,),) = await place.asked("SELECT current_setting('timescaledb.license')")
    return found


async def licensed(place, wanted):
    found = await licence(place)
    if found != wanted:
        pytest.skip(f"the server's licence is {found}, not {wanted}")


async def calls(exp, times_us):
    async with exp.scope():
        for n, at_us in enumerate(times_us):
            fields = {
                "duration_ms": 5 + n % 7,
                "input_tokens": n,
                "output_tokens": 1,
                "cost_usd": 0.5,
            }
            said = {"model": "gpt-4o", "text": f"said {n}"}
            ct.execute_nowait("llm.request.stop", fields, said, at_us=at_us)
    assert (await exp.flush()).complete


@asynccontextmanager
async def only_experiment(place):
    async with ct.Lab(place.url) as lab:
        (exp,) = lab.list_experiments()
        yield exp


async def test_events_are_a_hypertable_and_compressed_chunks_read_as_they_were(full):
    async with ct.Lab(full.url) as lab, lab.experiment("a", privacy="full") as exp:
        await calls(exp, (T0 + week * WEEK_US for week in range(20)))
        before = await exp.events()
        summary = await exp.metrics()
    assert await full.compressed() == 20
    async with only_experiment(full) as found:
        assert repr(await found.events()) == repr(before)
        assert repr((await found.metrics()).latency) == repr(summary.latency)
    ((count,),) = await full.asked("SELECT count(*) FROM events WHERE model = 'gpt-4o'")
    assert count == 20


async def test_what_is_compressed_is_gone_on_with_and_deleted(full):
    async with ct.Lab(full.url) as lab:
        one = await lab.start_experiment("a", capture="scope")
        other = await lab.start_experiment("b", capture="scope")
        await calls(one, (T0 + n for n in range(5_000)))
        await calls(other, (T0 + n for n in range(500)))
    await full.compressed()
    async with ct.Lab(full.url) as lab:
        one = await lab.reopen_experiment(one.id)
        await calls(one, (T0 + n for n in range(5_000, 9_000)))
        await lab.cleanup(other.id)
    await full.compressed()
    async with only_experiment(full) as found:
        numbers = [event.timestamp_us - T0 for event in await found.events()]
    assert numbers == list(range(9_000))
    assert (await look_whole(full)) == []
    assert await full.asked("SELECT DISTINCT experiment FROM event_rows") == [(1,)]


async def look_whole(place):
    """What `crucible doctor` finds wrong."""
    found = await look(place.url)
    try:
        return [problem async for one in found.experiments() for problem in one.problems]
    finally:
        await found.keep.close()


async def test_rows_of_more_weeks_than_locks_stand_aside_and_are_read_all_the_same(place):
    weeks = 40 * MOST_CHUNKS
    async with ct.Lab(place.url) as lab:
        strewn = await lab.start_experiment("strewn", capture="scope")
        near = await lab.start_experiment("near", capture="scope")
        await calls(strewn, (week * WEEK_US for week in range(weeks)))
        await calls(near, (T0 + n for n in range(10)))
        assert await place.asked("SELECT count(*) FROM strewn_rows") == [(weeks,)]
        assert await place.asked("SELECT count(*) FROM event_rows") == [(10,)]
        assert await place.asked("SELECT count(*) FROM events") == [(weeks + 10,)]
    assert await look_whole(place) == []
    async with ct.Lab(place.url) as lab:
        found = await lab.get_experiment(strewn.id).events()
        assert [event.timestamp_us for event in found] == [week * WEEK_US for week in range(weeks)]
        await lab.cleanup(strewn.id)
    assert await place.asked("SELECT count(*) FROM strewn_rows") == [(0,)]


@pytest.mark.parametrize("refreshed", [False, True])
async def test_continuous_aggregates_equal_the_roll_ups_of_the_same_buckets(full, refreshed):
    async with ct.Lab(full.url) as lab, lab.experiment("a") as exp:
        # Buckets of ours begin at the first event: at midnight they are those of the server.
        await calls(exp, (T0 + n * 777_000_000 for n in range(400)))
        kept = {level_s: await exp._collector.store.buckets(level_s) for level_s in LEVELS_S}
    names = dict(zip(LEVELS_S, ("minute", "hour", "day"), strict=True))
    if refreshed:
        await full.refreshed()
    for level_s, name in names.items():
        found = await full.asked(
            "SELECT start_us, events, latencies, latency_ns_sum, cost_pico_sum"
            f" FROM events_per_{name} ORDER BY 1"
        )
        assert found == [
            ours(start_us, kept[level_s][start_us]) for start_us in sorted(kept[level_s])
        ]
    assert len(kept[86_400]) > 3


def ours(start_us, bucket):
    """What of our bucket the server's has too; every call here succeeds."""
    times = bucket.every.latency
    cost_pico = sum(pico for _, pico in bucket.costs.values())
    return start_us, bucket.events, times.n, times.total_ns, cost_pico


async def test_the_query_of_the_readme_asks_the_aggregates(full):
    async with ct.Lab(full.url) as lab, lab.experiment("a") as exp:
        await calls(exp, (T0 + n * 30_000_000 for n in range(4)))
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    shown = readme.partition("```sql\nSELECT to_timestamp")[2].partition(";")[0]
    found = await full.asked("SELECT to_timestamp" + shown.replace("crucible.", f"{full.schema}."))
    assert [(name, events, mean_ms) for _, name, events, mean_ms in found] == [
        ("a", 2, 5.5),
        ("a", 2, 7.5),
    ]


async def test_an_aggregate_counts_a_late_event_once_it_is_refreshed(full):
    async with ct.Lab(full.url) as lab, lab.experiment("a") as exp:
        await calls(exp, (T0 + n for n in range(10)))
        await full.refreshed()
        await calls(exp, (T0 + n for n in range(10, 13)))
        days = await exp.windowed_metrics(86_400)
    assert [day.event_count for day in days] == [13]
    assert await full.asked("SELECT events FROM events_per_minute") == [(10,)]
    await full.refreshed()
    assert await full.asked("SELECT events FROM events_per_minute") == [(13,)]


async def test_a_keep_tells_what_timescale_does_for_it(full):
    async with ct.Lab(full.url) as lab, lab.experiment("a") as exp:
        await calls(exp, (T0 + n for n in range(3_000)))
    await full.compressed()
    about = await full.about()
    assert about["timescaledb"].endswith(", licence timescale")
    assert about["hypertable"] == "event_rows, in chunks of 7 days: 1"
    assert about["compression"].startswith("after 7 days; so far 1 of 1, ")
    assert about["aggregates"] == "events_per_day, events_per_hour, events_per_minute"
    assert about["jobs"] == "4, none failed"
    assert about["bytes"]["event_rows"] > 10_000


async def test_under_the_apache_licence_it_is_said_what_is_not_there(place):
    await licensed(place, "apache")
    async with ct.Lab(place.url) as lab, lab.experiment("a") as exp:
        await calls(exp, (T0 + n for n in range(10)))
    async with only_experiment(place) as found:
        assert len(await found.events()) == 10
    about = await place.about()
    assert about["timescaledb"].endswith(", licence apache")
    assert about["hypertable"] == "event_rows, in chunks of 7 days: 1"
    assert about["jobs"] == "none"
    assert about["compression"] == about["aggregates"] == "none: licence apache has none"


async def test_where_the_database_lacked_the_extension_it_is_said_that_it_is_not_used(place):
    name = f"crucible_test_{secrets.token_hex(4)}"
    try:
        await place.asked(f"CREATE DATABASE {name} TEMPLATE template0")
    except asyncpg.InsufficientPrivilegeError as error:
        pytest.skip(f"databases cannot be made here: {error}")
    try:
        plain = Place(urlsplit(servers.timescale())._replace(path=f"/{name}").geturl())
        async with ct.Lab(plain.url) as lab, lab.experiment("a") as exp:
            await calls(exp, (T0 + n for n in range(10)))
        about = await plain.about()
        assert "this database has not (CREATE EXTENSION timescaledb)" in about["timescaledb"]
        await plain.asked("CREATE SCHEMA elsewhere")
        await plain.asked("CREATE EXTENSION timescaledb SCHEMA elsewhere")
        about = await plain.about()
        assert "not used: these tables were made without it" in about["timescaledb"]
        assert "hypertable" not in about
        assert await look_whole(plain) == []
        later = Place(plain.dsn)
        async with ct.Lab(later.url):
            pass
        about = await later.about()
        assert about["hypertable"] == "event_rows, in chunks of 7 days: 0"
        assert ("none" in about["compression"]) == (await licence(place) == "apache")
    finally:
        await place.asked(f"DROP DATABASE {name} WITH (FORCE)")
