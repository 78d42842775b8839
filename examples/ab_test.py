"""Two prompts over the same items, side by side in one loop: each experiment keeps its own events."""

import random

import anyio

import crucible_telemetry as ct

SPEED_MS = {"prompt-a": 6.0, "prompt-b": 5.0}


async def run(trial: ct.Trial) -> None:
    """One trial of one arm; everything emitted inside carries its item and goes to its experiment."""
    async with trial:
        name = trial.experiment.name
        async with ct.llm_call(provider="example", model="small-1") as call:
            await anyio.sleep(random.gauss(SPEED_MS[name], 0.5) / 1000)
            call.usage(input_tokens=100, output_tokens=20)
        await ct.execute("grader.done", {"points": 1}, {"item": trial.item})
        trial.score(correct=random.random() < 0.8)


def latency(summary: ct.Summary) -> ct.stats.Moments:
    """Number, mean and variance of the latency, for Welch's test."""
    figures = summary.latency
    assert figures.mean is not None
    assert figures.variance is not None
    return ct.stats.Moments(figures.count, figures.mean, figures.variance)


async def main() -> None:
    items = [f"q{number}" for number in range(40)]
    async with ct.Lab() as lab:
        a = await lab.start_experiment("prompt-a", condition="control", capture="scope")
        b = await lab.start_experiment("prompt-b", condition="treatment", capture="scope")
        async with anyio.create_task_group() as tasks:
            async for trial in lab.trials([a, b], items=items, repeats=2, seed=1, concurrency=8):
                tasks.start_soon(run, trial)
        for experiment in (a, b):
            await experiment.stop()
            assert experiment.counts.emitted == experiment.counts.stored == 3 * 80
            correct = [record.scores["correct"] for record in await experiment.trials()]
            print(f"{experiment.name}: {sum(correct)} of {len(correct)} correct")
        result = ct.stats.welch_t(latency(await a.metrics()), latency(await b.metrics()))
        low, high = result.interval
        print(
            f"mean latency, b − a: {result.estimate:+.2f} ms, 95 % interval {low:+.2f} to {high:+.2f}"
        )


if __name__ == "__main__":
    anyio.run(main)
