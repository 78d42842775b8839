"""F30: names, tags, ids, models, items and filters that are SQL: words like any other, in every durable store."""

import hashlib
import sqlite3
from urllib.parse import quote

import asyncpg
import pytest
import servers
from hypothesis import HealthCheck, given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.sqlite import SqliteKeep

pytestmark = pytest.mark.asyncio

KEY = b"the same in both"
HOSTILE = [
    "'; DROP TABLE events; --", "' OR '1'='1", '" OR ""="', "1; DELETE FROM event_rows", "\\'; --",
    "') UNION SELECT record FROM experiments --", "$1", "%s", ":id", "?", "{0}", "$$; DROP TABLE words; $$",
    "'||pg_sleep(5)||'", "/* */ OR 1=1", "x'; ATTACH DATABASE '/tmp/x' AS y; --", "a\0'; DROP TABLE trials; --",
    "＇ OR 1=1", "\\x27", "E'\\x00'", "_%", "public.events", "pg_catalog", "\b\r\n\t;",
]  # fmt: skip


async def schema_of(url):
    """A hash of all tables, columns, keys and views of a store."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            found = connection.execute("SELECT * FROM sqlite_master ORDER BY name").fetchall()
        connection.close()
        return hashlib.sha256(repr(found).encode()).hexdigest()
    dsn, _, schema = url.partition("&schema=")
    connection = await asyncpg.connect(dsn)
    try:
        queries = [
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1, 2",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = $1 ORDER BY 1",
            "SELECT viewname, definition FROM pg_views WHERE schemaname = $1",
        ]
        found = [[tuple(row) for row in await connection.fetch(q, schema)] for q in queries]
        everywhere = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname ~ '^p'")
    finally:
        await connection.close()
    return hashlib.sha256(repr((found, everywhere)).encode()).hexdigest()


STORES = {
    "sqlite": lambda folder: f"sqlite:///{folder}/runs.db",
    "postgres": lambda _: servers.postgres().url(),
}


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    return STORES[request.param](tmp_path)


async def filled(lab, words):
    """Experiments whose every text is hostile, and what the questions about them answer."""
    for word in words:
        options = {
            "condition": "x" + word, "tags": [word], "hypothesis": word, "metadata": {word: word},
            "privacy": "full", "custom_metrics": None, "capture": "scope",
        }  # fmt: skip
        exp = await lab.start_experiment("x" + word, **options)
        async with exp.trial(item=word, session=word, user=word):
            measurements, metadata = (
                {"n": 1, f"m{word}": 2},
                {"model": word, "provider": word, word: word},
            )
            ct.execute_nowait("llm.request.stop", measurements, metadata)
            ct.execute_nowait("llm.request.exception", {"n": 2}, {"error_type": word, "text": word})
        await exp.flush()


async def answers(lab, words):
    found = []
    for exp in lab.list_experiments():
        events = await exp.events()
        found.append([repr((e.event_name, e.measurements, e.metadata, e.model)) for e in events])
        found.append([(t.item, t.session, t.outcome) for t in await exp.trials()])
        found.append((exp.name, exp.spec.condition, exp.spec.tags, exp.spec.hypothesis))
        for word in words:
            for where in (
                ct.Where(model=word), ct.Where(sample_id=[word]), ct.Where(metadata={"text": word}),
                ct.Where(condition="x" + word, tags=word), ct.Where(measurement={f"m{word}": ct.Ge(0)}),
            ):  # fmt: skip
                found.append(await exp.count_events(where))
    for word in words:
        found.append(len(lab.list_experiments(tags=[word])))
        found.append(len(lab.list_experiments(condition="x" + word)))
    return found


async def same_as_memory(url, words):
    async with ct.Lab(privacy_key=KEY) as lab:
        await filled(lab, words)
        wanted = await answers(lab, words)
    async with ct.Lab(url, privacy_key=KEY) as lab:
        before = await schema_of(url)
        await filled(lab, words)
        assert await answers(lab, words) == wanted
    async with ct.Lab(url, privacy_key=KEY) as lab:
        assert await answers(lab, words) == wanted
        for exp in list(lab.list_experiments()):
            await exp.cleanup()
    assert await schema_of(url) == before


async def test_f30_sql_in_every_text_is_text(url):
    await same_as_memory(url, HOSTILE)


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.text(max_size=20), min_size=1, max_size=3, unique=True))
async def test_f30_any_text_is_text(store, tmp_path_factory, words):
    await same_as_memory(STORES[store](tmp_path_factory.mktemp("f30")), words)


@pytest.mark.parametrize("word", [word for word in HOSTILE if "\0" not in word])
async def test_f30_an_experiment_id_and_a_schema_that_are_sql_are_names(tmp_path, word):
    dsn = servers.postgres().dsn
    for keep in (
        PostgresKeep(f"{dsn}&schema={quote('f30 ' + word)}"),
        SqliteKeep(tmp_path / "a.db"),
    ):
        await keep.open()
        await keep.forget(word)
        assert await keep.rollups(word, 60, 0, 1) == []
        await keep.close()
