"""``crucible list, show, export, sql, archive, restore, prune``, on a lab's file."""

import csv
import io
import json
import re
import sqlite3

import anyio
import pytest
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli
from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.runtime.headway import watched

WIDE = 80


def ran(*words, stdin=None, columns=WIDE):
    app = cli.application()
    return CliRunner().invoke(
        app, [*map(str, words)], catch_exceptions=False, input=stdin, env={"COLUMNS": str(columns)}
    )


def crucible(*words):
    """The output; errors of the library are raised as they are."""
    result = ran(*words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def lab(tmp_path):
    """The file of a lab with two arms, and the summaries of both by name."""
    path = tmp_path / "runs.db"
    figures = {}

    async def fill():
        async with ct.Lab(path) as lab:
            for name, condition in (("base", "control"), ("new [x]", "treatment")):
                async with lab.experiment(name, condition=condition, tags=["h1"]) as exp:
                    for i in range(10):
                        async with exp.trial(item=f"q{i}") as trial:
                            async with ct.llm_call(provider="openai", model="gpt-4o") as call:
                                call.usage(input_tokens=i, output_tokens=1)
                                call.cost(0.25)
                            trial.score(correct=i % 2 == 0)
                    await ct.execute("a.b", {"n": 1}, {"formula": "=1+1"})
                figures[name] = await exp.metrics()

    anyio.run(fill)
    return path, figures


def test_list_says_what_there_is_at_80_columns_and_as_json(lab):
    path, figures = lab
    shown = crucible("list", path)
    assert max(map(len, shown.splitlines())) <= WIDE
    assert [line.split()[1:4] for line in shown.splitlines()[1:]] == [
        ["control", "stopped", "21"],
        ["treatment", "stopped", "21"],
    ]
    rows = [json.loads(line) for line in crucible("list", path, "--json").splitlines()]
    assert [row["name"] for row in rows] == ["base", "new [x]"]
    assert [row["cost_usd"] for row in rows] == [one.cost.total for one in figures.values()]
    assert [row["trials"] for row in rows] == [10, 10]
    assert len(crucible("list", path, "--condition", "control").splitlines()) == 2
    assert crucible("list", path, "--state", "running") == "no experiments\n"


@pytest.mark.parametrize("columns", [24, 40, 60, 200])
def test_a_narrow_terminal_loses_columns_but_never_breaks_an_id(lab, columns):
    path, _ = lab
    ids = [json.loads(line)["id"] for line in crucible("list", path, "--json").splitlines()]
    for command in ("list", "doctor"):
        shown = ran(command, path, columns=columns).output
        assert all(one in shown for one in ids)
        assert "\x1b" not in shown


def test_a_pipe_gets_lines_of_any_length(lab, monkeypatch):
    path, _ = lab
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = CliRunner().invoke(cli.application(), ["list", str(path)]).output
    assert shown.splitlines()[0].split()[-1] == "active"
    assert len(shown.splitlines()) == 3


def test_show_finds_an_experiment_by_name_or_by_how_its_id_begins(lab):
    path, figures = lab
    told = json.loads(crucible("show", path, "base", "--json"))
    assert told["summary"] == json.loads(json.dumps(figures["base"].to_dict()))
    assert str(figures["new [x]"]) in crucible("show", path, told["id"].replace("base", "new")[:3])
    assert crucible("show", path).count("stopped (") == 2
    with pytest.raises(ct.ConfigurationError, match="no 'nobody' here; there are base-"):
        crucible("show", path, "nobody")


def test_a_name_that_two_experiments_have_is_asked_back(lab):
    path, _ = lab

    async def again():
        async with ct.Lab(path) as same, same.experiment("base"):
            pass

    anyio.run(again)
    with pytest.raises(ct.ConfigurationError, match=r"'base' may be base-\w+, base-\w+: say which"):
        crucible("show", path, "base")


def test_export_writes_one_experiment_of_a_lab(lab, tmp_path):
    path, _ = lab
    out = tmp_path / "base.csv"
    assert crucible("export", path, "base", "--to", out) == f"21 events written to {out}\n"
    assert len(out.read_text().splitlines()) == 22
    with pytest.raises(ct.ConfigurationError, match="say which one"):
        crucible("export", path, "--to", out)
    with pytest.raises(ct.ConfigurationError, match="file that is read"):
        crucible("export", path, "base", "--to", path, "--what", "events")


def test_sql_prints_a_table_csv_or_json(lab):
    pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
    path, _ = lab
    query = "select model, sum(cost_usd) as usd, count(*) as n from events where success group by 1"
    assert crucible("sql", path, query).split() == ["model", "usd", "n", "gpt-4o", "5", "20"]
    assert crucible("sql", path, query, "--csv") == "model,usd,n\ngpt-4o,5.0,20\n"
    assert json.loads(crucible("sql", path, query, "--json")) == {
        "model": "gpt-4o",
        "usd": 5,
        "n": 20,
    }
    one = crucible("sql", path, "select count(*) from events", "--experiment", "base", "--csv")
    assert one.split() == ["count_star()", "21"]
    with pytest.raises(ct.QueryError, match="not DROP"):
        crucible("sql", path, "drop table events")


def test_a_row_wider_than_the_terminal_is_a_block_of_lines(lab):
    pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
    shown = crucible("sql", lab[0], "select * from events order by seq desc limit 1").splitlines()
    assert shown[0].startswith("─ row 1")
    assert any(line.split() == ["event_name", "a.b"] for line in shown)


def test_f31_csv_of_a_query_holds_no_formula(lab):
    pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
    query = "select metadata->>'formula' as f from events where event_name = 'a.b' limit 1"
    assert list(csv.reader(io.StringIO(crucible("sql", lab[0], query, "--csv")))) == [
        ["f"],
        ["'=1+1"],
    ]


def test_sql_asks_a_file_of_events_too(lab, tmp_path):
    pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
    out = tmp_path / "base.jsonl"
    crucible("export", lab[0], "base", "--to", out)
    query = (
        "select count(*), sum(cost_usd), (select avg(scores['correct']) from trials) from events"
    )
    assert crucible("sql", out, query, "--csv").splitlines()[1] == "21,2.5,0.5"


def test_a_bad_archive_leaves_no_lab_behind(lab, tmp_path):
    path, _ = lab
    folder, other = tmp_path / "archive", tmp_path / "other.db"
    crucible("archive", path, "base", folder, "--format", "jsonl")
    block = next((folder / "blocks").iterdir())
    block.write_bytes(block.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match="events 1 to 21"):
        crucible("restore", other, folder)
    with pytest.raises(ct.UnreadableFile, match="no archive is there"):
        crucible("restore", other, tmp_path)
    assert not other.exists()


def test_an_archive_leaves_and_comes_back_and_what_is_archived_is_pruned(lab, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra [parquet] is not installed")
    path, figures = lab
    folder, other = tmp_path / "archive", tmp_path / "other.db"
    assert "21 events archived" in crucible("archive", path, "base", folder)
    assert "21 events restored" in crucible("restore", other, folder)
    told = json.loads(crucible("show", other, "base", "--json"))["summary"]
    assert told["latency"] == json.loads(json.dumps(figures["base"].to_dict()))["latency"]
    assert crucible("prune", path, "--older-than", "1d", "--yes").startswith("nothing to delete")
    query = "select count(*), sum(cost_usd), (select count(*) from trials) from events"
    assert crucible("sql", folder, query, "--csv") == crucible("sql", other, query, "--csv")
    assert "latency" in crucible("show", folder)
    told = crucible("prune", path, "--older-than", "0.001s", "--dry-run")
    assert re.search(r"1 experiment of 21 events, [0-9.]+ kB would be deleted; nothing was", told)
    assert "archived, over 0.001s old" in told
    for answer in ("n\n", ""):
        refused = ran("prune", path, "--older-than", "0.001s", stdin=answer)
        assert refused.exit_code == 1
        assert "nothing was deleted" in refused.output
    assert len(crucible("list", path).splitlines()) == 3
    assert "uses the space again" in crucible("prune", path, "--older-than", "0.001s", "--yes")
    assert len(crucible("list", path).splitlines()) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("list", "{no}"),
        ("doctor", "{no}"),
        ("archive", "{no}", "a", "x"),
        ("prune", "{no}", "--older-than", "1d"),
        ("list", "{text}"),
        ("prune", "{lab}", "--older-than", "soon"),
        ("prune", "{lab}", "--older-than", "0s"),
        ("sql", "{lab}", "select 1", "--csv", "--json"),
    ],
)
def test_what_is_no_lab_or_no_age_is_one_line_and_makes_no_file(words, lab, tmp_path):
    text = tmp_path / "x.txt"
    text.write_text("hello")
    before = {path.name for path in tmp_path.iterdir()}
    given = [word.format(no=tmp_path / "no.db", text=text, lab=lab[0]) for word in words]
    with pytest.raises(ct.CrucibleError) as told:
        crucible(*given)
    assert "\n" not in str(told.value)
    assert {path.name for path in tmp_path.iterdir()} - before <= {"runs.db-wal", "runs.db-shm"}


def test_a_damaged_experiment_is_named_and_the_others_are_shown(lab):
    path, _ = lab
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE blocks SET digest = x'00' WHERE experiment LIKE 'base%'")
    connection.close()
    shown = ran("show", path)
    assert shown.exit_code == 1
    assert "21 events" in shown.stdout
    assert "base-" not in shown.stdout
    assert "events 1 to 21 are missing" in shown.stderr
    assert len(ran("list", path).stdout.splitlines()) == 3


def test_what_is_archived_or_restored_tells_how_far_it_is(lab, tmp_path):
    pytest.importorskip("pyarrow", reason="the extra [parquet] is not installed")
    path, _ = lab
    told = []

    async def there_and_back():
        with watched(lambda doing, share: told.append((doing, share))):
            async with ct.Lab(path) as opened:
                base = opened.list_experiments()[0]
                await base.export(tmp_path / "x.csv")
                await base.archive(tmp_path / "kept")
                await opened.restore(tmp_path / "kept", on_existing="new")
            await ct.load(tmp_path / "x.csv")

    anyio.run(there_and_back)
    assert {"looking for columns", "writing", "reading", "verifying"} <= {
        doing for doing, _ in told
    }
    assert all(0 <= share <= 1 for _, share in told)


def test_an_experiment_whose_events_are_in_a_store_of_its_own_hides_no_other(tmp_path):
    from own_stores import Noting

    path = tmp_path / "runs.db"

    async def run():
        async with ct.Lab(path) as lab:
            for name, store in (("own", Noting), ("kept", None)):
                async with lab.experiment(name, store=store):
                    await ct.execute("a.b", {"n": 1})

    anyio.run(run)
    listed = ran("list", path)
    assert listed.exit_code == 0
    assert "own-" in listed.stdout
    assert "kept-" in listed.stdout
    assert "Noting: the events of experiment 'own-" in listed.stderr
    shown = ran("show", path)
    assert shown.exit_code == 1
    assert "kept-" in shown.stdout
    assert "give that store again" in shown.stderr
    assert "in Noting" in ran("doctor", path).stdout


def test_a_table_that_cannot_be_walked_is_named_and_the_rest_is_listed_and_looked_at(lab):
    path, _ = lab
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trials'")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root[0] - 1) * size)
        file.write(b"\xff" * size)
    listed = ran("list", path)
    assert listed.exit_code == 0
    assert "trials" in listed.stderr
    assert len(listed.stdout.splitlines()) == 3
    looked = ran("doctor", path)
    assert looked.exit_code == 1
    assert "its trials cannot be read: database disk image is malformed" in looked.stdout
    assert "--skip-damaged" in looked.stdout
