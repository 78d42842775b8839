"""What taking away costs: `python benchmarks/export.py [--quick]`; events a second, the loop's lag, memory.

One million typical events (a tenth with --quick) as JSON Lines, CSV and Parquet, beside msgspec encoding the same
events from ready objects and pyarrow writing the same table when it is ready; an archive and its restoring; a heartbeat on the loop says how long others wait meanwhile.
"""

import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
import msgspec
from scale import filled, resident_bytes
from stage import Stage

import crucible_telemetry as ct

MILLION = 1_000_000
BEAT_S = 0.002


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


def cpu_of_pyarrow(path: Path) -> float:
    """Seconds of CPU to write the table of this file again."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    began = time.process_time()
    pq.write_table(
        table, path.with_suffix(".again"), compression="zstd", row_group_size=65_536, write_page_checksum=True
    )  # fmt: skip
    return time.process_time() - began


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
        parquet = cpu_of_pyarrow(Path(folder) / "e.parquet")
        kept = stage.run(archived(exp, Path(folder) / "kept"))
        began = time.perf_counter()
        loaded = stage.run(ct.load(Path(folder) / "e.jsonl"))
        took = time.perf_counter() - began
        assert stage.run(loaded.metrics()).latency == stage.run(exp.metrics()).latency
    print(f"\npyarrow alone, of the ready table: {n / parquet:,.0f} a second of CPU")
    print(f"\narchive: {n / kept[0]:,.0f} events a second, restored: {n / kept[1]:,.0f}")
    print(f"\nmsgspec alone, of ready events: {stage.run(encoded(exp)):,.0f} a second")
    print(f"ct.load of e.jsonl: {n / took:,.0f} events a second\n")
    stage.run(exp.cleanup())
    stage.close()


if __name__ == "__main__":
    main()
