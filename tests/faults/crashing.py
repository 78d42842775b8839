"""The harness of F1: a child that is killed, and what must hold of what it left. See `crash_child.py`."""

import json
import random
import select
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from faults.crash_child import PER_ROUND, THREADS

import crucible_telemetry as ct
from crucible_telemetry.metrics.rollups import LEVELS_S, counted, merged
from crucible_telemetry.stores.base import Query

CHILD = Path(__file__).with_name("crash_child.py")
START_S = 20.0
RESTART_S = 2.0


def killed(url, number, point="never"):
    """Run a child until it dies; what it had confirmed by then."""
    child = subprocess.Popen(
        [sys.executable, CHILD, url, str(number), point], stdout=subprocess.PIPE, bufsize=0
    )
    with child:
        lines = [_first_line(child)]
        if point == "never":
            time.sleep(random.random() * 0.6)
            child.kill()
        try:
            lines += child.communicate(timeout=START_S)[0].splitlines()
        finally:
            child.kill()
    assert child.returncode == -9, f"it ended by itself: {child.returncode}"
    return confirmed(line for line in lines if line.endswith((b"}", b"}\n")))


def _first_line(child):
    """The child has begun, or died before it said so."""
    assert select.select([child.stdout], [], [], START_S)[0], "it never began"
    return child.stdout.readline()


def confirmed(lines):
    """The last word on each thing."""
    said = {"emitted": [0] * (THREADS + 1), "trials": 0, "pauses": 0}
    for line in lines:
        said |= json.loads(line)
    return said


class Ledger:
    """What children confirmed, round by round."""

    def __init__(self):
        self.rounds = {}
        self.pauses = 0
        self.left = None
        """The state we left it in, and a child that died before its first commit."""

    @property
    def confirmed(self):
        """Events that children said are safe."""
        return sum(sum(said["emitted"]) for said in self.rounds.values())

    def add(self, number, said):
        self.rounds[number] = said
        self.pauses += said["pauses"]

    async def check(self, url, *, reopen):
        """Open the lab again and check everything that must hold; returns the experiment's figures."""
        began = time.perf_counter()
        async with ct.Lab(url) as lab:
            opened_s = time.perf_counter() - began
            assert opened_s < RESTART_S
            experiments = lab.list_experiments()
            if not experiments:  # killed before its first commit: nothing had been confirmed
                assert not any(any(said["emitted"]) for said in self.rounds.values())
                return {"opened_s": opened_s, "stored": 0}
            (exp,) = experiments
            assert exp.state in ("interrupted", self.left)
            assert exp.health().store.damage == ()
            stored = await self._check_events(exp)
            await self._check_beside(exp)
            store = exp._collector.store
            await rollups_agree(store)
            if reopen:
                before = await exp.metrics()
                await exp.reopen()
                await board_agrees(exp, before)
                await rollups_agree(store, demanded=True)
            self.left = "stopped" if reopen else exp.state
            return {"opened_s": opened_s, "stored": stored}

    async def _check_events(self, exp):
        """Seq without a gap; of each source of each round a run from its first number, once, in order."""
        seqs, runs = [], {}
        async for page in exp.pages(size=4096):
            seqs += [event.seq for event in page]
            for event in page:
                number = event.measurements["n"]
                key = (number // PER_ROUND, event.metadata["source"])
                runs.setdefault(key, []).append((event.seq, number))
        assert sorted(seqs) == list(range(1, len(seqs) + 1))
        for (number, source), run in runs.items():
            found = [n for _, n in sorted(run)]
            first = number * PER_ROUND
            assert found == list(range(first, first + len(run))), (number, source)
        for number, said in self.rounds.items():
            for source, count in enumerate(said["emitted"]):
                there = len(runs.get((number, source), ()))
                assert there >= count, f"round {number}: {count} confirmed, {there} there"
        counts = exp.counts
        assert counts.emitted == counts.accounted
        assert counts.stored == len(seqs)
        return len(seqs)

    async def _check_beside(self, exp):
        """Trials that were confirmed are done, pauses that were confirmed are known."""
        done = exp.trials_done()
        for number, said in self.rounds.items():
            for trial in range(said["trials"]):
                assert (f"r{number}-{trial}", 0) in done, (number, trial)
        assert exp.pause_count >= self.pauses
        records = {record.number: record for record in await exp.trials()}
        assert len(records) == len(await exp.trials())


def sound(url):
    """SQLite itself finds nothing wrong with a file; a server is asked by what is read from it."""
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


async def rollups_agree(store, *, demanded=False):
    """What is kept by the minute, hour and day is what the events say; where nothing is kept it says so."""
    parts = [part async for part in store.columns(Query())]
    for level_s in LEVELS_S if parts else ():
        origin_us = min(int(part.timestamp_us.min()) for part in parts)
        kept = await store.buckets(level_s)
        if kept is None:
            assert not demanded
            continue
        again = {}
        for part in parts:
            again = merged(again, counted(part, origin_us, level_s))
        assert kept == again, level_s


async def board_agrees(exp, rest):
    """The live board of an experiment that goes on is the one of all its events, to the bit."""
    live = exp.live()
    assert live.summary.total_events == rest.summary.total_events
    assert live.events.counts == rest.events.counts
    for part in ("count", "mean", "min", "max", "std_dev"):
        assert getattr(live.latency, part) == getattr(rest.latency, part)
    assert live.cost.total == rest.cost.total
    assert live.reliability.total_requests == rest.reliability.total_requests
