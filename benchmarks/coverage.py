"""Coverage by simulation: `python benchmarks/coverage.py [--quick]`; prints what COVERAGE.md keeps.

Each cell draws data whose true value is known, asks the library, and counts how often the 95 % interval
holds it (or how often a true null hypothesis is rejected), and how wide it is in the median. A cell passes
when the 99 % Monte-Carlo interval of that share meets its bar. Newcombe's cells are summed over all
outcomes instead: exact. `--only WORD` runs the cells whose name or family has the word.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import cells
import numpy as np
from scipy.stats import binom, multinomial

from crucible_telemetry import stats
from crucible_telemetry.stats.inference import t_quantile
from crucible_telemetry.stats.rates import newcombe_limits

MAKERS = (
    cells.t_cells, cells.skewed_cells, cells.quantile_cells, cells.item_quantile_cells,
    cells.cluster_cells, cells.repeat_cells, cells.survival_cells, cells.several_cells,
)  # fmt: skip
RUNS, QUICK_RUNS = 20_000, 1_000
SEED = 20_261_121


class Row(NamedTuple):
    """A cell's share with its 99 % Monte-Carlo interval, in per cent, and the median width of intervals."""

    cell: cells.Cell
    runs: int
    share: float
    low: float
    high: float
    width: float

    @property
    def passes(self) -> bool:
        bar = self.cell.bar or (0.0, 100.0)
        return self.high >= bar[0] and self.low <= bar[1]


def simulated(cell: cells.Cell, runs: int) -> Row:
    rng = np.random.default_rng([SEED, *cell.name.encode()])
    seen = list(cell.hits(rng, runs))
    found = stats.wilson((sum(bool(one.hit) for one in seen), len(seen)), confidence=0.99)
    low, high = (100 * limit for limit in found.interval)
    width = float(np.median([one.width for one in seen]))
    return Row(cell, len(seen), 100 * found.estimate, low, high, width)


RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)


Exact = tuple[list[float], list[float]]


def newcombe_coverage() -> Exact:
    """Exact coverage, and expected width, at each pair of rates and sizes."""
    found, widths, z = [], [], t_quantile(0.975)
    for n, m in ((30, 30), (50, 25), (100, 100), (300, 150)):
        low, high = newcombe_limits(np.arange(n + 1)[:, None], n, np.arange(m + 1), m, z)
        chances = {
            size: [binom.pmf(np.arange(size + 1), size, p) for p in RATES] for size in (n, m)
        }
        for i, p in enumerate(RATES):
            for j, q in enumerate(RATES):
                held = (low <= q - p) & (q - p <= high)
                found.append(100 * float(chances[n][i] @ held @ chances[m][j]))
                widths.append(float(chances[n][i] @ (high - low) @ chances[m][j]))
    return found, widths


def paired_coverage(n: int) -> Exact:
    """Exact coverage of the paired interval at rates and correlations, over all tables of `n` pairs."""
    tables = [
        (a, b, c, n - a - b - c)
        for a in range(n + 1)
        for b in range(n + 1 - a)
        for c in range(n + 1 - a - b)
    ]
    limits = np.array(
        [
            stats.newcombe_paired(
                stats.PairedRates(both=a, control_only=b, treatment_only=c, neither=d)
            ).interval
            for a, b, c, d in tables
        ]
    )
    found, widths = [], []
    for p in (0.2, 0.5, 0.8):
        for q in (0.2, 0.35, 0.5, 0.8, 0.9):
            for phi in (0.0, 0.3):
                both = p * q + phi * math.sqrt(p * (1 - p) * q * (1 - q))
                cells = (both, p - both, q - both, 1 - p - q + both)
                if min(cells) < 0:
                    continue
                held = (limits[:, 0] <= q - p + 1e-12) & (q - p - 1e-12 <= limits[:, 1])
                chances = multinomial.pmf(tables, n, cells)
                found.append(100 * float(chances[held].sum()))
                widths.append(float(chances @ (limits[:, 1] - limits[:, 0])))
    return found, widths


def exact_rows(*, quick: bool) -> Iterator[tuple[str, str, bool, float]]:
    sets = (
        ("independent", newcombe_coverage()),
        ("paired, 30 pairs", paired_coverage(12 if quick else 30)),
    )
    for name, (found, widths) in sets:
        mean, least = float(np.mean(found)), min(found)
        shown = f"mean {mean:.2f} %, least {least:.2f} % of {len(found)} settings"
        yield name, shown, 94 <= mean <= 97 and least >= 92, float(np.median(widths))


def asked(words: list[str]) -> tuple[bool, str]:
    """Whether a quick run was asked for, and the word that chooses cells."""
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("--quick", action="store_true")
    known.add_argument("--only", default="")
    given = known.parse_args(words)
    return given.quick, given.only


def main() -> None:
    (quick, only), started = asked(sys.argv[1:]), time.perf_counter()
    print("| family | cell | runs | share | 99 % Monte-Carlo | bar | | median width |")
    print("|---|---|---|---|---|---|---|---:|")
    failed = 0
    for cell in (cell for maker in MAKERS for cell in maker()):
        if only not in f"{cell.family} {cell.name}":
            continue
        row = simulated(cell, QUICK_RUNS if quick else RUNS)
        bar = f"{cell.bar[0]:g} to {cell.bar[1]:g} %" if cell.bar else "reported"
        verdict = "" if not cell.bar else "passes" if row.passes else "FAILS"
        failed += not row.passes
        width = "" if math.isnan(row.width) else f"{row.width:.4g}"
        print(
            f"| {cell.family} | {cell.name} | {row.runs:,} | {cell.counts} {row.share:.2f} % "
            f"| {row.low:.2f} to {row.high:.2f} | {bar} | {verdict} | {width} |",
            flush=True,
        )
    for name, shown, passes, width in exact_rows(quick=quick) if only in "Newcombe" else ():
        bar = "mean 94 to 97 %, least 92 %"
        verdict = "passes" if passes else "FAILS"
        print(f"| Newcombe | {name} | exact | {shown} | | {bar} | {verdict} | {width:.4g} |")
        failed += not passes
    print(f"\n{time.perf_counter() - started:.0f} s")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
