"""F9: a million distinct names of everything: what is kept of names is bounded, the counts stay whole.

Each kind runs in a process of its own, whose resident memory is read before and after; what the store
holds of the events themselves is subtracted. ``--deep=1000000`` is the full size.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_MIB = 50
PROGRAM = """
import gc, json, sys
import anyio
import crucible_telemetry as ct

def resident_mib():
    gc.collect()
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

def stored_mib(exp):
    size = 0
    for segment in exp._collector.store._state.segments():
        part = segment.columns
        arrays = [getattr(part, n) for n in
                  ("timestamp_us", "shape", "flags", "outcome", "model", "trial", "error")]
        arrays += [part.payload.offsets, *part.optional().values()]
        size += len(part.payload.blob) + sum(array.nbytes for array in arrays)
    return size / 2**20

MAKE = {
    "names": lambda i: (f"svc{i}.call.stop", {"duration": i + 1}, {}),
    "models": lambda i: ("llm.request.stop", {"duration": i + 1, "input_tokens": 3, "cost": 0.1},
                         {"model": f"model-{i}"}),
    "errors": lambda i: ("llm.request.exception", {"duration": i + 1}, {"error": f"Error{i}"}),
    "keys": lambda i: ("a.stop", {f"duration{i}": 1}, {f"key{i}": 2}),
    "values": lambda i: ("a.stop", {"duration": 1},
                         {"tag": f"t{i}", "session_id": f"s{i}", "user_id": f"u{i}"}),
}

async def events(kind, n):
    async with ct.Lab() as lab, lab.experiment("x") as exp:
        for i in range(2000):
            await ct.execute("warm.up.stop", {"duration": 3})
        exp.live()
        await exp.metrics()
        before = resident_mib()
        for i in range(n):
            await ct.execute(*MAKE[kind](i))
        await exp.flush()  # `live` alone catches up for a moment only
        live = exp.live()
        counted = sum(live.events.counts.values())
        grown = resident_mib() - before - stored_mib(exp)
        return {"grown": grown, "whole": counted == live.summary.total_events == n + 2000}

async def experiments(kind, n):
    async with ct.Lab() as lab:
        for i in range(n + 200):
            if i == 200:
                before = resident_mib()
            exp = await lab.start_experiment(f"e{i}", tags=[f"t{i}"], condition=f"c{i}")
            ct.execute_nowait("a.stop", {"duration": 1})
            await exp.cleanup()
        return {"grown": resident_mib() - before, "whole": lab.list_experiments() == []}

async def unheard(kind, n):
    async with ct.Lab() as lab:
        await lab.start_experiment("e", events=["nothing.*"])
        before = resident_mib()
        for i in range(n):
            ct.execute_nowait(f"un.{i}.heard", {"x": 1})
        return {"grown": resident_mib() - before, "whole": sum(lab.unheard.values()) == n}

kind, n = sys.argv[1], int(sys.argv[2])
print(json.dumps(anyio.run({"experiments": experiments, "unheard": unheard}.get(kind, events), kind, n)))
"""

SIZES = {
    "names": 20_000, "models": 100_000, "errors": 100_000, "keys": 20_000, "values": 100_000,
    "unheard": 200_000, "experiments": 1_000,
}  # fmt: skip
"""Beyond every bound there is; an experiment takes a millisecond, so there are fewer."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read there")
@pytest.mark.parametrize("kind", SIZES)
def test_f09_distinct_names_take_bounded_memory(kind, request):
    n = max(SIZES[kind], request.config.getoption("--deep"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, kind, str(n)],
        capture_output=True,
        text=True,
        timeout=60 + n / 1000,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["whole"]
    assert found["grown"] < MOST_MIB
