"""A burst as it feels to the caller: `python benchmarks/burst.py`. One million events, 10,000 at a time.

Prints what single emits cost (the tail is the emitter that finds the mailbox full and empties it), how late
the event loop was meanwhile, and the memory it took (F8).
"""

import asyncio
import time

import numpy as np
from event import typical_event
from scale import resident_bytes
from stage import Stage

import crucible_telemetry as ct

EVENTS, BURST = 1_000_000, 10_000


async def ticker(lags_ms: list[float]) -> None:
    """How much later than asked for a 1 ms sleep ends, again and again."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        lags_ms.append((time.perf_counter() - began - 0.001) * 1e3)


async def burst(exp, *, wait: bool) -> tuple[np.ndarray, list[float]]:
    took_ns, lags_ms = np.zeros(EVENTS, np.int64), []
    ticking = asyncio.ensure_future(ticker(lags_ms))
    clock = time.perf_counter_ns
    async with exp.trial(item="q17"):
        for start in range(0, EVENTS, BURST):
            for i in range(start, start + BURST):
                event = typical_event(i)
                began = clock()
                if wait:
                    await ct.execute(*event)
                else:
                    ct.execute_nowait(*event)
                took_ns[i] = clock() - began
            await asyncio.sleep(0)
    await exp.flush()
    ticking.cancel()
    assert exp.counts.stored == exp.counts.emitted == EVENTS
    return took_ns, lags_ms


def main() -> None:
    stage = Stage()
    print(
        "| one million in bursts of 10,000 | p50 µs | p99 µs | p99.9 µs | max ms | loop lag p99 ms | max ms | memory |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, wait in (("execute_nowait", False), ("await execute", True)):
        before = resident_bytes()
        exp = stage.start()
        took_ns, lags_ms = stage.run(burst(exp, wait=wait))
        p50, p99, p999 = (np.quantile(took_ns, q) / 1e3 for q in (0.5, 0.99, 0.999))
        print(
            f"| {name} | {p50:.1f} | {p99:.1f} | {p999:.0f} | {took_ns.max() / 1e6:.1f} "
            f"| {np.quantile(lags_ms, 0.99):.1f} | {max(lags_ms):.1f} "
            f"| {(resident_bytes() - before) / 2**20:.0f} MiB |"
        )
        stage.run(exp.cleanup())
    stage.close()


if __name__ == "__main__":
    main()
