"""A process that writes experiments of its own into a lab's file until its input ends; what it saw is printed."""

import asyncio
import json
import sys

import crucible_telemetry as ct

BATCH = 500


async def load(lab, name, go_on):
    exp = await lab.start_experiment(name, capture="scope")
    with exp.scope():
        n = 0
        while go_on():
            for _ in range(BATCH):
                await ct.execute("fault.numbered", {"n": n, "duration_ns": 1_000})
                n += 1
            await asyncio.sleep(0)
    done = await exp.flush()
    return exp, n, done


async def main(url, label):
    heard, ended = [], asyncio.Event()
    ct.attach("t", "crucible.store.*", lambda event, _m, said, _c: heard.append((event, said)))
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: ended.set())
    async with ct.Lab(url) as lab:
        sys.stdout.write("open\n")
        sys.stdout.flush()
        runs = await asyncio.gather(
            *(load(lab, f"{label}{i}", lambda: not ended.is_set()) for i in range(2))
        )
        told = {
            "emitted": {exp.id: n for exp, n, _ in runs},
            "complete": [done.complete for _, _, done in runs],
            "states": [exp.state.value for exp, _, _ in runs],
            "heard": heard,
            "commit_ms_max": max(exp.health().store.commit_ms_max for exp, _, _ in runs),
        }
        sys.stdout.write(json.dumps(told, default=str))


asyncio.run(main(*sys.argv[1:]))
