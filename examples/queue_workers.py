"""Workers that are older than the experiments: each job says whose it is, and opens that scope itself."""

from typing import NamedTuple

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

import crucible_telemetry as ct


class Job(NamedTuple):
    """One piece of work, and the experiment it belongs to."""

    experiment: ct.Experiment
    item: str


@ct.instrument("tool.lookup")
async def look_up(item: str) -> str:
    """Instrumented code that knows nothing of experiments."""
    await anyio.sleep(0.001)
    return item.upper()


async def worker(jobs: MemoryObjectReceiveStream[Job], done: anyio.Event) -> None:
    """Runs before any experiment exists; a context variable set later would never reach it."""
    async with jobs:
        async for job in jobs:
            async with job.experiment.trial(item=job.item) as trial:
                await look_up(job.item)
                trial.score(done=True)
    done.set()


async def main() -> None:
    send, receive = anyio.create_memory_object_stream[Job](10)
    async with anyio.create_task_group() as tasks:
        finished = [anyio.Event() for _ in range(3)]
        for done in finished:
            tasks.start_soon(worker, receive.clone(), done)
        receive.close()
        async with ct.Lab() as lab:
            red = await lab.start_experiment("red", capture="scope")
            blue = await lab.start_experiment("blue", capture="scope")
            async with send:
                for number in range(30):
                    await send.send(Job(red if number % 3 else blue, f"item-{number}"))
            for done in finished:
                await done.wait()
            for experiment in (red, blue):
                await experiment.stop()
                items = {event.sample_id for event in await experiment.events()}
                print(f"{experiment.name}: {experiment.counts.stored} events of {len(items)} items")
            assert red.counts.stored == 40
            assert blue.counts.stored == 20


if __name__ == "__main__":
    anyio.run(main)
