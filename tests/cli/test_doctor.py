"""``crucible doctor``: what it finds in a lab that is whole, and in one that is not."""

import json
import re
import sqlite3
import tomllib
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def ran(*words):
    app = cli.application()
    return CliRunner().invoke(
        app, [*map(str, words)], catch_exceptions=False, env={"COLUMNS": "80"}
    )


@pytest.fixture
def path(tmp_path):
    async def fill():
        async with ct.Lab(tmp_path / "runs.db") as lab:
            for name in ("a", "b"):
                async with lab.experiment(name) as exp:
                    for _ in range(3):
                        for i in range(20):
                            await ct.execute("x.stop", {"duration": i})
                        await exp.flush()

    anyio.run(fill)
    return tmp_path / "runs.db"


def told(path):
    result = ran("doctor", path, "--json")
    return result.exit_code, json.loads(result.stdout)["experiments"]


def changed(path, statement):
    with sqlite3.connect(path) as db:
        assert db.execute(statement).rowcount > 0
    db.close()


def test_without_a_lab_it_says_what_is_installed():
    result = ran("doctor")
    assert result.exit_code == 0
    assert "SQLite" in result.stdout
    assert "cli" in json.loads(ran("doctor", "--json").stdout)["installed"]["extras"]


def test_a_whole_lab_is_told_so_at_80_columns(path):
    code, found = told(path)
    assert code == 0
    assert [(one["events"], one["problems"], one["alive"]) for one in found] == [
        (60, [], False)
    ] * 2
    assert [one["rollups"] for one in found] == ["ok", "ok"]
    assert max(map(len, ran("doctor", path).stdout.splitlines()[-3:])) <= 80


def test_f04_a_flipped_bit_and_missing_events_are_named(path):
    changed(path, "update blocks set data = zeroblob(9) where experiment like 'a-%'"
                  " and first_seq = (select max(first_seq) from blocks where experiment like 'a-%')")  # fmt: skip
    changed(path, "update blocks set first_seq = first_seq + 5 where experiment like 'b-%'"
                  " and first_seq = (select max(first_seq) from blocks where experiment like 'b-%')")  # fmt: skip
    code, found = told(path)
    assert code == 1
    assert "digest differs" in found[0]["problems"][0]
    assert "to 60" in found[0]["problems"][0]
    assert "are missing" in found[1]["problems"][0]
    shown = ran("doctor", path)
    assert shown.exit_code == 1
    assert "are missing" in shown.stdout


def test_roll_ups_that_differ_from_their_rows_are_told(path):
    changed(path, "delete from rollups where experiment like 'a-%' and level_s = 60")
    code, found = told(path)
    assert code == 1
    assert [one["rollups"] for one in found] == ["differ", "ok"]


def test_what_is_left_of_a_damaged_lab_is_shown_when_asked_for(path, capfd):
    changed(path, "DELETE FROM blocks WHERE first_seq = 21 AND experiment LIKE 'a-%'")
    refused = ran("show", path, "a", "--json")
    assert (
        refused.exit_code != 0 or "21 to 40 are missing" in capfd.readouterr().err + refused.output
    )
    shown = ran("--skip-damaged", "show", path, "a", "--json")
    assert shown.exit_code == 0
    summary = json.loads(shown.stdout.splitlines()[0])
    assert '"missing":20' in shown.stdout.replace(" ", ""), summary


def test_a_file_whose_pages_are_damaged_is_no_whole_lab(path):
    with sqlite3.connect(path) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'blocks_by_seq'"
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size + 4] ^= 1  # one cell fewer, or more
    path.write_bytes(data)
    assert ran("doctor", path, "--json").exit_code == 1


def test_an_extra_is_missed_only_for_want_of_what_it_brings():
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    for package, extra in cli.EXTRAS.items():
        brought = {re.split(r"[^\w-]", wanted)[0].replace("-", "_") for wanted in extras[extra]}
        assert package in brought
