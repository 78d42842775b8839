"""A program to be killed while it packs or restores: ``archive_child.py FOLDER WHAT POINT``; see `crash_child.py`.

WHAT: ``archive`` (one experiment after the other), ``checkpoint`` (one that runs, again and again) or ``restore``
(one archive, again and again). POINT: where it kills itself; ``never`` waits to be killed.
"""

import asyncio
import json
import os
import random
import signal
import sys

import crucible_telemetry as ct
from crucible_telemetry.export import packing
from crucible_telemetry.export.depots import Folder
from crucible_telemetry.export.manifest import NAME
from crucible_telemetry.stores.sqlite import SqliteKeep

PART_ROWS = 200
EVENTS = 900


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def say(**what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def on_put(dies):
    """`dies(self, path, data, put)` in the place of writing a file, now and then."""
    put = Folder._put

    def putting(self, path, data):
        if random.random() < (0.5 if path.name == NAME else 0.1):
            return dies(self, path, data, put)
        return put(self, path, data)

    Folder._put = putting


def half_written(_self, path, data, _put):
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / f".crucible-{os.getpid()}-half.part").write_bytes(data[: len(data) // 2])
    die()


def behind(self, path, data, put):
    put(self, path, data)
    die()


def on_delete():
    """Behind the new manifest, before what it needs no more is gone."""
    Folder._delete = lambda *_: die()


def on_write():
    write = SqliteKeep.write

    async def writing(self, change):
        if change and random.random() < 0.15:
            if random.random() < 0.5:
                await write(self, change)
            die()
        return await write(self, change)

    SqliteKeep.write = writing


POINTS = {
    "never": lambda: None,
    "before a file": lambda: on_put(lambda *_: die()),
    "in a file": lambda: on_put(half_written),
    "behind a file": lambda: on_put(behind),
    "before a delete": on_delete,
    "at a commit": on_write,
}


def emit(exp, since, count):
    with exp.scope():
        for number in range(since, since + count):
            ct.execute_nowait("fault.numbered", {"n": number})


async def archive(lab, folder):
    while True:
        exp = await lab.start_experiment("run", capture="scope")
        emit(exp, 0, EVENTS)
        await exp.stop()
        await exp.archive(folder / exp.id, format="jsonl")
        say(done=exp.id)


async def checkpoint(lab, folder):
    exp = await lab.start_experiment("run", capture="scope", on_existing="resume")
    while True:
        emit(exp, await exp.count_events(), random.randrange(1, 300))
        manifest = await exp.checkpoint(folder / "c", format="jsonl")
        say(done=manifest.events)


async def restore(lab, folder):
    while True:
        exp = await lab.restore(folder / "c", on_existing="new")
        say(done=exp.id)


async def main(folder, what, point):
    packing.PART_ROWS = PART_ROWS
    async with ct.Lab(folder / "runs.db") as lab:
        say(ready=True)
        POINTS[point]()
        await {"archive": archive, "checkpoint": checkpoint, "restore": restore}[what](lab, folder)


if __name__ == "__main__":
    from pathlib import Path

    random.seed()
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
