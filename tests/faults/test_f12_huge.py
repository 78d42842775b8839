"""F12: a hundred megabytes in one event take three times their size, and hold up nobody but their emitter.

The emit itself encodes and hashes them, in the caller: that is not bounded here.
"""

import json
import subprocess
import sys

import pytest

CHILD = '''
import asyncio, json, os, sys, time
import crucible_telemetry as ct

SIZE = 100_000_000
KIND, PRIVACY = sys.argv[1:]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_resident():
    # Not ru_maxrss: a child begins with what its parent had at the fork.
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


async def main():
    lag = 0.0

    async def beat():
        nonlocal lag
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lag = max(lag, time.perf_counter() - before)

    async with ct.Lab() as lab, lab.experiment("huge", privacy=PRIVACY) as exp:
        ct.execute_nowait("n", {"n": 0}, {"prompt": "x", "note": "x", "box": ["x"]})
        await exp.flush()
        text = "x" * SIZE
        given = {"text": {"note": text}, "prompt": {"prompt": text}, "nested": {"box": [text]}, "bytes": {"note": text.encode()}}[KIND]
        await asyncio.sleep(0.05)
        heart = asyncio.create_task(beat())
        await asyncio.sleep(0.05)
        quiet, before = lag, resident()
        began = time.perf_counter()
        ct.execute_nowait("n", {"n": 1}, given)
        emit_s = time.perf_counter() - began
        began = time.perf_counter()
        ct.execute_nowait("n", {"n": 2}, {"note": "y"})
        next_s = time.perf_counter() - began
        peak = most_resident()
        await asyncio.sleep(0.01)  # the beat that waited for the emit
        lag = 0.0
        await asyncio.sleep(0.05)
        await exp.flush()
        await asyncio.sleep(0.05)
        heart.cancel()
        after = resident()
        events = await exp.events()
        assert exp.counts.stored == exp.counts.emitted == 3
        print(json.dumps({"emit_s": emit_s, "next_s": next_s, "lag_s": lag, "grown": peak - before, "kept": after - before,
                          "event": repr(events[1].metadata), "marks": exp.health().marks}))

asyncio.run(main())
'''  # fmt: skip
SIZE = 100_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.parametrize(
    ("kind", "privacy"),
    [("text", "full"), ("prompt", "metadata"), ("nested", "metadata"), ("bytes", "none")],
)
def test_f12_a_hundred_megabytes_take_bounded_memory_and_are_hashed_once(kind, privacy):
    command = [sys.executable, "-c", CHILD, kind, privacy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # Beside the text itself, which the caller holds: the encoder's buffer as it grows; a little is the rest.
    assert told["grown"] < 3 * SIZE + 2**24, told
    assert told["kept"] < SIZE // 10, told
    assert told["lag_s"] < 0.1, told
    assert told["next_s"] < 0.01, told
    assert "xxx" not in told["event"]
    if privacy != "none":
        assert "100000000" in told["event"] or kind == "nested", told
