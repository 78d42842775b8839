"""What taking away costs: `python benchmarks/export.py [--quick]`; events a second, the loop's lag, memory.

One million typical events (a tenth with --quick) as JSON Lines, CSV and Parquet, beside msgspec encoding the same
events from ready objects and pyarrow writing the same table when it is ready; an archive and its restoring; a heartbeat on the loop says how long others wait meanwhile.
"""

import gc
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
import msgspec
from event import typical_event
from scale import filled, mixed_event, resident_bytes
from stage import Stage

import crucible_telemetry as ct

MILLION = 1_000_000
BEAT_S = 0.002
TURNS = 7


async def heartbeat(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await anyio.sleep(BEAT_S)
        lags.append((time.perf_counter() - began - BEAT_S) * 1e3)


async def timed(exp, path: Path) -> tuple[float, float, float, float]:
    """(seconds, seconds of CPU, ms of lag at the 99th percentile, MB grown) of one export."""
    lags: list[float] = []
    gc.collect()
    before = resident_bytes()
    most = before
    async with anyio.create_task_group() as group:
        group.start_soon(heartbeat, lags)
        began, cpu = time.perf_counter(), time.process_time()
        await exp.export(path)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        most = max(most, resident_bytes())
        group.cancel_scope.cancel()
    return took, cpu, statistics.quantiles(lags, n=100)[98], (most - before) / 2**20


async def encoded(exp) -> float:
    """Events a second of msgspec alone, on the events of one page."""
    async for page in exp.pages(size=10_000):
        began = time.perf_counter()
        for event in page:
            msgspec.json.encode(event)
        return len(page) / (time.perf_counter() - began)
    return 0.0


def cpu(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def beside_pyarrow(stage: Stage, exp, path: Path) -> tuple[float, float]:
    """Seconds of CPU for the Parquet file, and for pyarrow to write its table when that is ready; in turns, minima."""
    import pyarrow.parquet as pq

    table, ours, alone = pq.read_table(path), [], []
    for _ in range(TURNS):
        ours.append(cpu(lambda: stage.run(exp.export(path, what="events"))))
        again = partial(
            pq.write_table, table, path.with_suffix(".again"), compression="zstd",
            row_group_size=65_536, write_page_checksum=True,
        )  # fmt: skip
        alone.append(cpu(again))
    return min(ours), min(alone)


def nested_event(i):
    """The typical event with what else prompts have: an id of its own, a number, a dictionary and a list."""
    name, measurements, metadata = typical_event(i)
    metadata |= {"prompt_id": f"p-{i}", "temperature": (i % 10) / 10, "labels": ["a", "b"]}
    metadata["user"] = {"name": f"u{i % 50}", "plan": "pro"}
    return name, measurements, metadata


def parquet(stage: Stage, folder: Path, n: int) -> None:
    print("\n| Parquet of | µs of CPU an event | pyarrow, of the ready table | ratio |")
    print("|---|---:|---:|---:|")
    loads = {"typical": typical_event, "mixed": mixed_event, "nested metadata": nested_event}
    for name, event in loads.items():
        exp = stage.start(privacy="full")
        stage.run(filled(exp, n, event))
        path = stage.run(exp.export(folder / "p.parquet", what="events"))
        ours, alone = beside_pyarrow(stage, exp, path)
        print(f"| {name} | {ours / n * 1e6:.2f} | {alone / n * 1e6:.2f} | {ours / alone:.2f} |")
        stage.run(exp.cleanup())


async def archived(exp, path: Path) -> tuple[float, float]:
    """Seconds to pack an experiment, and to bring it back."""
    began = time.perf_counter()
    await exp.checkpoint(path)
    packed = time.perf_counter() - began
    async with ct.Lab() as lab:
        await lab.restore(path)
        return packed, time.perf_counter() - began - packed


def main() -> None:
    n = MILLION // 10 if "--quick" in sys.argv[1:] else MILLION
    stage = Stage()
    exp = stage.start()
    stage.run(filled(exp, n))
    print(f"### Exports of {n:,} typical events\n")
    print(
        "| file | events a second | a second of CPU | MB | the loop's lag, p99 ms | memory grown, MB |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("e.jsonl", "e.csv", "e.jsonl.gz", "e.jsonl.zst", "e.parquet", "e.arrow"):
            path = Path(folder) / name
            took, cpu, lag, grown = stage.run(timed(exp, path))
            size = path.stat().st_size / 1e6
            print(
                f"| {name} | {n / took:,.0f} | {n / cpu:,.0f} | {size:,.0f} | {lag:.1f} | {grown:.0f} |"
            )
        parquet(stage, Path(folder), max(n // 5, 100_000))
        kept = stage.run(archived(exp, Path(folder) / "kept"))
        began = time.perf_counter()
        loaded = stage.run(ct.load(Path(folder) / "e.jsonl"))
        took = time.perf_counter() - began
        assert stage.run(loaded.metrics()).latency == stage.run(exp.metrics()).latency
    print(f"\narchive: {n / kept[0]:,.0f} events a second, restored: {n / kept[1]:,.0f}")
    print(f"\nmsgspec alone, of ready events: {stage.run(encoded(exp)):,.0f} a second")
    print(f"ct.load of e.jsonl: {n / took:,.0f} events a second\n")
    stage.run(exp.cleanup())
    stage.close()


if __name__ == "__main__":
    main()
