"""F1: a process that is killed while it archives, checkpoints or restores leaves a whole lab and whole archives.

More kills: ``pytest tests/faults/test_f01_archives.py --deep 100``.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.archive_child import EVENTS, PART_ROWS, POINTS
from faults.crashing import START_S, sound

import crucible_telemetry as ct
from crucible_telemetry.export import packing
from crucible_telemetry.export.manifest import NAME

pytestmark = pytest.mark.asyncio
CHILD = Path(__file__).with_name("archive_child.py")
KILLS = 8


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(packing, "PART_ROWS", PART_ROWS)


def killed(folder, what, point):
    """What a child said was done before it died."""
    child = subprocess.Popen(
        [sys.executable, CHILD, folder, what, point], stdout=subprocess.PIPE, bufsize=0
    )
    with child:
        lines = [child.stdout.readline()]
        if point == "never":
            time.sleep(random.random() * 0.5)
            child.kill()
        try:
            lines += child.communicate(timeout=START_S)[0].splitlines()
        finally:
            child.kill()
    assert child.returncode == -9, f"it ended by itself: {child.returncode}"
    said = [json.loads(line) for line in lines if line.strip().endswith(b"}")]
    return [one["done"] for one in said if "done" in one]


def points(request, without=()):
    """Every other kill is at a random moment."""
    aimed = [point for point in POINTS if point not in ("never", *without)]
    for number in range(max(KILLS, request.config.getoption("--deep"))):
        yield "never" if number % 2 else aimed[number // 2 % len(aimed)]


async def numbers(exp):
    return [event.measurements["n"] for event in await exp.events()]


async def restored(path):
    async with ct.Lab() as lab:
        return await numbers(await lab.restore(path))


async def test_f01_what_was_archived_stays_so_and_what_was_not_can_be(tmp_path, request):
    archived, halves = set(), 0
    for point in points(request, without=["before a delete"]):  # nothing was there before
        archived |= set(killed(tmp_path, "archive", point))
        sound(f"sqlite:///{tmp_path}/runs.db")
        async with ct.Lab(tmp_path / "runs.db") as lab:
            for exp in lab.list_experiments():
                there = await numbers(exp)
                assert there == list(range(len(there)))
                if exp.id in archived:
                    assert await restored(tmp_path / exp.id) == list(range(EVENTS)) == there
                    continue
                halves += await is_half(tmp_path / exp.id, there)
                if exp.state == "interrupted":
                    await exp.cleanup()
                    continue
                await exp.archive(tmp_path / exp.id, format="jsonl")
                archived.add(exp.id)
                assert await restored(tmp_path / exp.id) == there
    assert halves


async def is_half(path, there):
    """An archive that nobody heard the end of is whole, or says that it is none."""
    try:
        assert await restored(path) == there
    except ct.UnreadableFile as error:
        assert f"no archive is there: it has no {NAME}" in str(error)  # noqa: PT017 - either is right
        return path.exists()
    return False


async def test_f01_a_checkpoint_that_was_made_stays_readable_and_the_next_goes_on(
    tmp_path, request
):
    before = 0
    for point in points(request):
        done = killed(tmp_path, "checkpoint", point)
        sound(f"sqlite:///{tmp_path}/runs.db")
        async with ct.Lab(tmp_path / "runs.db") as lab:
            experiments = lab.list_experiments()
            there = await numbers(experiments[0]) if experiments else []
            assert there == list(range(len(there)))
        before = max([before, *done])
        if before:
            found = await restored(tmp_path / "c")
            assert before <= len(found) <= len(there)
            assert found == there[: len(found)]
            before = len(found)
    assert before


async def test_f01_what_was_restored_is_whole_and_what_was_not_is_not_there(tmp_path, request):
    async with ct.Lab() as lab:
        async with lab.experiment("run") as exp:
            for number in range(EVENTS):
                ct.execute_nowait("fault.numbered", {"n": number})
        await exp.archive(tmp_path / "c", format="jsonl")
    restored_ids = set()
    for point in points(request, without=[p for p in POINTS if "file" in p or "delete" in p]):
        restored_ids |= set(killed(tmp_path, "restore", point))
        sound(f"sqlite:///{tmp_path}/runs.db")
        async with ct.Lab(tmp_path / "runs.db") as lab:
            ids = {exp.id for exp in lab.list_experiments()}
            assert restored_ids <= ids
            for exp in lab.list_experiments():
                assert exp.health().store.damage == ()
                assert await numbers(exp) == list(range(EVENTS))
            restored_ids = ids
    assert restored_ids
