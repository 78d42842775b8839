"""A lab on a file: `python benchmarks/keeping.py [--quick]`; prints what RESULTS.md keeps.

The whole way into SQLite beside memory and beside a logger that commits each call; the loop's lag
meanwhile; a long run (ten million events over ten days; `--quick`: one million): how it is read, and
how large it is; many experiments that do nothing.
"""

import asyncio
import gc
import json
import resource
import sqlite3
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Self

import numpy as np
from scale import DAY_US, mixed_event, resident_bytes

import crucible_telemetry as ct

MILLION = 1_000_000
BEAT_S = 0.001
FULL_LOAD_S = 10
T0_US = 1_700_000_000_000_000


class Heartbeat:
    """How late the loop wakes a task that wants to be woken each millisecond."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            self.late_ms.append((time.perf_counter() - began - BEAT_S) * 1000)

    def __str__(self) -> str:
        p50, p99, most = np.quantile(self.late_ms, (0.5, 0.99, 1.0))
        return f"{p50:.1f} | {p99:.1f} | {most:.0f}"


@asynccontextmanager
async def timed(found: dict, name: str):
    began = time.perf_counter()
    yield
    found[name] = time.perf_counter() - began


async def emitting(exp, n: int, span_us: int | None = None) -> None:
    """`n` mixed events, now or spread over a time."""
    async with exp.trial(item="q17"):
        for i in range(n):
            name, measurements, metadata = mixed_event(i)
            at_us = None if span_us is None else T0_US + i * span_us // n
            await ct.execute(name, measurements, metadata, at_us=at_us)
    await exp.flush()


async def rate(url, n: int) -> float:
    """Events a second through the whole way: emitted, stored, counted; on the disk where there is one."""
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("bench", capture="scope")
        began = time.perf_counter()
        await emitting(exp, n)
        assert exp.counts.stored == n
        return n / (time.perf_counter() - began)


async def logged(path: Path, n: int) -> float:
    """The same events by a logger that commits each of them."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE log (name TEXT, at REAL, event TEXT)")
    began = time.perf_counter()
    for i in range(n):
        name, measurements, metadata = mixed_event(i)
        row = (name, time.time(), json.dumps({**measurements, **metadata}))
        connection.execute("INSERT INTO log VALUES (?, ?, ?)", row)
        connection.commit()
        if i % 16 == 0:
            await asyncio.sleep(0)
    connection.close()
    return n / (time.perf_counter() - began)


async def rates(folder: Path, n: int) -> None:
    print("### The whole way, a lab on a file beside one in memory\n")
    print("| round | memory, events/s | SQLite, events/s | SQLite / memory |\n| - | -: | -: | -: |")
    for turn in range(3):
        memory, lasting = await rate("memory", n), await rate(folder / f"rate{turn}.db", n)
        print(f"| {turn + 1} | {memory:,.0f} | {lasting:,.0f} | {lasting / memory:.2f} |")
    async with Heartbeat() as beat:
        per_s = await logged(folder / "log.db", 20_000)
    print(f"\nA logger that commits each call: {per_s:,.0f} events/s.\n")
    print("### The loop's lag, ms: four tasks emit with `await ct.execute` as fast as they can\n")
    print("| | p50 | p99 | most |\n| - | -: | -: | -: |")
    print(f"| logger that commits each call | {beat} |")


async def lag(url, label: str, seconds: float, *, reading: bool) -> None:
    """How late the loop is at full load; `reading`: windows and metrics are read meanwhile."""
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("bench", capture="scope")
        stop = time.perf_counter() + seconds

        async def emit() -> None:
            async with exp.trial(item="q"):
                i = 0
                while time.perf_counter() < stop:
                    i += 1
                    await ct.execute(*mixed_event(i))

        async def read() -> None:
            while time.perf_counter() < stop:
                await exp.windowed_metrics(timedelta(minutes=1))
                await exp.window(ct.LastN(200))
                await exp.metrics()

        async with Heartbeat() as beat:
            readers = [read()] if reading else []
            await asyncio.gather(*[emit() for _ in range(4)], *readers)
        per_s = exp.counts.stored / seconds
        print(f"| {label}, {per_s:,.0f} events/s | {beat} |", flush=True)


async def lags(folder: Path, seconds: float) -> None:
    await lag("memory", "memory", seconds, reading=False)
    await lag(folder / "lag.db", "SQLite", seconds, reading=False)
    await lag(folder / "lag_read.db", "SQLite, read at once", seconds, reading=True)


async def filled(path: Path, n: int) -> str:
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("long", capture="scope")
        await emitting(exp, n, 10 * DAY_US)
        return exp.id


async def long_run(folder: Path, n: int) -> None:
    path = folder / "long.db"
    began = time.perf_counter()
    one = await filled(path, n)
    took = time.perf_counter() - began
    print(f"\n### A run of {n:,} events over ten days, reopened\n")
    print(f"Filled in {took:.0f} s; {path.stat().st_size / n:.0f} bytes an event on the disk.\n")
    gc.collect()
    before = resident_bytes()
    found: dict[str, float] = {}
    async with timed(found, "open the lab"):
        lab = await ct.Lab(path).open()
    exp = lab.get_experiment(one)
    await short_windows(exp, found)
    async with Heartbeat() as beat:
        await long_windows(exp, n, found)
    opened = resident_bytes()
    async with Heartbeat() as beat_metrics, timed(found, "`metrics()`"):
        summary = await exp.metrics()
    assert summary.exact
    assert summary.summary.total_events == n
    print("| | ms |\n| - | -: |")
    for name, seconds in found.items():
        print(f"| {name} | {seconds * 1000:,.1f} |")
    sizes = [
        before,
        opened,
        resident_bytes(),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    ]
    told = " → ".join(f"{size / 2**20:.0f}" for size in sizes)
    print(f"\nResident memory, MiB: before → windows read → metrics read → most ever: {told}.")
    print(
        f"\nThe loop's lag meanwhile, ms (p50, p99, most): windows {beat}; metrics {beat_metrics}."
    )
    await lab.close()


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
    await lags(folder, 3 if quick else FULL_LOAD_S)
    await long_run(folder, MILLION if quick else 10 * MILLION)
    await idle(folder)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(everything(Path(folder), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
