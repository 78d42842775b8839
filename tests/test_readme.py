"""Every piece of code in the README runs: Python as it stands, commands one after the other.

Its SQL on a server is run by the tests of these stores.
"""

import ast
import csv
import gzip
import json
import random
import re
import shlex
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anyio
import numpy as np
import pytest
from typer.testing import CliRunner

import crucible_telemetry as ct
from crucible_telemetry import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
INSTALLING = "python -m venv"
SERVER = "postgresql://user@host"


def blocks(language):
    """(line in the README, code) of each fenced block."""
    found = re.finditer(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    return [(README[: one.start()].count("\n") + 2, one[1]) for one in found]


PYTHON = blocks("python")
LINES = [line for _, code in blocks("sh") for line in code.splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("crucible ")]


class Client:
    """Stands for a provider's client, which would want an account."""

    class _Completions:
        async def create(self, *_):
            usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
            answer = SimpleNamespace(message=SimpleNamespace(content="42"))
            return SimpleNamespace(usage=usage, choices=[answer])

    chat = SimpleNamespace(completions=_Completions())


async def run(trial):
    async with trial:
        async with ct.llm_call(provider="openai", model="gpt-4o") as call:
            call.usage(input_tokens=12, output_tokens=3)
            call.cost(0.001)
        trial.score(correct=random.Random(f"{trial.item}{trial.repeat}").random() < 0.6)


async def arms(lab):
    conditions = {"prompt-a": "control", "prompt-b": "treatment"}
    started = [
        await lab.start_experiment(name, capture="scope", condition=condition)
        for name, condition in conditions.items()
    ]
    async for trial in lab.trials(started, items=range(20), repeats=3, seed=1):
        await run(trial)
    return started


async def night(path):
    async with ct.Lab(path) as lab:
        await arms(lab)


def test_nothing_is_indented_code_and_every_language_is_run_or_told_here():
    fences = set(re.findall(r"^```(\w+)$", README, re.MULTILINE))
    assert fences == {"python", "sh", "sql"}
    assert not re.search(
        r"\n\n    \S", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    )
    rest = [line for line in LINES if not line.startswith(("crucible ", INSTALLING))]
    assert rest == []
    assert len(PYTHON) > 10
    assert len(COMMANDS) > 10


@pytest.mark.asyncio
@pytest.mark.parametrize(("line", "code"), PYTHON, ids=[f"line {line}" for line, _ in PYTHON])
async def test_the_python_of_the_readme_runs(line, code, tmp_path, monkeypatch, capsys):
    for package in ("scipy", "duckdb", "pyarrow"):
        pytest.importorskip(package, reason="the extras that the README names are not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")
    if SERVER in code:
        from servers import postgres

        code = re.sub(rf"{SERVER}[^\"]*", postgres().url(), code)
    noise = np.random.default_rng(1)
    import custom_store

    in_the_folder = partial(custom_store.LogStore, tmp_path / "a.log")
    monkeypatch.setattr(custom_store, "in_the_folder", in_the_folder, raising=False)
    code = code.replace("mypackage.stores:RedisStore", "custom_store:in_the_folder")
    with anyio.fail_after(60):
        if "read_only" in code:
            await night(tmp_path / "runs.db")
        async with ct.Lab(tmp_path / "lab.db") as lab, ct.Lab() as other_lab:
            a, b = await arms(lab)
            given = {
                "ct": ct, "anyio": anyio, "partial": partial, "lab": lab, "other_lab": other_lab,
                "a": a, "b": b, "exp": a, "ids": [f"q{n}" for n in range(5)], "run": run,
                "client": Client, "LogStore": custom_store.LogStore, "path": tmp_path / "b.log",
                "items": np.repeat(np.arange(30), 3), "control_s": noise.normal(1, 0.1, 90),
                "treatment_s": noise.normal(1.1, 0.1, 90),
            }  # fmt: skip
            made = compile(code, f"README.md:{line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(made, given)
            if result is not None:
                await result
    assert not capsys.readouterr().err


def traces(folder):
    for name in ("a.json", "b.json"):
        rows = [{"when": n, "took": random.Random(n).uniform(0.5, 2)} for n in range(40)]
        (folder / name).write_text(json.dumps(rows))
    with gzip.open(folder / "requests.csv.gz", "wt", newline="") as file:
        rows = [(f"2026-01-01T00:00:{n:02}Z", n + 1) for n in range(20)]
        csv.writer(file).writerows([("timestamp", "latency_ms"), *rows])


def test_the_commands_of_the_readme_run_one_after_the_other(tmp_path, monkeypatch):
    for package in ("scipy", "duckdb", "pyarrow"):
        pytest.importorskip(package, reason="the extras that the README names are not installed")
    monkeypatch.chdir(tmp_path)
    traces(tmp_path)
    anyio.run(night, tmp_path / "runs.db")
    for words in COMMANDS:
        done = CliRunner().invoke(cli.application(), words, catch_exceptions=False)
        assert done.exit_code == 0, (words, done.output)
        assert done.output.strip(), words
