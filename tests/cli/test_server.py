"""Every command on a PostgreSQL lab whose server asks for a password: what is shown, and that this never is."""

import itertools
import json
import logging

import anyio
import asyncpg
import pytest
import servers
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli

SECRET = "Xq7Zk"
USER = servers.GUARDED
_databases = (f"cli{n}" for n in itertools.count())


async def fill(url):
    async with ct.Lab(url) as lab:
        for name, condition in (("base", "control"), ("new", "treatment")):
            async with lab.experiment(name, condition=condition) as exp:
                for i in range(6):
                    async with exp.trial(item=f"q{i}") as trial:
                        async with ct.llm_call(provider="openai", model="gpt-4o") as call:
                            call.usage(input_tokens=i, output_tokens=1)
                            call.cost(0.25)
                        trial.score(correct=i % 2 == 0)


async def asked(dsn, *statements):
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


class Server:
    """A database of a role that has a password, with a lab of two arms in it."""

    def __init__(self):
        self._postgres, self.database = servers.postgres(), next(_databases)
        role = f"DO $$BEGIN CREATE ROLE {USER} LOGIN PASSWORD '{SECRET}'; EXCEPTION WHEN duplicate_object THEN END$$"
        make = f"CREATE DATABASE {self.database} OWNER {USER}"
        anyio.run(asked, self._postgres.dsn, role, make)
        anyio.run(fill, self.url())

    def url(self, user=f"{USER}:{SECRET}", database=None, **parameters):
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        folder = self._postgres.folder
        return f"postgresql://{user}@/{database or self.database}?host={folder}{more}"

    def does(self, *statements):
        """As the one who may all."""
        anyio.run(
            asked, self._postgres.dsn.replace("/postgres?", f"/{self.database}?"), *statements
        )


@pytest.fixture(scope="module")
def server():
    return Server()


@pytest.fixture(autouse=True)
def _nothing_tells_the_password(caplog, monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with caplog.at_level(logging.DEBUG):
        yield
    assert SECRET not in caplog.text


def ran(*words):
    result = CliRunner().invoke(
        cli.application(), [*map(str, words)], catch_exceptions=False, env={"COLUMNS": "80"}
    )
    assert SECRET not in result.output
    return result


def crucible(*words):
    result = ran(*words)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words):
    """What it says instead."""
    with pytest.raises(ct.CrucibleError) as told:
        ran(*words)
    assert SECRET not in str(told.value)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_what_is_there_is_listed_shown_counted_and_compared(server):
    url = server.url()
    rows = [json.loads(line) for line in crucible("list", url, "--json").splitlines()]
    assert [(row["name"], row["events"], row["cost_usd"]) for row in rows] == [
        ("base", 12, 1.5),
        ("new", 12, 1.5),
    ]
    told = json.loads(crucible("show", url, "base", "--json"))
    assert told["lab"] == server.url(user=USER)
    assert told["summary"]["cost"]["total"] == 1.5
    assert "success     rate 100 %" in crucible("show", url, "base")
    compared = json.loads(
        crucible("compare", url, "base", "new", "--metric", "score.correct", "--json")
    )
    assert [arm["id"] for arm in compared["arms"]] == [row["id"] for row in rows]


def test_sql_asks_a_server(server):
    pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
    query = "select model, sum(cost_usd) as usd from events where success group by 1"
    assert crucible("sql", server.url(), query, "--csv") == "model,usd\ngpt-4o,3.0\n"


def test_the_password_may_come_from_where_libpq_looks(server, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert len(crucible("list", server.url(user=USER)).splitlines()) == 3


def test_an_experiment_leaves_in_an_archive_and_comes_back_on_another_server(server, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra [parquet] is not installed")
    out, folder, other = tmp_path / "base.csv", tmp_path / "kept", server.url(schema="other")
    assert "12 events written" in crucible("export", server.url(), "base", "--to", out)
    assert len(out.read_text().splitlines()) == 13
    assert "12 events archived" in crucible("archive", server.url(), "base", folder)
    assert all(
        SECRET.encode() not in one.read_bytes() for one in folder.rglob("*") if one.is_file()
    )
    assert "12 events restored" in crucible("restore", other, folder)
    assert [
        json.loads(line)["name"] for line in crucible("list", other, "--json").splitlines()
    ] == ["base"]
    away = ("prune", other, "--not-archived", "--yes", "--older-than")
    assert "nothing to delete" in crucible(*away, "1d")
    assert "1 experiment of 12 events, " in crucible(*away, "0.001s")
    assert crucible("list", other) == "no experiments\n"


def test_doctor_tells_of_server_and_tables(server):
    told = json.loads(crucible("doctor", server.url(), "--json"))
    assert told["lab"]["url"] == server.url(user=USER)
    assert told["lab"]["server"].startswith("PostgreSQL ")
    assert told["lab"]["schema"] == "crucible"
    assert told["lab"]["bytes"]["event_rows"] > 0
    assert [one["problems"] for one in told["experiments"]] == [[], []]
    assert "PostgreSQL" in crucible("doctor", server.url())


COMMANDS = {
    "list": ("list", "{}"),
    "show": ("show", "{}"),
    "doctor": ("doctor", "{}"),
    "compare": ("compare", "{}", "a", "b"),
    "sql": ("sql", "{}", "select 1"),
    "export": ("export", "{}", "a", "--to", "never.csv"),
    "archive": ("archive", "{}", "a", "never"),
    "prune": ("prune", "{}", "--older-than", "1d"),
    "restore": ("restore", "{}", "never"),
}
WRONG = {
    "password": (
        {"user": f"{USER}:no{SECRET}"},
        'password authentication failed for user "guarded"',
    ),
    "no password": ({"user": USER}, 'password authentication failed for user "guarded"'),
    "database": ({"database": "nowhere"}, 'database "nowhere" does not exist'),
    "port": ({"port": 1}, "cannot be reached: "),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_server_is_one_line_that_names_it(
    server, command, wrong, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    changed, why = WRONG[wrong]
    url = server.url(**changed)
    said = refused(*(word.format(url) for word in COMMANDS[command]))
    assert said.startswith(f"postgresql://{USER}@/")
    assert why in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_but_restore_makes_a_lab_where_none_is(server, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = server.url(schema="nothing")
    said = refused(*(word.format(url) for word in COMMANDS[command]))
    assert ("holds no lab in schema 'nothing'" in said) == (command != "restore")


def test_a_schema_of_another_program_and_one_that_may_not_be_read_are_said_so(server):
    for name in ("theirs", "alike"):
        server.does(f"CREATE SCHEMA {name} AUTHORIZATION {USER}")
    server.does("CREATE TABLE theirs.orders (n int)", "CREATE TABLE alike.keep (n int)")
    for name in ("theirs", "alike"):
        for command in ("list", "restore"):
            url = server.url(schema=name)
            said = refused(*(word.format(url) for word in COMMANDS[command]))
            assert f"schema '{name}' is of another program" in said
    server.does("CREATE SCHEMA hidden; CREATE TABLE hidden.keep (); CREATE TABLE hidden.experiments ();"
                " CREATE TABLE hidden.segments (); CREATE TABLE hidden.event_rows ()")  # fmt: skip
    assert "schema 'hidden' may not be read by this user" in refused(
        "list", server.url(schema="hidden")
    )


def test_a_schema_that_was_made_for_a_user_is_enough(server):
    """Of a user who may make none."""
    server.does(f"REVOKE CREATE ON DATABASE {server.database} FROM PUBLIC",
                f"ALTER DATABASE {server.database} OWNER TO postgres",
                f"CREATE SCHEMA team AUTHORIZATION {USER}")  # fmt: skip
    try:
        anyio.run(fill, server.url(schema="team"))
        assert len(crucible("list", server.url(schema="team")).splitlines()) == 3
        said = refused("restore", server.url(schema="own"), "never")
        assert "permission denied for database" in said
    finally:
        server.does(f"ALTER DATABASE {server.database} OWNER TO {USER}")
