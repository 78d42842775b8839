"""``crucible show`` and ``export`` (and what all three refuse), on files that a real lab wrote."""

import csv
import json

import anyio
import pytest
from commands import crucible as typed
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli
from crucible_telemetry.errors import CrucibleError


def crucible(*words):
    """The output; errors of the library are raised as they are."""
    result = CliRunner().invoke(cli.application(), [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def written(path, *calls):
    """A file of calls, given as (measurements, metadata); returns its summary."""

    async def write():
        async with (
            ct.Lab(prices=False) as lab,
            lab.experiment(path.stem, condition="control") as exp,
        ):
            for measurements, metadata in calls:
                await ct.execute("llm.request.stop", measurements, metadata)
            await exp.export(path)
            return await exp.metrics()

    return anyio.run(write)


def test_export_writes_trials_with_the_events_or_alone_and_show_takes_them_for_no_events(tmp_path):
    async def write():
        async with ct.Lab() as lab, lab.experiment("a") as exp:
            async with exp.trial(item="q1") as trial:
                await ct.execute("llm.request.stop", {"duration_ms": 3})
                trial.score(correct=True)
            await exp.export(tmp_path / "a.jsonl")

    anyio.run(write)
    told = crucible(
        "export", tmp_path / "a.jsonl", "--to", tmp_path / "scores.csv", "--what", "trials"
    )
    assert f"1 trials written to {tmp_path / 'scores.csv'}" in told
    with (tmp_path / "scores.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["item"], row["outcome"], row["score.correct"]) == ("q1", "ok", "true")
    crucible("export", tmp_path / "a.jsonl", "--to", tmp_path / "b.csv")
    assert (tmp_path / "b.trials.csv").read_text() == (tmp_path / "scores.csv").read_text()
    crucible("export", tmp_path / "a.jsonl", "--to", tmp_path / "c.csv", "--what", "events")
    assert not (tmp_path / "c.trials.csv").exists()
    shown = crucible("show", *sorted(tmp_path.glob("a*.jsonl")), "--json").splitlines()
    assert len(shown) == 1


def slow_and_quick(shift_ms=0):
    return [({"duration_ms": ms + shift_ms}, {"model": f"m{ms % 2}"}) for ms in range(10, 30)]


def test_show_prints_the_summary_that_the_experiment_had(tmp_path):
    summary = written(tmp_path / "a.jsonl", *slow_and_quick())
    shown = crucible("show", tmp_path / "a.jsonl")
    assert f"{tmp_path / 'a.jsonl'}: a (control)" in shown
    for line in str(summary).splitlines()[1:]:
        assert line in shown
    decoded = json.loads(crucible("show", tmp_path / "a.jsonl", "--json"))
    assert decoded["experiment"] == "a"
    assert decoded["summary"]["latency"] == summary.to_dict()["latency"]


def test_show_takes_several_files_a_filter_and_figures_by_event(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / f"{name}.jsonl", *slow_and_quick())
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    lines = crucible("show", *files, "--json", "--where", "model=m1", "--by", "event").splitlines()
    found = [json.loads(line) for line in lines]
    assert [each["experiment"] for each in found] == ["a", "b"]
    assert {each["summary"]["latency"]["count"] for each in found} == {10}
    assert list(found[0]["summary"]["events"]["by_event"]) == ["llm.request.stop"]


def test_export_writes_the_columns_and_events_asked_for(tmp_path):
    written(tmp_path / "a.jsonl", *slow_and_quick())
    to = tmp_path / "sub" / "x.csv"
    said = crucible(
        "export",
        tmp_path / "a.jsonl",
        "--to",
        to,
        "--columns",
        "seq,latency_ms",
        "--where",
        "latency_ms>=25",
    )
    assert said == f"5 events written to {to}\n"
    with to.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["seq", "latency_ms"]
    assert [float(row[1]) for row in rows[1:]] == [25, 26, 27, 28, 29]
    with pytest.raises(CrucibleError, match="is the file that is read"):
        crucible("export", to, "--to", to)


@pytest.mark.parametrize("command", ["show", "compare", "export"])
def test_what_is_no_export_is_one_line_and_exit_code_1(tmp_path, command):
    more = {"show": [], "compare": ["b.jsonl"], "export": ["--to", "x.csv"]}[command]
    done = typed(command, "missing.jsonl", *more, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("crucible: ")
    assert "missing.jsonl" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_experiment_of_a_file_that_holds_several_can_be_chosen(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / f"{name}.jsonl", *slow_and_quick())
    both = [(tmp_path / f"{name}.jsonl").read_text() for name in ("a", "b")]
    (tmp_path / "both.jsonl").write_text("".join(both))
    with pytest.raises(CrucibleError, match="choose one"):
        crucible("show", tmp_path / "both.jsonl")
    second = json.loads(both[1].splitlines()[0])["experiment_id"]
    words = [tmp_path / "both.jsonl", "--experiment", second]
    assert json.loads(crucible("show", *words, "--json"))["experiment"] == "b"
    assert crucible("export", *words, "--to", tmp_path / "b.csv").startswith("20 events")
