"""A program to be killed: ``crash_child.py URL ROUND POINT``; says in JSON lines what has been confirmed.

Emits numbered events from the loop and from threads, runs trials, pauses now and then, and prints after each
`flush()` how far everything had come when it was called. POINT names where it kills itself (see `POINTS`);
``never`` waits to be killed.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time

import crucible_telemetry as ct
from crucible_telemetry.stores import sqlite
from crucible_telemetry.stores.postgres import writing
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.totals import Totals

THREADS = 2
AGO_US = 90_000_000
PER_ROUND = 1_000_000
KEEPS = (sqlite.SqliteKeep, PostgresKeep)


def die(*_args, **_named):
    os.kill(os.getpid(), signal.SIGKILL)


DIES = {"having_said": 0.0}
"""How often it dies in the moment in which something has been confirmed: nothing that comes later saves it."""


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
    if "ready" not in what and sometimes(DIES["having_said"]):
        die()


def sometimes(share):
    """Only now and then, so that some commits get through before."""
    return random.random() < share


def before_write(share=0.2):
    for keep in KEEPS:

        async def write(self, change, plain=keep.write):
            return die() if sometimes(share) else await plain(self, change)

        keep.write = write


def in_transaction(share=0.1):
    plain = sqlite.write_block, writing._write_segments

    def write_block(*given):
        return die() if sometimes(share) else plain[0](*given)

    async def write_segments(*given):
        return die() if sometimes(share) else await plain[1](*given)

    sqlite.write_block, writing._write_segments = write_block, write_segments


def after_commit(share=0.2):
    for keep in KEEPS:

        async def write(self, change, plain=keep.write):
            infos = await plain(self, change)
            return die() if sometimes(share) else infos

        keep.write = write


def in_rollups(share=0.2):
    plain = Totals.rollups

    async def rollups(self, fresh):
        counted = await plain(self, fresh)
        return die() if sometimes(share) else counted

    Totals.rollups = rollups


POINTS = {
    "never": lambda: None,
    "before_write": before_write,
    "in_transaction": in_transaction,
    "after_commit": after_commit,
    "in_rollups": in_rollups,
    "having_said": lambda: DIES.update(having_said=0.3),
}


class Emitters:
    """Counts per source how many events have been emitted; each source numbers its own."""

    def __init__(self, exp, base):
        self.exp, self.base = exp, base
        self.emitted = [0] * (THREADS + 1)
        self.collecting = threading.Lock()
        """Held by threads while they emit and by the loop while it pauses: nothing is skipped."""

    def emit(self, source, ago_us=0):
        number = self.base + self.emitted[source]
        ct.execute_nowait(
            "llm.request.stop",
            {"n": number, "duration_ns": 1_000_000 + number % 977, "cost_usd": (number % 7) / 1e6},
            {"source": source, "model": f"m{number % 3}", "provider": "p"},
            at_us=time.time_ns() // 1000 - ago_us,
        )
        self.emitted[source] += 1

    def keep_on(self, source):
        with self.exp.scope():
            while True:
                with self.collecting:
                    for _ in range(random.randrange(1, 60)):
                        self.emit(source)
                time.sleep(random.random() / 300)


async def main(url, number, point):
    POINTS[point]()
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("crash", capture="scope", on_existing="resume", seed=7)
        emitters = Emitters(exp, number * PER_ROUND)
        if number == 0:
            with exp.scope():  # none is older than the first, which would void the roll-ups
                emitters.emit(0, ago_us=2 * AGO_US)
        for source in range(1, THREADS + 1):
            threading.Thread(target=emitters.keep_on, args=(source,), daemon=True).start()
        trials = pauses = 0
        say(ready=exp.id)
        while True:
            async with exp.trial(item=f"r{number}-{trials}") as trial:
                for _ in range(random.randrange(1, 40)):
                    emitters.emit(0, ago_us=random.randrange(AGO_US))
                trial.score(correct=trials % 3 == 0)
            trials += 1
            await asyncio.sleep(random.random() / 100)
            if sometimes(0.1):
                with emitters.collecting:
                    await exp.pause()
                    await exp.flush()
                    pauses += 1
                    say(pauses=pauses)
                    await exp.resume()
            if sometimes(0.3):
                await (
                    exp.flush()
                )  # so that the next finds no new event, but perhaps the trial's end
                said = {"emitted": list(emitters.emitted), "trials": trials}
                done = await exp.flush()
                if done.complete:
                    say(**said)


if __name__ == "__main__":
    random.seed()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
