"""A lab on a server: `python benchmarks/postgres.py [--quick]`; prints what RESULTS.md keeps.

The whole way into PostgreSQL (one on this machine, on a socket, as it is set up by default) beside memory in
the same run, and how fast it is read again. The loop's lag meanwhile: `lag.py`.
"""

import asyncio
import sys
import time
from pathlib import Path

from keeping import emitting, rate

import crucible_telemetry as ct

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import servers


async def reading(url: str, n: int) -> None:
    """Figures over all events, of a lab that is opened anew."""
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("read", capture="scope")
        await emitting(exp, n)
    began = time.perf_counter()
    async with ct.Lab(url) as lab:
        opened = time.perf_counter()
        (found,) = lab.list_experiments()
        await found.metrics()
        read = time.perf_counter()
    print(f"\n{n:,} events: opened in {opened - began:.2f} s, `metrics()` in {read - opened:.2f} s")


async def measure(server: servers.Postgres, n: int) -> None:
    print("### The whole way, a lab on PostgreSQL beside one in memory\n")
    print("| round | memory, events/s | PostgreSQL, events/s | PostgreSQL / memory |")
    print("| - | -: | -: | -: |")
    for turn in range(3):
        memory, kept = await rate("memory", n), await rate(server.url(), n)
        print(f"| {turn + 1} | {memory:,.0f} | {kept:,.0f} | {kept / memory:.2f} |", flush=True)
    await reading(server.url(), n)


def main() -> None:
    quick = "--quick" in sys.argv
    try:
        server = servers.Postgres()
    except servers.CannotStart as why:
        print(f"PostgreSQL cannot start here: {why}")
        return
    try:
        asyncio.run(measure(server, 100_000 if quick else 500_000))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
