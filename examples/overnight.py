"""An overnight run that goes on where it stopped: two prompts, many items, three repeats each.

Kill it whenever you like and start it again: trials that are done are skipped, the others are run once more.
``python overnight.py [runs.db]``
"""

import random
import sys
from typing import Any

import anyio

import crucible_telemetry as ct

ITEMS = [f"q{number}" for number in range(20)]
SKILL = {"prompt-a": 0.6, "prompt-b": 0.75}


async def answer(prompt: str) -> tuple[bool, dict[str, int]]:
    """Stands for a model server: takes its time, and is right now and then."""
    await anyio.sleep(random.uniform(0.002, 0.01))
    return random.random() < SKILL[prompt], {"input_tokens": 120, "output_tokens": 30}


async def run(trial: ct.Trial) -> None:
    """One trial; everything emitted inside carries its item and repeat."""
    async with trial:
        async with ct.llm_call(provider="example", model="small-1") as call:
            correct, usage = await answer(trial.experiment.name)
            call.usage(usage)
        trial.score(correct=correct)


async def main(path: str) -> None:
    async with ct.Lab(path) as lab:
        options: dict[str, Any] = {"capture": "scope", "on_existing": "resume"}
        a = await lab.start_experiment("prompt-a", condition="control", **options)
        b = await lab.start_experiment("prompt-b", condition="treatment", **options)
        done = len(a.trials_done()) + len(b.trials_done())
        print(f"{done} of {2 * 3 * len(ITEMS)} trials were done before", flush=True)
        plan = lab.trials([a, b], items=ITEMS, repeats=3, seed=1, skip_done=True, concurrency=4)
        async with anyio.create_task_group() as tasks:
            async for trial in plan:
                tasks.start_soon(run, trial)
        for arm in (a, b):
            latency = (await arm.metrics()).latency
            print(
                f"{arm.name}: {len(arm.trials_done())} trials done, median {latency.median:.1f} ms"
            )
        print(await lab.compare_experiments([a.id, b.id], metric="score.correct"))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "runs.db")
