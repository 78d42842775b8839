"""An experiment from start to file: a few calls, live figures while it runs, figures at rest, JSON Lines."""

import random
import tempfile
from pathlib import Path

import anyio

import crucible_telemetry as ct


async def ask(question: str) -> str:
    """Stands for a streaming call to a model: three chunks, some of them late."""
    async with ct.llm_call(provider="example", model="small-1") as call:
        for _ in range(3):
            await anyio.sleep(random.uniform(0.001, 0.004))
            call.chunk(tokens=4)
        if question == "q7":
            raise TimeoutError("the model did not answer")
        call.usage(input_tokens=len(question) + 20, output_tokens=12)
        call.cost(0.0004)
    return "42"


async def main() -> None:
    async with ct.Lab() as lab:
        async with lab.experiment("small_baseline", condition="control", tags=["h1"]) as exp:
            for number in range(20):
                try:
                    async with exp.trial(item=f"q{number}") as trial:
                        answer = await ask(f"q{number}")
                        trial.score(correct=answer == "42")
                except TimeoutError:
                    pass  # the trial has recorded it; the run goes on
            live = exp.live()
            print(
                f"while running: {live.reliability.total_requests} calls, p50 {live.latency.p50:.1f} ms"
            )

        summary = await exp.metrics()  # stopped here; the data stays
        print(f"mean latency   {summary.latency.mean:.2f} ms, p99 {summary.latency.p99:.2f} ms")
        print(f"first token    {summary.streaming.ttft.p50:.2f} ms")
        print(
            f"success rate   {summary.reliability.success_rate:.0%} {summary.reliability.error_types}"
        )
        print(
            f"cost           ${summary.cost.total:.4f}, ${summary.cost.cost_per_success:.5f} a success"
        )
        print(f"the account    {exp.counts}")

        with tempfile.TemporaryDirectory() as folder:
            path = await exp.export(Path(folder) / "small_baseline.jsonl")
            print(f"exported       {path.name}, {len(path.read_bytes().splitlines())} events")


if __name__ == "__main__":
    anyio.run(main)
