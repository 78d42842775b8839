"""A lab on a file: `python benchmarks/keeping.py [--quick]`; prints what RESULTS.md keeps, progress on stderr.

The whole way into SQLite beside memory and beside a logger that commits each call; a long run (ten million
events over ten days; `--quick`: one million): how it is read, how large it is, what memory that takes, and
how late the loop is meanwhile; many experiments that do nothing. The loop at full load: `lag.py`.
"""

import asyncio
import gc
import resource
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from lag import HEAD, Heartbeat, logged
from scale import DAY_US, mixed_event, resident_bytes

import crucible_telemetry as ct

MILLION = 1_000_000
T0_US = 1_700_000_000_000_000


@asynccontextmanager
async def timed(found: dict, name: str):
    began = time.perf_counter()
    yield
    found[name] = time.perf_counter() - began


def progress(text: str) -> None:
    print(f"\r{text}", end="", file=sys.stderr, flush=True)


async def emitting(exp, n: int, span_us: int | None = None) -> None:
    """`n` mixed events, now or spread over a time."""
    async with exp.trial(item="q17"):
        for i in range(n):
            name, measurements, metadata = mixed_event(i)
            at_us = None if span_us is None else T0_US + i * span_us // n
            await ct.execute(name, measurements, metadata, at_us=at_us)
            if not i % (MILLION // 4):
                progress(f"{i:,} of {n:,} events")
    await exp.flush()
    progress("")


async def rate(url, n: int) -> float:
    """Events a second through the whole way: emitted, stored, counted; on the disk where there is one."""
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("bench", capture="scope")
        began = time.perf_counter()
        await emitting(exp, n)
        assert exp.counts.stored == n
        return n / (time.perf_counter() - began)


async def rates(folder: Path, n: int) -> None:
    print("### The whole way, a lab on a file beside one in memory\n")
    print("| round | memory, events/s | SQLite, events/s | SQLite / memory |\n| - | -: | -: | -: |")
    for turn in range(3):
        memory, lasting = await rate("memory", n), await rate(folder / f"rate{turn}.db", n)
        print(
            f"| {turn + 1} | {memory:,.0f} | {lasting:,.0f} | {lasting / memory:.2f} |", flush=True
        )
    print(f"\nBeside them, with the loop's lag:\n\n{HEAD}")
    await logged(folder / "log.db", 2)


async def filled(path: Path, n: int) -> str:
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("long", capture="scope")
        await emitting(exp, n, 10 * DAY_US)
        return exp.id


async def long_run(folder: Path, n: int) -> None:
    path = folder / "long.db"
    began = time.perf_counter()
    async with Heartbeat() as filling:
        one = await filled(path, n)
    took = time.perf_counter() - began
    print(f"\n### A run of {n:,} events over ten days, reopened\n")
    size = path.stat().st_size / n
    print(
        f"Filled in {took:.0f} s, {n / took:,.0f} events/s; {size:.0f} bytes an event on the disk.\n"
    )
    beats = {"while one task fills": filling}
    await read_again(path, one, n, beats)
    print("\n| the loop's lag | p50, ms | p95 | p99 | most | waited, % |")
    print("| - | -: | -: | -: | -: | -: |")
    for label, beat in beats.items():
        print(f"| {label} | {beat} |")


async def read_again(path: Path, one: str, n: int, beats: dict[str, Heartbeat]) -> None:
    gc.collect()
    sizes = [resident_bytes()]
    found: dict[str, float] = {}
    async with timed(found, "open the lab"):
        lab = await ct.Lab(path).open()
    exp = lab.get_experiment(one)
    await short_windows(exp, found)
    async with Heartbeat() as beats["windows over all of it"]:
        await long_windows(exp, n, found)
    sizes.append(resident_bytes())
    async with Heartbeat() as beats["`metrics()`"], timed(found, "`metrics()`"):
        summary = await exp.metrics()
    assert summary.exact
    assert summary.summary.total_events == n
    sizes += [resident_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]
    await lab.close()
    print("| | ms |\n| - | -: |")
    for name, seconds in found.items():
        print(f"| {name} | {seconds * 1000:,.1f} |")
    told = " → ".join(f"{size / 2**20:.0f}" for size in sizes)
    print(f"\nResident memory, MiB: before → windows read → metrics read → most ever: {told}.")


async def short_windows(exp, found: dict[str, float]) -> None:
    middle_us = T0_US + 5 * DAY_US
    for turn in ("first", "again"):
        async with timed(found, f"a window of five minutes, {turn}"):
            await exp.window(ct.Between(middle_us, middle_us + 300_000_000))
        async with timed(found, f"`LastN(200)`, {turn}"):
            await exp.window(ct.LastN(200))


async def long_windows(exp, n: int, found: dict[str, float]) -> None:
    for minutes in (5, 60, 24 * 60):
        async with timed(found, f"`windowed_metrics`, every {minutes} minutes"):
            rows = await exp.windowed_metrics(timedelta(minutes=minutes))
        assert not rows[0].exact
        assert sum(row.event_count for row in rows) == n


async def idle(folder: Path, n: int = 1000) -> None:
    path = folder / "idle.db"
    print(f"\n### {n:,} experiments that do nothing\n")
    async with ct.Lab(path) as lab:
        began = time.perf_counter()
        experiments = [await lab.start_experiment(f"e{i}", capture="scope") for i in range(n)]
        print(f"Started in {(time.perf_counter() - began):.1f} s.")
        await asyncio.sleep(0.5)
        cpu, writer = time.process_time(), lab._durable.writer
        await asyncio.sleep(2)
        print(
            f"CPU while nothing happens: {(time.process_time() - cpu) / 2 * 100:.1f} % of a core."
        )
        cpu, commits = time.process_time(), writer.commits
        until = time.perf_counter() + 2
        async with experiments[0].trial(item="q"):
            while time.perf_counter() < until:
                await ct.execute(*mixed_event(1))
                await asyncio.sleep(0.1)
        print(
            f"While one of them gets ten events a second: {(time.process_time() - cpu) / 2 * 100:.1f} %, "
            f"{(writer.commits - commits) / 2:.0f} commits a second."
        )
        began = time.perf_counter()
    print(f"Closed in {time.perf_counter() - began:.1f} s.")
    began = time.perf_counter()
    lab = await ct.Lab(path).open()
    print(f"Opened again in {time.perf_counter() - began:.2f} s.")
    await lab.close()


async def everything(folder: Path, *, quick: bool) -> None:
    await rates(folder, 200_000)
    await long_run(folder, MILLION if quick else 10 * MILLION)
    await idle(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(everything(Path(folder), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
