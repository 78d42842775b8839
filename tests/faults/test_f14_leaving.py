"""F14, F15: in whatever way a program ends, what it emitted is in its file. Each is a process of its own."""

import json
import os
import select
import signal
import subprocess
import sys

import pytest

BODY = """
import asyncio, os, signal, sys, threading, time
import crucible_telemetry as ct
path = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without

async def work(lab):
    exp = await lab.start_experiment("leaving", export_on_exit=path)
    for number in range(100):
        await ct.execute("fault.numbered", {"n": number})
    return exp

def ready():
    print("ready", flush=True)

"""

PROGRAMS = {
    "exception": """
async def main():
    async with ct.Lab() as lab:
        await work(lab)
        raise ValueError("the program's own")
asyncio.run(main())
""",
    "cancellation": """
async def main():
    inside = asyncio.Event()
    async def inner():
        async with ct.Lab() as lab:
            await work(lab)
            inside.set()
            await asyncio.sleep(3600)
    task = asyncio.create_task(inner())
    await inside.wait()
    task.cancel()
    await task
asyncio.run(main())
""",
    "forgotten close": """
async def main():
    lab = await ct.Lab().open()
    await work(lab)
asyncio.run(main())
""",
    "sys.exit": """
async def main():
    async with ct.Lab() as lab:
        await work(lab)
        sys.exit(7)
asyncio.run(main())
""",
    "loop never closed": """
async def main():
    global lab
    lab = await ct.Lab().open()
    await work(lab)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
""",
    "loop closed with its tasks": """
async def main():
    global lab
    lab = await ct.Lab().open()
    await work(lab)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
for task in asyncio.all_tasks(loop):
    task._log_destroy_pending = False
loop.close()
""",
}

WAITING = {
    "ctrl-c": """
async def main():
    async with ct.Lab() as lab:
        await work(lab)
        ready()
        await asyncio.sleep(3600)
asyncio.run(main())
""",
    "ctrl-c in sync code": """
async def main():
    async with ct.Lab() as lab:
        await work(lab)
        ready()
        while True:
            time.sleep(0.01)
            await asyncio.sleep(0)
asyncio.run(main())
""",
    "sigterm": """
async def main():
    async with ct.Lab(handle_signals=True) as lab:
        await work(lab)
        ready()
        await asyncio.sleep(3600)
asyncio.run(main())
""",
    "sigterm chained": """
def own(number, frame):
    print("own handler", flush=True)
    raise SystemExit(9)
signal.signal(signal.SIGTERM, own)
async def main():
    async with ct.Lab(handle_signals=True) as lab:
        await work(lab)
        ready()
        await asyncio.sleep(3600)
asyncio.run(main())
""",
}


def start(program, path):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BODY + program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """(exit code, stdout, stderr), in less time than any time limit of the library."""
    try:
        out, err = process.communicate(timeout=8)
    finally:
        process.kill()
        process.communicate()
    return process.returncode, out, err


def saved(path):
    assert [
        json.loads(line)["measurements"]["n"] for line in path.read_text().splitlines()
    ] == list(range(100))
    assert [each.name for each in path.parent.iterdir()] == [path.name], "nothing half written"


@pytest.mark.parametrize("way", PROGRAMS)
def test_f14_a_program_that_ends_by_itself_has_saved_everything(way, tmp_path):
    code, _, err = end(start(PROGRAMS[way], tmp_path / "events.jsonl"))
    saved(tmp_path / "events.jsonl")
    assert code == {"exception": 1, "cancellation": 1, "sys.exit": 7}.get(way, 0), err
    assert "never awaited" not in err
    assert "destroyed" not in err
    expected = {"exception": "the program's own", "cancellation": "CancelledError"}.get(way)
    if expected is None:
        assert err == ""
    else:
        assert expected in err.splitlines()[-1]


@pytest.mark.parametrize("way", WAITING)
def test_f14_a_program_that_a_signal_ends_has_saved_everything(way, tmp_path):
    process = start(WAITING[way], tmp_path / "events.jsonl")
    assert select.select([process.stdout], [], [], 20)[0]
    assert process.stdout.readline() == "ready\n"
    number = signal.SIGINT if "ctrl-c" in way else signal.SIGTERM
    process.send_signal(number)
    code, out, err = end(process)
    saved(tmp_path / "events.jsonl")
    assert "never awaited" not in err
    assert "destroyed" not in err
    if way == "sigterm":
        assert code == -signal.SIGTERM
        assert err == ""
    elif way == "sigterm chained":
        assert (code, out) == (9, "own handler\n")
    else:
        assert code in (130, -signal.SIGINT)
        assert "KeyboardInterrupt" in err


def test_f14_a_lab_that_closed_has_put_the_former_signal_handler_back(tmp_path):
    program = """
def own(number, frame): pass
signal.signal(signal.SIGTERM, own)
async def main():
    async with ct.Lab(handle_signals=True) as lab:
        await work(lab)
        assert signal.getsignal(signal.SIGTERM) is not own
    assert signal.getsignal(signal.SIGTERM) is own
asyncio.run(main())
"""
    code, _, err = end(start(program, tmp_path / "events.jsonl"))
    assert (code, err) == (0, "")


def test_f14_signals_asked_for_outside_the_main_thread_are_refused_and_leave_nothing_open(tmp_path):
    program = """
async def main():
    try:
        await ct.Lab(handle_signals=True).open()
    except ct.CrucibleError as error:
        print(type(error).__name__)
thread = threading.Thread(target=lambda: asyncio.run(main()))
thread.start(); thread.join()
"""
    code, out, err = end(start(program, tmp_path / "events.jsonl"))
    assert (code, out, err) == (0, "ConfigurationError\n", "")


FORK = """
import multiprocessing
async def main():
    async with ct.Lab() as lab:
        hearing = await lab.start_experiment("process", capture="process", export_on_exit=path)
        async with lab.experiment("scope", mailbox_size=64) as exp:
            stop = threading.Event()
            def noise():
                while not stop.is_set():
                    ct.execute_nowait("noise")
            thread = threading.Thread(target=ct.bind(noise)); thread.start()
            for number in range(100):
                ct.execute_nowait("fault.numbered", {"n": number})
            before = None
            def child():
                seen = [exp.counts.refused, hearing.counts.refused]
                for number in range(1000):
                    ct.execute_nowait("fault.numbered", {"n": number})
                with ct.span("in.child") as span:
                    pass
                after = [exp.counts.refused, hearing.counts.refused]
                return [b - a for a, b in zip(seen, after)], span.span_id
            here, there = CHILDREN
            stop.set(); thread.join()
            with ct.span("in.parent") as span:
                pass
            print(there[0], there[1] != span.span_id, len(here))
    counts = exp.counts
    print(counts.emitted == counts.accounted, counts.refused)
asyncio.run(main())
"""

OS_FORK = """
            children = []
            def forked():
                read, write = os.pipe()
                pid = os.fork()
                if not pid:
                    try:
                        os.write(write, repr(child()).encode())
                    finally:
                        os._exit(0)
                os.close(write)
                said = b""
                while more := os.read(read, 4096):
                    said += more
                os.waitpid(pid, 0)
                return eval(said)
            there = forked()
            here = [forked() for _ in range(10)]
"""

MP_FORK = """
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            process = context.Process(target=lambda: queue.put(child()))
            process.start()
            there = queue.get()
            process.join()
            here = [0] * 10
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("way", [OS_FORK, MP_FORK], ids=["os.fork", "multiprocessing"])
def test_f16_a_forked_child_counts_what_it_emits_warns_once_and_writes_nothing(way, tmp_path):
    program = FORK.replace("            here, there = CHILDREN\n", way)
    path = tmp_path / "events.jsonl"
    code, out, err = end(start(program, path))
    assert code == 0, err
    first, second = out.splitlines()
    assert first == "[1002, 1002] True 10"
    assert second == "True 0"
    children = 11 if way is OS_FORK else 1
    assert err.count("belongs to the parent process") == 2 * children, "once for each experiment"
    numbers = [
        event["measurements"]["n"]
        for event in map(json.loads, path.read_text().splitlines())
        if event["event_name"] == "fault.numbered"
    ]
    assert numbers == list(range(100))
