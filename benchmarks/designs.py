"""False findings by design: `python benchmarks/designs.py`; prints what DESIGNS.md keeps.

`compare_experiments` chooses its test by the design. Each cell draws arms that do not differ in a design that
coverage.py does not have, goes the way of a comparison, and counts p < 0.05: of several arms by the omnibus
test, and by any pair's adjusted p.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from crucible_telemetry import stats
from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import two_arms
from crucible_telemetry.compare.several import Wanted, several_arms
from crucible_telemetry.stats.inference import Inference

RUNS = 2_000
SEED = 20_261_121
ASK = Inference()
LIMITS_S = (4.0, 20.0, 8.0, 8.0, 8.0)
"""Time-outs of the arms of `times`."""


class Cell(NamedTuple):
    """Arms to draw, what is asked of them, and how often (some laws take tenths of a second)."""

    name: str
    draw: Callable[[np.random.Generator], list[Arm]]
    kind: str
    horizon: float | None = None
    pairing: str | None = None
    runs: int = RUNS


def items(arm, n, *, same):
    """The same items in every arm, or others."""
    return np.arange(n) + (0 if same else arm * n)


def arm_of(place, values, labels, **more):
    return Arm("abcde"[place], values, labels.astype(str), **more)


def means(rng, n, *, arms=2, shift=0, sd=(1, 1, 1, 1, 1), sizes=None):
    """One to four repeats of an item, which has a level of its own, and one in each arm; items begin `shift` later."""
    level, drawn = rng.normal(0, 1, n * arms), []
    for k in range(arms):
        each = np.arange(sizes[k] if sizes else n) + k * shift
        labels = np.repeat(each, rng.integers(1, 5, len(each)))
        own = rng.normal(0, 0.5, n * arms)
        values = level[labels] + own[labels] + rng.normal(0, 1, len(labels))
        drawn.append(arm_of(k, sd[k] * values, labels))
    return drawn


def rates(rng, n, rate, *, arms=2, same=True, repeats=1):
    """Items that are hard and easy by a beta distribution."""
    chance, drawn = rng.beta(4 * rate, 4 * (1 - rate), n * arms), []
    for k in range(arms):
        labels = np.repeat(items(k, n, same=same), repeats)
        drawn.append(arm_of(k, (rng.random(len(labels)) < chance[labels]).astype(float), labels))
    return drawn


def costs(rng, n, rate, *, arms=2, same=True, repeats=1):
    """Skewed costs above, successes below."""
    level, drawn = rng.lognormal(0, 0.5, n * arms), []
    for k, won in enumerate(rates(rng, n, rate, arms=arms, same=same, repeats=repeats)):
        cost = level[won.items.astype(int)] * rng.lognormal(0, 0.3, len(won))
        drawn.append(arm_of(k, cost, won.items, below=won.values))
    return drawn


def times(rng, n, *, arms=2, same=True, repeats=1):
    """Five in a hundred never succeed; arms are given up after different times."""
    level, drawn = rng.normal(0.5, 0.7, n * arms), []
    for k in range(arms):
        labels = np.repeat(items(k, n, same=same), repeats)
        values = np.exp(level[labels] + rng.normal(0, 0.7, len(labels)))
        values[rng.random(len(labels)) < 0.05] = math.inf
        seen = values <= LIMITS_S[k]
        drawn.append(arm_of(k, np.where(seen, values, LIMITS_S[k]), labels, observed=seen))
    return drawn


def two() -> Iterator[Cell]:
    wild = {"shift": 60, "sd": (1, 3), "sizes": (60, 12)}
    partly = {"shift": 10}
    yield Cell("means, 30 other items, 1 to 4 repeats", lambda r: means(r, 30, shift=30), "mean")
    yield Cell("means, 60 and 12 items, σ = 1 and 3", lambda r: means(r, 60, **wild), "mean")
    yield Cell("means, 10 pairs, 1 to 4 repeats", lambda r: means(r, 10), "mean")
    yield Cell(
        "means, 20 items, half in both",
        lambda r: means(r, 20, **partly),
        "mean",
        None,
        "independent",
    )
    for n, rate in ((200, 0.99), (50, 0.9), (20, 0.5)):
        about = f"rates of {rate:g}, {n}"
        yield Cell(
            f"{about} other items", lambda r, n=n, p=rate: rates(r, n, p, same=False), "rate"
        )
        yield Cell(f"{about} pairs", lambda r, n=n, p=rate: rates(r, n, p), "rate")
    yield Cell(
        "rates of 0.9, 50 pairs × 3", lambda r: rates(r, 50, 0.9, repeats=3), "rate", runs=10_000
    )
    for n, rate in ((50, 0.9), (50, 0.3), (200, 0.1)):
        about = f"cost per success at {rate:g}, {n}"
        yield Cell(f"{about} pairs", lambda r, n=n, p=rate: costs(r, n, p), "ratio")
        yield Cell(
            f"{about} other items", lambda r, n=n, p=rate: costs(r, n, p, same=False), "ratio"
        )
    yield Cell("restricted means, 30 other items", lambda r: times(r, 30, same=False), "time", 4.0)
    yield Cell("restricted means, 30 pairs × 3", lambda r: times(r, 30, repeats=3), "time", 4.0)
    yield Cell("median time, 100 other items", lambda r: times(r, 100, same=False), "time")
    yield Cell("median time, 100 pairs", lambda r: times(r, 100), "time")


def several() -> Iterator[Cell]:
    partly = {"arms": 3, "shift": 10}
    yield Cell("4 means, 30 blocks", lambda r: means(r, 30, arms=4), "mean")
    yield Cell(
        "3 means, 20 items, partly common",
        lambda r: means(r, 20, **partly),
        "mean",
        None,
        "independent",
    )
    yield Cell(
        "3 rates of 0.9, 100 other items", lambda r: rates(r, 100, 0.9, arms=3, same=False), "rate"
    )
    yield Cell("3 rates of 0.8, 60 blocks", lambda r: rates(r, 60, 0.8, arms=3), "rate")
    yield Cell(
        "3 costs per success at 0.5, 60 blocks", lambda r: costs(r, 60, 0.5, arms=3), "ratio"
    )
    yield Cell(
        "3 arms' times, 60 other items",
        lambda r: times(r, 60, arms=3, same=False),
        "time",
        runs=500,
    )
    yield Cell("3 arms' times, 60 blocks", lambda r: times(r, 60, arms=3), "time", runs=500)
    yield Cell(
        "3 restricted means, 40 blocks × 2", lambda r: times(r, 40, arms=3, repeats=2), "time", 4.0
    )


def p_values(cell: Cell, rng) -> tuple[str, list[float]]:
    """The test, its p-value, and of several arms the smallest of the pairs'."""
    design = designed("m", cell.draw(rng), cell.pairing)
    if len(design.arms) == 2:
        found = two_arms(cell.kind, design, ASK, horizon=cell.horizon).result
        return found.test, [found.p_value]
    best = "largest" if cell.kind in ("mean", "rate") else "smallest"
    wanted = Wanted(kind=cell.kind, ask=ASK, against_control=False, best=best, horizon=cell.horizon)
    found = several_arms(design, wanted)
    return found.omnibus.result.test, [found.omnibus.result.p_value, min(p for _, p in found.pairs)]


def main() -> None:
    started = time.perf_counter()
    print("| arms that do not differ | test | runs | rejects | 99 % Monte-Carlo | any pair |")
    print("|---|---|---|---|---|---|")
    for cell in (*two(), *several()):
        rng = np.random.default_rng([SEED, *cell.name.encode()])
        asked = [p_values(cell, rng) for _ in range(cell.runs)]
        counts = (np.array([p for _, p in asked]) < 0.05).sum(axis=0)  # NaN: no test, no finding
        low, high = stats.wilson((int(counts[0]), cell.runs), confidence=0.99).interval
        pairs = f"{100 * counts[1] / cell.runs:.2f} %" if len(counts) > 1 else ""
        print(
            f"| {cell.name} | {asked[0][0]} | {cell.runs:,} | {100 * counts[0] / cell.runs:.2f} % "
            f"| {100 * low:.2f} to {100 * high:.2f} | {pairs} |",
            flush=True,
        )
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
