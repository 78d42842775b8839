"""How late the loop is: `python benchmarks/lag.py [--quick]`; prints what RESULTS.md keeps.

A task wants to be woken each millisecond while four others emit with `await ct.execute`: as fast as they can,
and half as fast; into memory, SQLite and PostgreSQL, in turn. Beside them a logger that commits each call.
"Waited" is the share of the time in which the loop's thread was ready and had no processor: where it is
more than a few per cent, other programs are in the figures.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

import numpy as np
from scale import mixed_event

import crucible_telemetry as ct

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import servers

BEAT_S = 0.001
EMITTERS = 4
PACE_S = 0.005
"""How often an emitter that is paced emits what is due."""
HEAD = (
    "| | events/s | p50, ms | p95 | p99 | most | waited, % |\n| - | -: | -: | -: | -: | -: | -: |"
)


class Heartbeat:
    """How late the loop wakes a task that wants to be woken each millisecond."""

    def __init__(self) -> None:
        self.late_ms: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        self._waited_ns = -waited_ns()
        self._began = time.perf_counter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._waited_ns += waited_ns()
        self._took_s = time.perf_counter() - self._began

    async def _beat(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(BEAT_S)
            self.late_ms.append((time.perf_counter() - began - BEAT_S) * 1000)

    def __str__(self) -> str:
        figures = np.quantile(self.late_ms, (0.5, 0.95, 0.99, 1.0))
        share = self._waited_ns / 1e9 / self._took_s
        return " | ".join([*(f"{figure:.1f}" for figure in figures), f"{share * 100:.0f}"])


def waited_ns() -> int:
    """How long this thread was ready to run and had no processor; 0 where the system does not tell."""
    try:
        told = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text()
    except OSError:
        return 0
    return int(told.split()[1])


class Load:
    """Four tasks that emit for some seconds: as fast as they can, or so many events a second."""

    def __init__(self, exp: ct.Experiment, seconds: float, per_s: float | None = None) -> None:
        self.exp, self.per_s = exp, per_s
        self.began = time.perf_counter()
        self.until = self.began + seconds

    @property
    def runs(self) -> bool:
        return time.perf_counter() < self.until

    async def run(self, *others: Awaitable[None]) -> None:
        await asyncio.gather(*[self._emit() for _ in range(EMITTERS)], *others)
        self.took_s = time.perf_counter() - self.began

    async def _emit(self) -> None:
        async with self.exp.trial(item="q"):
            i = 0
            while self.runs:
                for _ in range(1 if self.per_s is None else self._due(i)):
                    i += 1
                    await ct.execute(*mixed_event(i))
                if self.per_s is not None:
                    await asyncio.sleep(PACE_S)

    def _due(self, emitted: int) -> int:
        return int((time.perf_counter() - self.began) * self.per_s / EMITTERS) - emitted

    async def read(self) -> None:
        """Windows and metrics, one after the other."""
        while self.runs:
            await self.exp.windowed_metrics(timedelta(minutes=1))
            await self.exp.window(ct.LastN(200))
            await self.exp.metrics()


async def lag(
    url: object, label: str, seconds: float, *, per_s: float | None = None, reading: bool = False
) -> float:
    """Print how late the loop is; events a second. `reading`: windows and metrics are read meanwhile."""
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("bench", capture="scope")
        load = Load(exp, seconds, per_s)
        async with Heartbeat() as beat:
            await load.run(*([load.read()] if reading else []))
        rate = exp.counts.stored / load.took_s
        print(f"| {label} | {rate:,.0f} | {beat} |", flush=True)
        return rate


async def logged(path: Path, seconds: float) -> None:
    """The same events by a logger that commits each of them; it gives way after each sixteenth."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE log (name TEXT, at REAL, event TEXT)")
    i, began = 0, time.perf_counter()
    async with Heartbeat() as beat:
        while time.perf_counter() < began + seconds:
            i += 1
            name, measurements, metadata = mixed_event(i)
            row = (name, time.time(), json.dumps({**measurements, **metadata}))
            connection.execute("INSERT INTO log VALUES (?, ?, ?)", row)
            connection.commit()
            if i % 16 == 0:
                await asyncio.sleep(0)
    connection.close()
    print(f"| logger that commits each call | {i / seconds:,.0f} | {beat} |", flush=True)


async def measure(places: dict[str, Callable[[int], object]], folder: Path, seconds: float) -> None:
    print("### The loop's lag while four tasks emit with `await ct.execute`\n")
    print(HEAD)
    await logged(folder / "log.db", min(seconds, 3))
    turn = iter(range(100))
    for label, url in places.items():
        full = await lag(url(next(turn)), f"{label}, as fast as they can", seconds)
        await lag(url(next(turn)), f"{label}, half as fast", seconds, per_s=full / 2)
        await lag(url(next(turn)), f"{label}, as fast, read at once", seconds, reading=True)


def main() -> None:
    seconds = 3 if "--quick" in sys.argv else 10
    with tempfile.TemporaryDirectory() as folder:
        places: dict[str, Callable[[int], object]] = {
            "memory": lambda _: "memory",
            "SQLite": lambda turn: Path(folder) / f"lag{turn}.db",
        }
        try:
            server = servers.Postgres()
        except servers.CannotStart as why:
            print(f"PostgreSQL cannot start here: {why}\n")
            asyncio.run(measure(places, Path(folder), seconds))
            return
        places["PostgreSQL"] = lambda _: server.url()
        try:
            asyncio.run(measure(places, Path(folder), seconds))
        finally:
            server.remove()


if __name__ == "__main__":
    main()
