"""F16: children of a process whose durable lab is open neither write to its file nor hang; ids stay unique."""

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys

import pytest

FORKING = """
import asyncio, gc, multiprocessing, os, sys
import crucible_telemetry as ct

def child(pipe=None):
    for number in range(100):
        ct.execute_nowait("fault.numbered", {"n": 1_000 + number})
    gc.collect()

async def main(url, how):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("parent")
        for number in range(100):
            await ct.execute("fault.numbered", {"n": number})
        if how != "os.fork":
            process = multiprocessing.get_context(how).Process(target=child)
            process.start()
            await asyncio.to_thread(process.join, 20)
            assert process.exitcode == 0, process.exitcode
        elif (pid := os.fork()) == 0:
            child()
            lab._durable.keep = lab._durable.writer.keep = None
            gc.collect()
            os._exit(0)  # back in the loop it would take the parent's wake-ups: they share a socket
        else:
            assert os.waitpid(pid, 0)[1] == 0
        for number in range(100, 200):
            await ct.execute("fault.numbered", {"n": number})
        assert (await exp.flush()).complete
        assert [event.measurements["n"] for event in await exp.events()] == list(range(200))

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


def ran(program, url, how):
    """What a program of its own that forks printed."""
    script = url.with_name("program.py")
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, script, url, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["os.fork", "fork", "spawn"])
def test_f16_a_child_leaves_the_parents_file_alone(how, tmp_path):
    if how != "os.fork" and how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    url = tmp_path / "runs.db"
    ran(FORKING, url, how)
    with sqlite3.connect(url) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert file.execute("SELECT sum(rows) FROM blocks").fetchone() == (200,)
        assert file.execute("SELECT count(*), state FROM experiments").fetchone() == (1, "stopped")
    file.close()


OPENING = """
import asyncio, json, multiprocessing, os, sys
import crucible_telemetry as ct

async def opened(url, read_only):
    try:
        async with ct.Lab(url, read_only=read_only) as lab:
            return len(lab.list_experiments())
    except ct.CrucibleError as error:
        return f"{type(error).__name__}: {error}"

def child(url, pipe):
    asyncio.events._set_running_loop(None)
    other = url + ".child"
    pipe.send([
        asyncio.run(opened(url, False)), asyncio.run(opened(url, True)), asyncio.run(opened(other, False)),
    ])

async def main(url, how):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("parent", capture="scope")
        with exp.scope():
            await ct.execute("fault.numbered", {"n": 1})
        assert (await exp.flush()).complete
        context = multiprocessing.get_context(how)
        here, there = context.Pipe()
        process = context.Process(target=child, args=(url, there))
        process.start()
        print(json.dumps(await asyncio.to_thread(here.recv)))
        await asyncio.to_thread(process.join, 20)
        with exp.scope():
            await ct.execute("fault.numbered", {"n": 2})
        assert (await exp.flush()).complete

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_f16_a_child_of_fork_is_told_not_to_open_the_file_that_its_parent_has_open(how, tmp_path):
    if how not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {how} here")
    url = tmp_path / "runs.db"
    printed = ran(OPENING, url, how)
    writing, reading, other = json.loads(printed)
    assert other == 0  # a file of its own is any process's to open
    if how == "spawn":
        assert (writing, reading) == (1, 1)
    else:
        for said in (writing, reading):
            assert said.startswith(f"StoreRefused: sqlite:///{url}: was open when this process was")
            assert "spawn" in said
