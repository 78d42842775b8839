"""SQL over a lab: `python benchmarks/sql.py [--quick]`; prints what RESULTS.md keeps.

Aggregates over a million events (`--quick`: 200,000) by `lab.sql`, of a lab in memory, in SQLite and in PostgreSQL,
and by DuckDB alone over the Parquet file that `export` writes; the loop's lag meanwhile. Then windows over a
run of eight hours.
"""

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb
from keeping import T0_US
from lag import Heartbeat
from scale import mixed_event

import crucible_telemetry as ct

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import servers

EIGHT_HOURS_US = 8 * 3_600_000_000
QUERIES = {
    "count by name": "SELECT event_name, count(*) FROM events GROUP BY 1",
    "p99 and cost by model": (
        "SELECT model, quantile_cont(latency_ms, 0.99), sum(cost_usd) FROM events GROUP BY 1"
    ),
    "failures by the hour": (
        "SELECT date_trunc('hour', {time}), count(*) FROM events WHERE outcome = 'error' GROUP BY 1"
    ),
    "a key of the measurements": "SELECT max({key}) FROM events",
}
LAB = {"time": "time", "key": "(measurements->>'duration_ms')::double"}
FILE = {"time": "make_timestamp(timestamp_us)", "key": '"measurements.duration_ms"'}
"""The same in a lab's relation and in the columns of an exported file."""


async def filled(lab: ct.Lab, n: int) -> ct.Experiment:
    exp = await lab.start_experiment("sql", capture="scope")
    async with exp.trial(item="q"):
        for i in range(n):
            name, measurements, metadata = mixed_event(i)
            at_us = T0_US + i * EIGHT_HOURS_US // n
            await ct.execute(name, measurements, metadata, at_us=at_us)
    await exp.flush()
    return exp


async def asked(lab: ct.Lab, exp: ct.Experiment, label: str) -> None:
    async with Heartbeat() as beat:
        for title, query in QUERIES.items():
            began = time.perf_counter()
            await lab.sql(query.format(**LAB))
            tell(label, title, began)
        began = time.perf_counter()
        await exp.windowed_metrics(timedelta(minutes=5), timedelta(minutes=1))
        tell(label, "`windowed_metrics`, 5 minutes every minute", began)
    late = str(beat).replace(" | ", ", ")
    print(f"| {label} | the loop's lag: p50, p95, p99, most; waited, % | {late} |", flush=True)


def tell(label: str, title: str, began: float) -> None:
    print(f"| {label} | {title} | {(time.perf_counter() - began) * 1000:,.0f} |", flush=True)


async def measure(places: dict[str, object], folder: Path, n: int) -> None:
    print(f"### SQL over {n:,} events of eight hours\n")
    print("| where | what | ms |\n| - | - | -: |")
    for label, url in places.items():
        async with ct.Lab(url) as lab:
            exp = await filled(lab, n)
            await asked(lab, exp, label)
            if label == "memory":
                await exp.export(folder / "events.parquet")
    by_file(folder / "events.parquet")


def by_file(path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW events AS SELECT * FROM '{path}'")
        for title, query in QUERIES.items():
            began = time.perf_counter()
            connection.execute(query.format(**FILE)).fetchall()
            tell("Parquet, DuckDB alone", title, began)


def main() -> None:
    n = 200_000 if "--quick" in sys.argv else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places: dict[str, object] = {"memory": "memory", "SQLite": folder / "sql.db"}
        try:
            server = servers.Postgres()
        except servers.CannotStart as why:
            print(f"PostgreSQL cannot start here: {why}\n")
            asyncio.run(measure(places, folder, n))
            return
        try:
            asyncio.run(measure(places | {"PostgreSQL": server.url()}, folder, n))
        finally:
            server.remove()


if __name__ == "__main__":
    main()
