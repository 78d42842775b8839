"""What grows and what must not: `python benchmarks/scale.py [--quick]`. See RESULTS.md.

(d) resident memory an event at one million; (e) metrics at rest against NumPy on ready arrays, windows of
a million; (f) cost an event from 10 thousand to 3 million events and from 1 to 1,000 experiments.
"""

import gc
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from event import typical_event
from measure import MIN_PAIRS, Contender, Options, compare, table
from stage import Stage, _burst

import crucible_telemetry as ct

DAY_US = 86_400_000_000
MILLION = 1_000_000
ROUNDS = 21


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def filled(exp, n: int) -> None:
    """`n` typical events spread evenly over a day."""
    async with exp.trial(item="q17"):
        for i in range(n):
            name, measurements, metadata = typical_event(i)
            await ct.execute(
                name, measurements, metadata, at_us=1_700_000_000_000_000 + i * DAY_US // n
            )
    await exp.flush()
    exp.live()


def memory(stage: Stage, n: int):
    gc.collect()
    before = resident_bytes()
    exp = stage.start()
    stage.run(filled(exp, n))
    gc.collect()
    print(
        f"(d) resident memory at {n:,} events: {(resident_bytes() - before) / n:.0f} bytes an event\n"
    )
    return exp


def numpy_figures(columns) -> list:
    """The figures of `metrics()`, by NumPy on ready arrays."""
    found = []
    quantiles = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
    for array, scale in ((columns["latency_ns"], 1e6),):
        values = array / scale
        found += [values.mean(), values.std(ddof=1), values.var(ddof=1), values.min(), values.max()]
        found += list(np.quantile(values, quantiles))
    for name in ("prompt", "completion", "total"):
        found += [columns[name].sum(), columns[name].mean()]
    outcome = columns["outcome"]
    found += [np.count_nonzero(outcome == code) for code in range(6)]
    found += [np.bincount(columns["shape"]).max(), np.bincount(columns["model"]).max()]
    return found


async def _collected(parts) -> list:
    return [part async for part in parts]


def at_rest(stage: Stage, exp, options: Options) -> str:
    from crucible_telemetry.stores.base import Query

    parts = stage.run(_collected(exp._collector.store.columns(Query())))
    names = ("latency_ns", "prompt", "completion", "total", "outcome", "shape", "model")
    ready = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}

    def by_numpy(calls: int) -> None:
        for _ in range(calls):
            numpy_figures(ready)

    def by_metrics(calls: int) -> None:
        for _ in range(calls):
            stage.run(exp.metrics())

    baseline = Contender("NumPy on ready arrays, a call", by_numpy)
    ours = Contender("metrics(), a call", by_metrics)
    chosen = options._replace(run_ms=0.001, pairs=MIN_PAIRS)
    rows = compare(baseline, [ours], chosen)
    return table(rows, chosen).replace("ns an event", "ns a call")


def median_ms(stage: Stage, make) -> float:
    """Of calls one after the other, as a page that refreshes makes them."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        stage.run(make())
        times.append((time.perf_counter_ns() - began) / 1e6)
    return statistics.median(times)


def windows(stage: Stage, exp) -> None:
    filtered = ct.Where(success=True, event="req_llm.*")
    five = ct.Last(minutes=5)
    count = len(stage.run(exp.window(five)))
    print("| reading one million events | ms, median |\n|---|---:|")
    print(f"| LastN(200) | {median_ms(stage, lambda: exp.window(ct.LastN(200))):.2f} |")
    print(
        f"| LastN(200) with a filter | {median_ms(stage, lambda: exp.window(ct.LastN(200), filtered)):.2f} |"
    )
    print(
        f"| the last five minutes ({count:,} events) | {median_ms(stage, lambda: exp.window(five)):.1f} |"
    )
    print(
        f"| the same with a filter | {median_ms(stage, lambda: exp.window(five, filtered)):.1f} |"
    )
    took = median_ms(stage, lambda: exp.windowed_metrics(300, 60))
    print(f"| windowed_metrics, 5 minutes every minute, a day | {took:.0f} |\n")


def per_event_ns(stage: Stage, n: int, experiments: int) -> float:
    """The whole way of `n` events spread over so many experiments, ns an event."""
    started = [stage.start() for _ in range(experiments)]
    each = max(n // experiments, 1)
    gc.collect()
    began = time.perf_counter_ns()
    for exp in started:
        stage.run(_burst(exp, each, typical_event, wait=False))
    for exp in started:
        stage.run(_read(exp))
    took = time.perf_counter_ns() - began
    for exp in started:
        stage.run(exp.cleanup())
    return took / (each * experiments)


async def _read(exp) -> None:
    assert exp.live().summary.total_events == exp.counts.emitted


def flatness(stage: Stage, *, quick: bool) -> None:
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, MILLION, 3 * MILLION)
    counts = (1, 10, 100) if quick else (1, 10, 100, 1000)
    per_event_ns(stage, 10_000, 1)
    for title, cases in (
        ("events in one experiment", [(n, 1) for n in sizes]),
        ("experiments of 1,000 events each", [(1_000 * k, k) for k in counts]),
    ):
        base = None
        print(f"| {title} | ns an event | × the first |\n|---|---:|---:|")
        for n, k in cases:
            rounds = 3 if n >= MILLION else 9
            ns = statistics.median(per_event_ns(stage, n, k) for _ in range(rounds))
            base = base or ns
            print(
                f"| {k if k > 1 or title.startswith('exp') else n:,} | {ns:,.0f} | {ns / base:.2f} |"
            )
        print()


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    options = Options.from_flags(sys.argv[1:])
    stage = Stage()
    exp = memory(stage, MILLION)
    print("### (e) Metrics and windows of one million\n")
    print(at_rest(stage, exp, options), "\n")
    windows(stage, exp)
    stage.run(exp.cleanup())
    print("### (f) Flat\n")
    flatness(stage, quick=quick)
    stage.close()


if __name__ == "__main__":
    main()
