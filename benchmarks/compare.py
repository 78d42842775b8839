"""Comparing two experiments of one million events each, intervals of p50, p90, p95 and p99 included: bar 2 s.

    python benchmarks/compare.py            # a million
    python benchmarks/compare.py 100000

Also says how long the event loop was kept from other work meanwhile: by the clock, which counts what else the
machine does, and by the processor time of the loop's own thread.
"""

import sys
import time

import anyio
import numpy as np

import crucible_telemetry as ct

BAR_S = 2.0


async def main(events: int) -> None:
    rng = np.random.default_rng(1)
    async with ct.Lab(prices=False) as lab:
        ids = []
        for name, shift in (("control", 0.0), ("treatment", 0.02)):
            exp = await lab.start_experiment(name, capture="scope")
            with exp.scope():
                for ms in (1000 * rng.lognormal(shift, 0.5, events)).tolist():
                    await ct.execute("llm.request.stop", {"duration_ms": ms})
            await exp.stop()
            ids.append(exp.id)
        await lab.compare_experiments(ids, metric="success")  # SciPy loads here, once in a process
        for metric in ("latency_ms", "latency_ms.p99"):
            began, spent, lag = time.perf_counter(), time.process_time(), Lag()
            async with anyio.create_task_group() as group:
                group.start_soon(lag.watch)
                found = await lab.compare_experiments(ids, metric=metric)
                group.cancel_scope.cancel()
            took, spent = time.perf_counter() - began, time.process_time() - spent
            print(
                f"{metric}: {took:.2f} s of {BAR_S} s ({spent:.2f} s of the processor), loop kept "
                f"{1000 * lag.worst_s:.0f} ms at most, {1000 * lag.own_s:.0f} ms of them its own"
            )
            print(found)


class Lag:
    """How late a task wakes up that sleeps 5 ms at a time."""

    worst_s = own_s = 0.0

    async def watch(self) -> None:
        while True:
            began, own = time.perf_counter(), time.thread_time()
            await anyio.sleep(0.005)
            self.worst_s = max(self.worst_s, time.perf_counter() - began - 0.005)
            self.own_s = max(self.own_s, time.thread_time() - own)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
