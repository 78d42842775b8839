"""``crucible compare``, on files and labs that a real lab wrote."""

import json
import random

import anyio
import pytest
from trial_arms import run
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli
from crucible_telemetry.errors import ComparisonError, CrucibleError


def crucible(*words):
    """The output; errors of the library are raised as they are."""
    result = CliRunner().invoke(
        cli.application(), ["compare", *map(str, words)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def written(path, *calls):
    async def write():
        async with ct.Lab(prices=False) as lab, lab.experiment(path.stem) as exp:
            for measurements, metadata in calls:
                await ct.execute("llm.request.stop", measurements, metadata)
            await exp.export(path)

    anyio.run(write)
    return path


def calls(shift_ms=0):
    return [({"duration_ms": ms + shift_ms}, {}) for ms in range(10, 30)]


def trials(seed):
    rng = random.Random(seed)
    return [(item, r, {"correct": rng.random() < 0.5}) for item in range(10) for r in range(2)]


def test_files_of_calls_are_compared_with_interval_method_and_an_honest_note(tmp_path):
    files = written(tmp_path / "a.jsonl", *calls()), written(tmp_path / "b.jsonl", *calls(5))
    shown = crucible(*files)
    assert "treatment − control" in shown
    assert "taken as independent" in shown
    plain = json.loads(crucible(*files, "--json"))
    assert plain["primary"]["result"]["estimate"] == pytest.approx(5)
    back = json.loads(crucible(*reversed(files), "--json"))
    assert back["primary"]["result"]["estimate"] == pytest.approx(-5)
    assert plain["quantiles"][-1]["interval"] == ["-inf", "inf"]
    rates = json.loads(crucible(*files, "--metric", "success", "--json"))
    assert rates["primary"]["result"]["test"] == "Newcombe difference"
    assert crucible(*files, "--markdown").startswith("### latency_ms")


def test_exported_trials_and_a_labs_file_give_the_figures_of_the_lab_itself(tmp_path):
    async def write():
        async with ct.Lab(tmp_path / "runs.db") as lab:
            a, b = await run(lab, "a", trials(1)), await run(lab, "b", trials(2))
            for exp in (a, b):
                await exp.export(tmp_path / f"{exp.name}.jsonl")
            return (await lab.compare_experiments([a.id, b.id], metric="score.correct")).result

    expected = anyio.run(write)
    for arms in (("runs.db", "a", "b"), ("runs.db",), ("a.jsonl", "b.jsonl")):
        where = [tmp_path / arms[0], *(tmp_path / n if ".jsonl" in n else n for n in arms[1:])]
        found = json.loads(crucible(*where, "--metric", "score.correct", "--json"))
        result = found["primary"]["result"]
        assert result["p_value"] == pytest.approx(expected.p_value)
        assert result["n"] == [10, 10]
    with pytest.raises(CrucibleError, match="no .nobody. here; there are"):
        crucible(tmp_path / "runs.db", "a", "nobody")


def test_what_would_not_be_honest_is_refused(tmp_path):
    a = written(tmp_path / "a.jsonl", *calls())
    c, d = (
        written(tmp_path / f"{name}.jsonl", ({"input_tokens": 3}, {"model": "m"})) for name in "cd"
    )
    with pytest.raises(ComparisonError, match="the same experiment"):
        crucible(a, a)
    with pytest.raises(ComparisonError, match="unknown price"):
        crucible(c, d, "--metric", "cost_usd")
    with pytest.raises(CrucibleError, match="confidence"):
        crucible(a, c, "--confidence", "95")
