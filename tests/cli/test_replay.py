"""``crucible replay`` as it is typed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from commands import crucible
from rich.console import Console

from crucible_telemetry.cli.replay import mapping_table
from crucible_telemetry.replay.mapping import Options, map_columns
from crucible_telemetry.replay.reading import Trace

CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from crucible_telemetry.cli import main
main()
"""
ENV = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "80"}


def trace(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_each_file_is_an_experiment_with_a_table_a_summary_and_its_events(tmp_path):
    (tmp_path / "sub").mkdir()
    rows = [{"latency_ms": at, "when": 1, "model": "m"} for at in range(1, 6)]
    trace(tmp_path / "a.jsonl", rows)
    trace(tmp_path / "sub" / "a.jsonl", [*rows, {"latency_ms": "x"}])
    done = crucible("replay", "a.jsonl", "sub/a.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "latency_ms" in done.stdout
    assert "5 of 5 rows replayed; events written to crucible-replay/a.jsonl" in done.stdout
    assert "sub/a.jsonl, line 6: column 'latency_ms': 'x' is no number" in done.stderr
    assert "1 of 6 rows left out" in done.stderr
    assert "\x1b" not in done.stdout
    for name in ("a", "a-2"):
        lines = (tmp_path / "crucible-replay" / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line)["latency_ms"] for line in lines] == [1, 2, 3, 4, 5]


def test_replayed_traces_are_kept_in_a_lab_where_one_is_named(tmp_path):
    trace(tmp_path / "a.jsonl", [{"latency_ms": at, "when": 1, "model": "m"} for at in range(1, 6)])
    done = crucible("replay", "a.jsonl", "--lab", "runs.db", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 of 5 rows replayed; kept in runs.db as a-" in done.stdout
    assert not (tmp_path / "crucible-replay").exists()
    done = crucible("list", "runs.db", "--json", cwd=tmp_path)
    told = json.loads(done.stdout)
    assert (told["name"], told["state"], told["events"]) == ("a", "stopped", 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.csv"], "crucible: cannot read 'missing.csv': No such file or directory"),
        (["empty.csv"], "crucible: cannot read 'empty.csv': it is empty"),
        (["t.jsonl"], "--map latency_ms=latency"),
        (["t.jsonl", "--map", "x"], "--map: 'x': want FIELD=COLUMN"),
        (["t.jsonl", "--map", "keep=latency", "--time-unit", "h"], "--time-unit: want one of"),
    ],
)
def test_what_cannot_be_replayed_is_one_line_and_exit_code_1(tmp_path, words, message):
    (tmp_path / "empty.csv").touch()
    trace(tmp_path / "t.jsonl", [{"latency": 1}])
    done = crucible("replay", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "crucible-replay").exists()


def test_a_trace_is_never_overwritten_by_its_own_replay(tmp_path):
    path = trace(tmp_path / "t.jsonl", [{"latency_ms": 1}])
    done = crucible("replay", "t.jsonl", "--out", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert "it is the trace itself" in done.stderr
    assert path.read_text() == '{"latency_ms": 1}\n'


def test_ones_own_prices_price_the_calls(tmp_path):
    trace(tmp_path / "t.jsonl", [{"prompt_tokens": 1000, "completion_tokens": 100}] * 3)
    price = {"mine": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 10.0}}
    (tmp_path / "prices.json").write_text(json.dumps(price))
    words = ["replay", "t.jsonl", "--model", "mine", "--prices", "prices.json"]
    done = crucible(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (cost,) = [line for line in done.stdout.splitlines() if line.startswith("cost USD")]
    assert "total 0.006" in cost


def test_a_dry_run_shows_the_columns_and_writes_nothing(tmp_path):
    trace(tmp_path / "t.jsonl", [{"took": 1, "zip": "0"}])
    done = crucible("replay", "t.jsonl", "--map", "latency_s=took", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0
    assert "--map" in done.stdout
    assert "(kept)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_ctrl_c_keeps_what_was_replayed_and_says_where(tmp_path):
    trace(tmp_path / "t.jsonl", [{"time_s": at * 3600 * (at > 5)} for at in range(10)])
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-u", "-c", CODE, "replay", "t.jsonl", "--speed", "1"],
        cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert any("time_s" in line for line in process.stdout)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "interrupted; what was replayed is in crucible-replay/t.jsonl\n"
    (file,) = (tmp_path / "crucible-replay").iterdir()
    assert len(file.read_text().splitlines()) == 6


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_of_columns_fits_the_terminal(tmp_path, width):
    row = {"a_rather_long_name_of_a_column_that_nobody_would_guess": 1, "end_to_end_latency_s": 2}
    console = Console(width=width, record=True, file=(tmp_path / "shown").open("w"))
    with console.file:
        console.print(mapping_table(Trace(tmp_path / "t.jsonl"), map_columns([row], Options())))
        shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    assert "latency" in shown


def test_a_trace_that_does_not_say_how_calls_ended_is_told_so(tmp_path):
    (tmp_path / "silent.csv").write_text("latency_ms,model\n12,m\n")
    (tmp_path / "telling.csv").write_text("latency_ms,model,error_code\n12,m,\n")
    silent, telling = (
        crucible("replay", "--dry-run", f"{name}.csv", cwd=tmp_path).stdout
        for name in ("silent", "telling")
    )
    assert "no column says how calls ended" in " ".join(silent.split())
    assert "no column says how calls ended" not in " ".join(telling.split())


def test_a_reader_that_leaves_ends_the_replay_without_a_word(tmp_path):
    trace(tmp_path / "t.jsonl", [{"latency_ms": at} for at in range(1000)])
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-u", "-c", CODE, "replay", "t.jsonl"],
        cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert process.wait(timeout=30) == 1
        assert process.stderr.read() == ""


def test_an_export_that_fails_is_the_error_of_the_replay(tmp_path):
    trace(tmp_path / "t.jsonl", [{"latency_ms": 1}])
    (tmp_path / "file").touch()
    done = crucible("replay", "t.jsonl", "--out", "file", cwd=tmp_path)
    assert done.returncode == 1
    assert "cannot export to 'file/t.jsonl'" in done.stderr.splitlines()[-1]
