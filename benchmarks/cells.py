"""What coverage is simulated of: each cell draws data whose truth is known and asks the library."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from crucible_telemetry import stats
from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import quantile
from crucible_telemetry.stats.inference import Inference, t_quantile
from crucible_telemetry.stats.resample import bootstrap_limits

Bar = tuple[float, float]


class Seen(NamedTuple):
    """One run: whether it covered (or rejected), and the width of the interval (NaN: there is none)."""

    hit: bool
    width: float


class Cell(NamedTuple):
    """What is simulated: `hits(rng, runs)` yields what was seen in each run."""

    family: str
    name: str
    bar: Bar | None
    hits: Callable[[np.random.Generator, int], Iterable[Seen]]
    counts: str = "covers"


def covers(result: stats.Result, truth: float) -> Seen:
    return Seen(result.interval[0] <= truth <= result.interval[1], width_of(result))


def width_of(result: stats.Result) -> float:
    return result.interval[1] - result.interval[0]


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
            held = (limits.low <= truth) & (truth <= limits.high)
            yield from map(Seen, held, limits.high - limits.low)

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


def item_quantile_cells() -> Iterator[Cell]:
    """Times of repeated items, as `compare_experiments` takes them: the same items are pairs."""
    for q, items, repeats, same in (
        (0.5, (100, 100), 3, True),
        (0.9, (100, 100), 3, True),
        (0.9, (30, 30), 3, True),
        (0.9, (200, 200), 1, True),
        (0.5, (100, 100), 3, False),
        (0.9, (100, 100), 3, False),
        (0.9, (1000, 60), 3, False),
    ):
        shared = "the same" if same else "other"
        name = f"difference of p{100 * q:g}, {shared} {' and '.join(map(str, items))} items × {repeats}"
        # What pairs have in common is seen less well in the tails than it is there: they are conservative.
        yield Cell(
            "quantiles of items", name, (94.0, 99.5), item_quantile(q, items, repeats, same=same)
        )


def item_quantile(q, items, repeats, *, same):
    def hits(rng, runs):
        for _ in range(runs):
            level, arms = rng.normal(0, 1, max(items)), []
            for place, count in enumerate(items):
                own = level if same else rng.normal(0, 1, count)
                labels = np.repeat(np.arange(count), repeats)
                times = np.exp(own[labels] + rng.normal(0, 0.5, len(labels)))
                names = labels if same else labels + 10_000 * place
                arms.append(Arm("ab"[place], times, names, observed=np.isfinite(times)))
            yield covers(quantile(designed("time", arms, None), q, Inference()), 0.0)

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
            found = test(draw(rng))
            yield Seen(found.p_value < 0.05, width_of(found))

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


def on_items(drawn):
    return stats.log_rank_arms(drawn[0], clusters=drawn[1])


def on_units(drawn):
    return stats.log_rank_arms(drawn[0])


def several_cells() -> Iterator[Cell]:
    """Four arms that do not differ, or three raced against different time-outs."""

    def partly(rng):
        level, arms = rng.normal(0, 1, 40), {}
        for arm in range(4):
            items = np.repeat(rng.choice(40, 20, replace=False), rng.integers(1, 5, 20))
            own = (level + rng.normal(0, 0.5, 40))[items]
            noise = rng.normal(0, 0.5 * (1 + arm), len(items))
            arms[str(arm)] = stats.Clustered(own + noise, items)
        return arms

    def raced(rng, items, repeats, same):
        level, arms, labels = rng.normal(0, 0.7, items), {}, {}
        for place, limit in enumerate((1.2, 3.0, 2.0)):
            own = level if same else rng.normal(0, 0.7, items)
            of = np.repeat(np.arange(items), repeats)
            times = np.exp(own[of] + rng.normal(0, 0.5, len(of)))
            arms[str(place)] = stats.Censored(np.minimum(times, limit), times <= limit)
            labels[str(place)] = of if same else of + 10_000 * place
        return arms, labels

    family, bar = "several arms, null", (4.0, 6.0)
    tests = {
        "CR2 Wald, 4 × 20 of 40 items, 1 to 4 each": (partly, stats.cr2_wald, bar),
        "log-rank, 3 arms of 60": (lambda rng: raced(rng, 60, 1, same=False), on_units, bar),
        "log-rank over items, 3 × 40 items × 3, apart": (
            lambda rng: raced(rng, 40, 3, same=False), on_items, bar,
        ),
        "log-rank over items, the same 40 items × 3": (
            lambda rng: raced(rng, 40, 3, same=True), on_items, (0.0, 6.0),
        ),
        "naive log-rank, 3 × 40 items × 3, apart": (
            lambda rng: raced(rng, 40, 3, same=False), on_units, None,
        ),
    }  # fmt: skip
    for name, (draw, test, bar_) in tests.items():
        yield Cell(family, name, bar_, rejecting(draw, test), "rejects")
