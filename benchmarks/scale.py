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
from crucible_telemetry.events.columns import DTYPES, ENDS, FILL, LLM
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.stores.base import Query

DAY_US = 86_400_000_000
MILLION = 1_000_000
ROUNDS = 21
QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
RARE_EVERY = 10_000
"""In the mixed load, one event in so many is of a rare name."""
LATENCIES_NS = np.random.default_rng(7).lognormal(20.5, 0.6, 99_991).astype(int).tolist()


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def mixed_event(i):
    """Calls to four models, one in fifty failing, a log-normal latency; beside them stages and, rarely, alarms."""
    if i % RARE_EVERY == 0:
        return "lab.alarm", {"level": i % 3}, {"note": "rare"}
    if i % 4 == 0:
        return "pipeline.stage.stop", {"duration_ms": i % 997}, {"stage": "parse"}
    name, measurements, metadata = typical_event(i)
    measurements["duration"] = LATENCIES_NS[i % len(LATENCIES_NS)]
    metadata["model"] = ("gpt-4o", "gpt-4o-mini", "o3", "o4-mini")[i % 7 % 4]
    metadata["finish_reason"] = "stop" if i % 50 else "error"
    return name, measurements, metadata


async def filled(exp, n: int, event=typical_event) -> None:
    """`n` events spread evenly over a day."""
    async with exp.trial(item="q17"):
        for i in range(n):
            name, measurements, metadata = event(i)
            await ct.execute(
                name, measurements, metadata, at_us=1_700_000_000_000_000 + i * DAY_US // n
            )
    await exp.flush()
    exp.live()


def mixed(stage: Stage, options: Options) -> None:
    exp = stage.start()
    stage.run(filled(exp, MILLION, mixed_event))
    print("### (e) The same of a mixed load\n")
    print(at_rest(stage, exp, options), "\n")
    windows(stage, exp)
    filters(stage, exp)
    stage.run(exp.cleanup())


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
    """The figures of `metrics()`, by NumPy on ready arrays: the same pools, the same figures."""
    outcome, model, latency = columns["outcome"], columns["model"], columns["latency_ns"]
    times = columns["timestamp_us"]
    found = [times.min(), times.max(), np.bincount(columns["shape"]), np.bincount(columns["error"])]
    pooled = (columns["flags"] & (ENDS | LLM)) == ENDS | LLM
    found += [ended := np.bincount(chosen(outcome, pooled))]
    for code in np.flatnonzero(ended):
        found += spread(chosen(latency, pooled & (outcome == code) & (latency >= 0)) / 1e6)
    priced = columns["cost_pico"] >= 0
    cost, of = chosen(columns["cost_pico"], priced) / 1e12, chosen(model, priced)
    found += [*spread(cost, (0.5,)), cost.sum(), np.count_nonzero(pooled & ~priced)]
    found += [np.bincount(of), np.bincount(of, cost)]
    for name in ("prompt", "completion", "total"):
        told = columns[name] >= 0
        values = chosen(columns[name], told)
        found += [values.sum(), values.mean(), np.bincount(chosen(model, told), values)]
    paced = pooled & (outcome == Outcome.OK) & (columns["completion"] >= 0) & (latency >= 0)
    found += [chosen(columns["completion"], paced).sum() / chosen(latency, paced).sum()]
    return found


def chosen(values, mask):
    """Those of the mask; no copy where it leaves nothing out."""
    return values if mask.all() else values[mask]


def spread(values, quantiles=QUANTILES) -> list:
    if not len(values):
        return []
    found = [values.mean(), values.std(ddof=1), values.var(ddof=1), values.min(), values.max()]
    return [*found, *np.quantile(values, quantiles)]


async def _collected(parts) -> list:
    return [part async for part in parts]


NAMES = ("timestamp_us", "flags", "outcome", "shape", "model", "error")
OPTIONAL = ("latency_ns", "cost_pico", "prompt", "completion", "total")


def ready_arrays(stage: Stage, exp) -> dict:
    parts = stage.run(_collected(exp._collector.store.columns(Query())))
    ready = {name: np.concatenate([getattr(part, name) for part in parts]) for name in NAMES}
    for name in OPTIONAL:
        columns = (getattr(part, name) for part in parts)
        ready[name] = np.concatenate(
            [
                np.full(len(part), FILL[name], DTYPES[name]) if column is None else column
                for part, column in zip(parts, columns, strict=True)
            ]
        )
    return ready


def at_rest(stage: Stage, exp, options: Options) -> str:
    ready = ready_arrays(stage, exp)

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


def filters(stage: Stage, exp) -> None:
    """Filters over the mixed load: what they cost is the columns to look at, and the rows that may fit."""
    wanted = {
        "failures": ct.Where(outcome="error"),
        "one model": ct.Where(model="o3"),
        "a rare name": ct.Where(event="lab.alarm"),
        "a rare measurement": ct.Where(measurement={"level": ct.Ge(2)}),
        "a rare name and metadata": ct.Where(event="lab.alarm", metadata={"note": "rare"}),
        "nobody's item": ct.Where(sample_id="q18"),
    }
    print("| of one million mixed events | found | LastN(200), ms | count, ms | metrics, ms |")
    print("|---|---:|---:|---:|---:|")
    for title, where in wanted.items():
        found = stage.run(exp.count_events(where))
        reads = (
            lambda where=where: exp.window(ct.LastN(200), where),
            lambda where=where: exp.count_events(where),
            lambda where=where: exp.metrics(where),
        )
        times = " | ".join(f"{median_ms(stage, read):.1f}" for read in reads)
        print(f"| {title} | {found:,} | {times} |")
    print()


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
    mixed(stage, options)
    print("### (f) Flat\n")
    flatness(stage, quick=quick)
    stage.close()


if __name__ == "__main__":
    main()
