"""Coverage by simulation: `python benchmarks/coverage.py [--quick]`; prints what COVERAGE.md keeps.

Each cell draws data whose true value is known, asks the library, and counts how often the 95 % interval
holds it (or how often a true null hypothesis is rejected). A cell passes when the 99 % Monte-Carlo interval
of that share meets its bar. Newcombe's cells are summed over all outcomes instead: exact.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import binom, multinomial

from crucible_telemetry import stats
from crucible_telemetry.stats.inference import t_quantile
from crucible_telemetry.stats.rates import newcombe_limits
from crucible_telemetry.stats.resample import bootstrap_limits

RUNS, QUICK_RUNS = 20_000, 1_000
SEED = 20_261_121
Bar = tuple[float, float]


class Cell(NamedTuple):
    """What is simulated: `hits(rng, runs)` yields for each run whether it covered (or rejected)."""

    family: str
    name: str
    bar: Bar | None
    hits: Callable[[np.random.Generator, int], Iterable[bool]]
    counts: str = "covers"


class Row(NamedTuple):
    """A cell's share with its 99 % Monte-Carlo interval, in per cent."""

    cell: Cell
    runs: int
    share: float
    low: float
    high: float

    @property
    def passes(self) -> bool:
        bar = self.cell.bar or (0.0, 100.0)
        return self.high >= bar[0] and self.low <= bar[1]


def covers(result: stats.Result, truth: float) -> bool:
    return result.interval[0] <= truth <= result.interval[1]


def t_cells() -> Iterator[Cell]:
    def welch(rng, runs):
        for _ in range(runs):
            control, treatment = rng.normal(0, 1, 12), rng.normal(1, 2, 30)
            yield covers(stats.welch_t(control, treatment), 1.0)

    def student(rng, runs):
        for _ in range(runs):
            yield covers(stats.student_t(rng.normal(0, 1, 8), rng.normal(1, 1, 15)), 1.0)

    def paired(rng, runs):
        for _ in range(runs):
            control = rng.normal(0, 3, 12)
            yield covers(stats.paired_t(control, control + rng.normal(1, 1, 12)), 1.0)

    bar = (94.5, 95.5)
    yield Cell("t, normal", "Student's t, n = 8 and 15", bar, student)
    yield Cell("t, normal", "Welch's t, n = 12 and 30, σ = 1 and 2", bar, welch)
    yield Cell("t, normal", "paired t, n = 12", bar, paired)


def skewed_cells() -> Iterator[Cell]:
    for sigma in (1.0, 1.5):
        for n, least in ((150, 90.0), (1000, 93.5)):
            bar = (least, 100.0) if sigma == 1.0 else None
            about = f"lognormal σ = {sigma:g}, n = {n}"
            yield Cell("skewed means", f"t of one mean, {about}", bar, one_mean(sigma, n))
            yield Cell("skewed means", f"Welch's t, {about} each, × 1.5", bar, two_means(sigma, n))
            yield Cell("skewed means", f"BCa of one mean, {about}", bar, bca_mean(sigma, n))


def one_mean(sigma, n):
    def hits(rng, runs):
        for _ in range(runs):
            yield covers(stats.one_sample_t(rng.lognormal(0, sigma, n)), math.exp(sigma**2 / 2))

    return hits


def two_means(sigma, n):
    def hits(rng, runs):
        for _ in range(runs):
            control, treatment = rng.lognormal(0, sigma, (2, n))
            truth = 0.5 * math.exp(sigma**2 / 2)
            yield covers(stats.welch_t(control, 1.5 * treatment), truth)

    return hits


def bca_mean(sigma, n, at_once=100):
    """Samples of a chunk share their resampling indices (the cost is drawing them), chunks do not."""

    def hits(rng, runs):
        truth = math.exp(sigma**2 / 2)
        for _ in range(runs // at_once):
            plan = stats.Bootstrap(resamples=999, seed=int(rng.integers(2**31)))
            limits = bootstrap_limits(plan, (rng.lognormal(0, sigma, (at_once, n)),), np.mean)
            yield from (limits.low <= truth) & (truth <= limits.high)

    return hits


def quantile_cells() -> Iterator[Cell]:
    for q, n in ((0.5, 50), (0.9, 100), (0.99, 400), (0.99, 2000)):
        name = f"p{100 * q:g} by order statistics, lognormal σ = 1, n = {n}"
        yield Cell("quantiles", name, (95.0, 100.0), one_quantile(q, n))
    for q, n, m in (
        (0.5, 50, 50),
        (0.5, 200, 60),
        (0.9, 100, 100),
        (0.99, 500, 500),
        (0.99, 2000, 700),
    ):
        # Never short of nominal but for chance; generous near the 368 values that p99 needs at all.
        name = f"difference of p{100 * q:g}, lognormal σ = 1, n = {n} and {m}, × 1.5"
        yield Cell("quantiles", name, (94.5, 99.0), quantile_apart(q, n, m))


def one_quantile(q, n):
    truth = float(np.exp(t_quantile(q)))

    def hits(rng, runs):
        for _ in range(runs):
            yield covers(stats.quantile_interval(rng.lognormal(0, 1, n), q), truth)

    return hits


def quantile_apart(q, n, m):
    truth = 0.5 * float(np.exp(t_quantile(q)))

    def hits(rng, runs):
        for _ in range(runs):
            control, treatment = rng.lognormal(0, 1, n), 1.5 * rng.lognormal(0, 1, m)
            yield covers(stats.quantile_difference(control, treatment, q), truth)

    return hits


def clustered(rng, clusters, sizes, icc, start=0):
    labels = np.repeat(np.arange(clusters) + start, sizes)
    shared = np.repeat(rng.normal(0, math.sqrt(icc), clusters), sizes)
    return stats.Clustered(shared + rng.normal(0, math.sqrt(1 - icc), len(labels)), labels)


def cluster_cells() -> Iterator[Cell]:
    def mean(rng):
        return stats.cr2_mean(clustered(rng, 30, rng.integers(1, 9, 30), 0.3))

    def apart(rng, clusters):
        sizes = rng.integers(1, 9, (2, clusters))
        control, treatment = (
            clustered(rng, clusters, arm, 0.3, k * clusters) for k, arm in enumerate(sizes)
        )
        return stats.cr2_difference(control, treatment)

    def crossed(rng):
        return stats.cr2_difference(*both_arms(rng, 30, rng.integers(1, 5, (2, 30))))

    cells = {
        "CR2 mean, 30 clusters of 1 to 8, ICC 0.3": mean,
        "CR2 difference, 15 + 15 clusters of 1 to 8, ICC 0.3": lambda rng: apart(rng, 15),
        "CR2 difference, 30 + 30 clusters of 1 to 8, ICC 0.3": lambda rng: apart(rng, 30),
        "CR2 difference, 30 clusters in both arms, 1 to 4 each": crossed,
    }
    for name, estimate in cells.items():
        yield Cell("clusters", name, (94.0, 96.0), covering_zero(estimate))


def covering_zero(estimate):
    def hits(rng, runs):
        for _ in range(runs):
            yield covers(estimate(rng), 0.0)

    return hits


def both_arms(rng, items, sizes):
    """Items in both arms: what they share cancels, what each has in an arm does not."""
    level = rng.normal(0, 1, items)
    arms = []
    for arm_sizes in sizes:
        own = level + rng.normal(0, 0.5, items)
        values = np.repeat(own, arm_sizes) + rng.normal(0, 0.5, int(arm_sizes.sum()))
        arms.append(stats.Clustered(values, np.repeat(np.arange(items), arm_sizes)))
    return arms


def repeat_cells() -> Iterator[Cell]:
    def means(arms):
        return [arm.values.reshape(200, 3).mean(axis=1) for arm in arms]

    def apart(rng):
        return [clustered(rng, 200, 3, 0.5, start) for start in (0, 200)]

    def same(rng):
        return both_arms(rng, 200, np.full((2, 200), 3))

    tests = {
        "CR2 on all rows, items differ": (apart, lambda arms: stats.cr2_difference(*arms), True),
        "Welch on item means, items differ": (
            apart,
            lambda arms: stats.welch_t(*means(arms)),
            True,
        ),
        "CR2 on all rows, same items": (same, lambda arms: stats.cr2_difference(*arms), True),
        "paired t on item means, same items": (
            same,
            lambda arms: stats.paired_t(*means(arms)),
            True,
        ),
        "naive Welch on rows, items differ": (apart, on_rows(stats.welch_t), False),
        "naive paired t on rows, same items": (same, on_rows(stats.paired_t), False),
    }
    for name, (draw, test, barred) in tests.items():
        bar = (4.0, 6.0) if barred else None
        yield Cell("200 items × 3 repeats, null", name, bar, rejecting(draw, test), "rejects")


def on_rows(test):
    return lambda arms: test(*(arm.values for arm in arms))


def rejecting(draw, test):
    def hits(rng, runs):
        for _ in range(runs):
            yield test(draw(rng)).p_value < 0.05

    return hits


def survival_cells() -> Iterator[Cell]:
    """The same times to success in both arms, one given up after 4 s, the other after 20 s."""

    def draw(rng):
        arms = []
        for limit in (4.0, 20.0):
            times = rng.lognormal(0.5, 1, 150)
            times[rng.random(150) < 0.05] = math.inf
            seen = times <= limit
            arms.append(stats.Censored(np.where(seen, times, limit), seen))
        return arms

    def restricted(arms):
        return stats.restricted_mean_difference(*arms, 4.0)

    def naive(arms):
        return stats.welch_t(*(arm.times for arm in arms))

    def successes(arms):
        return stats.welch_t(*(arm.times[arm.observed] for arm in arms))

    family, none = "time-outs of 4 s and 20 s, null", (0.0, 5.0)
    tests = (("restricted means to 4 s", restricted, none), ("log-rank", on_arms, none))
    for name, test, bar in tests:
        yield Cell(family, name, bar, rejecting(draw, test), "rejects")
    yield Cell(family, "naive Welch, time-outs as times", None, rejecting(draw, naive), "rejects")
    yield Cell(family, "naive Welch, successes only", None, rejecting(draw, successes), "rejects")


def on_arms(arms):
    return stats.log_rank(*arms)


def simulated(cell: Cell, runs: int) -> Row:
    rng = np.random.default_rng([SEED, *cell.name.encode()])
    seen = [bool(hit) for hit in cell.hits(rng, runs)]
    found = stats.wilson((sum(seen), len(seen)), confidence=0.99)
    low, high = (100 * limit for limit in found.interval)
    return Row(cell, len(seen), 100 * found.estimate, low, high)


RATES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95)


def newcombe_coverage() -> list[float]:
    """Exact coverage at each pair of rates and sizes."""
    found, z = [], t_quantile(0.975)
    for n, m in ((30, 30), (50, 25), (100, 100), (300, 150)):
        low, high = newcombe_limits(np.arange(n + 1)[:, None], n, np.arange(m + 1), m, z)
        chances = {
            size: [binom.pmf(np.arange(size + 1), size, p) for p in RATES] for size in (n, m)
        }
        for i, p in enumerate(RATES):
            for j, q in enumerate(RATES):
                held = (low <= q - p) & (q - p <= high)
                found.append(100 * float(chances[n][i] @ held @ chances[m][j]))
    return found


def paired_coverage(n: int) -> list[float]:
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
    found = []
    for p in (0.2, 0.5, 0.8):
        for q in (0.2, 0.35, 0.5, 0.8, 0.9):
            for phi in (0.0, 0.3):
                both = p * q + phi * math.sqrt(p * (1 - p) * q * (1 - q))
                cells = (both, p - both, q - both, 1 - p - q + both)
                if min(cells) < 0:
                    continue
                held = (limits[:, 0] <= q - p + 1e-12) & (q - p - 1e-12 <= limits[:, 1])
                found.append(100 * float(multinomial.pmf(tables, n, cells)[held].sum()))
    return found


def exact_rows(*, quick: bool) -> Iterator[tuple[str, str, bool]]:
    sets = (
        ("independent", newcombe_coverage()),
        ("paired, 30 pairs", paired_coverage(12 if quick else 30)),
    )
    for name, found in sets:
        mean, least = float(np.mean(found)), min(found)
        shown = f"mean {mean:.2f} %, least {least:.2f} % of {len(found)} settings"
        yield name, shown, 94 <= mean <= 97 and least >= 92


def main() -> None:
    unknown = set(sys.argv[1:]) - {"--quick"}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: --quick")
    quick, started = "--quick" in sys.argv[1:], time.perf_counter()
    makers = (t_cells, skewed_cells, quantile_cells, cluster_cells, repeat_cells, survival_cells)
    print(
        "| family | cell | runs | share | 99 % Monte-Carlo | bar | |\n|---|---|---|---|---|---|---|"
    )
    failed = 0
    for cell in (cell for maker in makers for cell in maker()):
        row = simulated(cell, QUICK_RUNS if quick else RUNS)
        bar = f"{cell.bar[0]:g} to {cell.bar[1]:g} %" if cell.bar else "reported"
        verdict = "" if not cell.bar else "passes" if row.passes else "FAILS"
        failed += not row.passes
        print(
            f"| {cell.family} | {cell.name} | {row.runs:,} | {cell.counts} {row.share:.2f} % "
            f"| {row.low:.2f} to {row.high:.2f} | {bar} | {verdict} |",
            flush=True,
        )
    for name, shown, passes in exact_rows(quick=quick):
        bar = "mean 94 to 97 %, least 92 %"
        print(
            f"| Newcombe | {name} | exact | {shown} | | {bar} | {'passes' if passes else 'FAILS'} |"
        )
        failed += not passes
    print(f"\n{time.perf_counter() - started:.0f} s")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
