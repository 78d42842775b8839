"""F3: the disk is full, for the lab's file and for what is spilled: every event is accounted for, and all are kept later."""

import json
import os
import subprocess
import sys

import pytest

FILLING = """
import asyncio, json, os, resource, signal, sys, time
import crucible_telemetry as ct
from crucible_telemetry.stores import kept, lasting

lasting.FULL_ROWS, kept.SPILL_ROWS, kept.GATHER_ROWS = 2_000, 4_000, 3_000
TEXT = {"text": "x" * 100}
MANY = 30_000

def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def emitted(exp, first, count):
    with exp.scope():
        for number in range(first, first + count):
            ct.execute_nowait("fault.numbered", {"n": number}, TEXT)
            if number % 50 == 0:
                await asyncio.sleep(0)

async def said(exp, state):
    began = time.monotonic()
    while exp.health().store.state != state:
        assert time.monotonic() - began < 1.5, exp.health().store
        await asyncio.sleep(0.02)
    return time.monotonic() - began

async def numbers(exp):
    return [event.measurements["n"] async for page in exp.pages(size=2_000) for event in page]

async def main(url):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    told = {}
    async with ct.Lab(url) as lab:
        kind = {"capture": "scope", "mailbox_size": 512, "privacy": "full"}
        keeping = await lab.start_experiment("keeping", **kind)
        dropping = await lab.start_experiment("dropping", overflow="drop_newest", **kind)
        for exp in (keeping, dropping):
            await emitted(exp, 0, 1_000)
            assert (await exp.flush()).complete
        # One limit for every file of the process: the lab's, its journal and the spilled.
        limited(max(os.path.getsize(url + end) for end in ("", "-wal")) + 1_000_000)
        for exp in (keeping, dropping):
            await emitted(exp, 1_000, MANY)
        told["said_s"] = await said(keeping, "waiting")
        for exp in (keeping, dropping):
            done = await exp.flush()
            health = exp.health().store
            assert done.failed == health.waiting > 0
            assert done.spilled == health.spilled
            told[exp.name] = {
                "emitted": exp.counts.emitted, "accounted": exp.counts.accounted,
                "stored": exp.counts.stored, "dropped": exp.counts.dropped,
                "spilled": health.spilled, "read": len(await numbers(exp)),
            }
        limited(resource.RLIM_INFINITY)
        began = time.monotonic()
        for exp in (keeping, dropping):
            while not (await exp.flush()).complete:
                assert time.monotonic() - began < 20
            assert exp.health().store.state == "ok"
            assert exp.health().store.spilled == 0
            told[exp.name]["spilled_total"] = exp.health().store.spilled_total
        assert await lab.close() == {}
    async with ct.Lab(url) as lab:
        for exp in lab.list_experiments():
            told[exp.name]["kept"] = await numbers(exp)
    print(json.dumps(told))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_f03_a_full_disk_that_takes_no_spilling_either_counts_exactly_and_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FILLING, tmp_path / "runs.db"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["said_s"] < 1
    assert "stays in memory: it cannot spill" in done.stderr
    keeping, dropping = told["keeping"], told["dropping"]
    for one in (keeping, dropping):
        assert one["emitted"] == one["accounted"] == 31_000
        assert one["read"] == one["stored"] == len(one["kept"])
    assert keeping["dropped"] == 0
    assert keeping["kept"] == list(range(31_000))
    assert 0 < keeping["spilled"] <= keeping["spilled_total"]
    # What was accepted is kept, in order; what was not is counted, one by one.
    assert dropping["dropped"] == 31_000 - dropping["stored"] > 0
    assert dropping["kept"] == sorted(set(dropping["kept"]))
