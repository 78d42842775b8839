"""Times contenders against one baseline, run by run in turn, and prints the ratios as a Markdown table.

A, B, A, B, …: each pair of neighbouring runs gives one ratio, so that what slows the machine for a
while slows both. The figure is the median of the ratios; its interval is the pair of order statistics
that holds the median with at least 95 % (binomial, exact). Nothing is assumed about how times spread.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

MIN_PAIRS = 30
WARM_UP_EVENTS = 300


def _nothing() -> None:
    """What most contenders need between two runs."""


class Contender(NamedTuple):
    """A way to record events: `record(n)` is timed, `reset()` runs untimed after each run."""

    name: str
    record: Callable[[int], object]
    reset: Callable[[], object] = _nothing


class Options(NamedTuple):
    """How to measure: runs of about `run_ms` milliseconds each, `pairs` of them for each contender.

    `gc_on` leaves Python's garbage collector running inside the timed part, as a program has it; a full
    collection happens before each run either way, so that no run pays for another's garbage.
    """

    pairs: int = 41
    run_ms: float = 40.0
    gc_on: bool = True

    @classmethod
    def from_flags(cls, flags: list[str]) -> "Options":
        """`--quick` (short runs, the fewest pairs) and `--gc-off`; any other flag is an error."""
        unknown = set(flags) - {"--quick", "--gc-off"}
        if unknown:
            raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: --quick --gc-off")
        chosen = cls(pairs=MIN_PAIRS, run_ms=4.0) if "--quick" in flags else cls()
        return chosen._replace(gc_on="--gc-off" not in flags)


class Row(NamedTuple):
    """One contender's result: median ns an event, and the median ratio to the baseline, low to high."""

    name: str
    ns: float
    ratio: float
    low: float
    high: float


@contextmanager
def _collector(*, gc_on: bool):
    before = gc.isenabled()
    gc.collect()
    if not gc_on:
        gc.disable()
    try:
        yield
    finally:
        (gc.enable if before else gc.disable)()


def time_run(contender: Contender, events: int, *, gc_on: bool) -> float:
    """Nanoseconds an event, of one run of `events`."""
    with _collector(gc_on=gc_on):
        start = time.perf_counter_ns()
        contender.record(events)
        took_ns = time.perf_counter_ns() - start
    contender.reset()
    return took_ns / events


def _events_for(contender: Contender, options: Options) -> int:
    """How many events make a run of the length asked for; the first, cold run is thrown away."""
    time_run(contender, WARM_UP_EVENTS, gc_on=options.gc_on)
    ns = time_run(contender, WARM_UP_EVENTS, gc_on=options.gc_on)
    return max(int(options.run_ms * 1e6 / ns), 20)


def median_ranks(n: int, confidence: float = 0.95) -> tuple[int, int]:
    """Positions (from 0) of the sorted values between which the median lies, by the sign test.

    Source: David & Nagaraja, Order Statistics, 3rd ed., section 7.1.
    """
    below, low = 0.0, 0
    while low < n // 2:
        below += math.comb(n, low) / 2**n
        if below > (1 - confidence) / 2:
            break
        low += 1
    return max(low - 1, 0), min(n - low, n - 1)


def _row(name: str, pairs: list[tuple[float, float]]) -> Row:
    ratios = sorted(own / base for base, own in pairs)
    low, high = median_ranks(len(ratios))
    ns = statistics.median(own for _, own in pairs)
    return Row(name, ns, statistics.median(ratios), ratios[low], ratios[high])


def compare(baseline: Contender, contenders: list[Contender], options: Options) -> list[Row]:
    """The baseline's row, then one for each contender, all measured in turns in this one call."""
    if options.pairs < MIN_PAIRS:
        raise ValueError(
            f"pairs: {options.pairs} give no interval worth printing, take {MIN_PAIRS}"
        )
    size = _events_for(baseline, options)
    sizes = [_events_for(contender, options) for contender in contenders]
    pairs: list[list[tuple[float, float]]] = [[] for _ in contenders]
    for _ in range(options.pairs):
        for contender, events, found in zip(contenders, sizes, pairs, strict=True):
            base = time_run(baseline, size, gc_on=options.gc_on)
            found.append((base, time_run(contender, events, gc_on=options.gc_on)))
    base_ns = statistics.median(base for found in pairs for base, _ in found)
    rows = [_row(c.name, found) for c, found in zip(contenders, pairs, strict=True)]
    return [Row(f"{baseline.name} (baseline)", base_ns, 1.0, 1.0, 1.0), *rows]


def table(rows: list[Row], options: Options) -> str:
    """The rows as Markdown, how they were measured underneath."""
    lines = ["| what | ns an event | × baseline | 95 % interval |", "|---|---:|---:|---|"]
    lines += [
        f"| {r.name} | {r.ns:,.0f} | {r.ratio:.2f} | {r.low:.2f} to {r.high:.2f} |" for r in rows
    ]
    state = "on" if options.gc_on else "off"
    how = f"{options.pairs} alternating pairs each, runs of {options.run_ms:g} ms, garbage collector {state}."
    return "\n".join([*lines, "", how])
