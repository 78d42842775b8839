"""F1 as a user meets it: the overnight example, killed at random moments and started again until it is through."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import crucible_telemetry as ct

EXAMPLE = Path(__file__).parents[2] / "examples" / "overnight.py"
KILLS = 3


def started(path):
    return subprocess.Popen(
        [sys.executable, EXAMPLE, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.asyncio
async def test_f01_a_run_that_is_killed_again_and_again_does_every_trial_once(tmp_path):
    path = tmp_path / "runs.db"
    for _ in range(KILLS):
        with started(path) as killed:
            killed.stdout.readline()  # it has begun
            await asyncio.sleep(random.uniform(0.0, 0.15))
            killed.kill()
    with started(path) as last:
        said, errors = last.communicate(timeout=60)
        assert last.returncode == 0, errors
    assert "prompt-a: 60 trials done" in said
    assert "prompt-b: 60 trials done" in said
    assert "score.correct" in said
    async with ct.Lab(path) as lab:
        arms = lab.list_experiments()
        assert sorted(arm.name for arm in arms) == ["prompt-a", "prompt-b"]
        for arm in arms:
            done = Counter(
                (record.item, record.repeat)
                for record in await arm.trials()
                if record.outcome == "ok"
            )
            assert len(done) == 60
            assert set(done.values()) == {1}
            events = await arm.events()
            called = {(e.sample_id, e.repeat) for e in events if e.event_name == "llm.request.stop"}
            assert done.keys() <= called  # what is skipped has its events
            seqs = sorted(event.seq for event in events)
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(arm._life.gaps_us) <= KILLS
