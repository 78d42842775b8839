"""F11: hard values read the same from every store, and in another process, whose numbers for shapes differ."""

import asyncio
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import servers
from make import HARD_VALUES
from own_stores import LogStore

import crucible_telemetry as ct

NAMES = ["a\0b", "é" * 300, "n" * 2**20, "\ud800", "=1+1", "' OR 1=1; --"]


async def emit_hard_values():
    for kind, value in HARD_VALUES.items():
        await ct.execute("hard.value", {"m": value, "duration_ms": 1.5}, {"kind": kind, "w": value})
        await ct.execute(
            f"hard.{kind}", {kind: 1}, {"prompt": value, "model": value, "error": value}
        )
    for name in NAMES:
        await ct.execute(name, {name: 1}, {name: name})
        await ct.execute("x.stop", {"total_tokens": 3}, {"model": name, "session_id": name})


async def told(exp):
    """Everything that events say but where and when, as text that tells -0.0 from 0.0."""
    events = await exp.events()
    varying = {"experiment_id", "event_id", "timestamp_us", "span_id", "parent_id", "trace_id"}
    fields = [name for name in ct.Event.__struct_fields__ if name not in varying]
    return [ascii([getattr(event, name) for name in fields]) for event in events]


async def filled(lab, **options):
    async with lab.experiment("hard", privacy="full", **options) as exp:
        async with exp.trial(item="a\0\ud800", session="\ud800", user="é"):
            await emit_hard_values()
        assert (await exp.flush()).complete
    assert exp.counts.quarantined == exp.counts.dropped == 0
    return exp


async def in_memory():
    async with ct.Lab() as lab:
        return await told(await filled(lab))


async def kept_and_reopened(url):
    async with ct.Lab(url) as lab:
        before = await told(await filled(lab))
    async with ct.Lab(url) as lab:
        return before, await told(lab.list_experiments()[0])


async def logged(path):
    async with ct.Lab() as lab:
        return await told(await filled(lab, store=partial(LogStore, path)))


READ_ELSEWHERE = """
import asyncio, json, sys
import crucible_telemetry as ct
from faults_f11 import read_again
print(json.dumps(asyncio.run(read_again(*sys.argv[1:]))))
"""


async def read_again(kind, where):
    """What another process finds, in which other shapes came first."""
    async with ct.Lab() as lab, lab.experiment("others"):
        for number in range(40):
            await ct.execute(f"other.{number}", {"m": 1, f"k{number}": 2}, {"w": 1})
    if kind == "lab":
        async with ct.Lab(where) as lab:
            return await told(lab.list_experiments()[0])
    own = partial(LogStore, Path(where))
    async with ct.Lab() as lab, lab.experiment("hard", privacy="full", store=own) as exp:
        return await told(exp)


def elsewhere(kind, where):
    code = READ_ELSEWHERE.replace("faults_f11", "test_f11_kept")
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.run(
        [sys.executable, "-c", code, kind, str(where)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_f11_hard_values_read_from_a_lab_that_lasts_as_from_memory_and_so_in_another_process(
    kind, tmp_path
):
    where = tmp_path / "runs.db" if kind == "sqlite" else servers.postgres().url()
    expected = asyncio.run(in_memory())
    assert len(expected) > 100
    before, reopened = asyncio.run(kept_and_reopened(where))
    for found in (before, reopened, elsewhere("lab", where)):
        assert differing(expected, found) == []


def test_f11_hard_values_read_from_a_store_of_ones_own_as_from_memory_and_so_in_another_process(
    tmp_path,
):
    path = tmp_path / "e.log"
    expected = asyncio.run(in_memory())
    assert differing(expected, asyncio.run(logged(path))) == []
    assert differing(expected, elsewhere("log", path)) == []


def differing(expected, found):
    """Pairs that are not equal, cut to be read."""
    assert len(expected) == len(found)
    return [(a[:300], b[:300]) for a, b in zip(expected, found, strict=True) if a != b]
