"""Two arms: the design and the kind of metric choose the test; no pre-test, never the outcome. PURE."""

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.compare import times
from crucible_telemetry.compare.design import Arm, Design
from crucible_telemetry.stats.arguments import Clustered, Floats
from crucible_telemetry.stats.clusters import cr2_difference
from crucible_telemetry.stats.inference import Inference, with_notes
from crucible_telemetry.stats.means import paired_t, welch_t
from crucible_telemetry.stats.paired_rates import PairedRates, mcnemar
from crucible_telemetry.stats.quantiles import quantile as of_ordered, quantile_difference
from crucible_telemetry.stats.rates import newcombe
from crucible_telemetry.stats.ratios import ratio_difference
from crucible_telemetry.stats.result import Result, number
from crucible_telemetry.stats.survival import ASSUMPTION, kaplan_meier, restricted_mean_difference

_MEDIAN = 0.5
_SKEWED = 0.2
"""Skewness of a mean beyond which the t interval is warned of: n < 25 g₁² (Cochran, Sampling Techniques, 1977)."""


class Chosen(Struct, frozen=True):
    """A result, and why this test: what of the design asked for it."""

    result: Result
    why: str


def two_arms(
    kind: str,
    design: Design,
    ask: Inference,
    *,
    q: float | None = None,
    horizon: float | None = None,
) -> Chosen:
    """The difference, treatment − control, of a metric of this `kind` ("mean", "rate", "time", "ratio").

    Times: the quantile `q`; else the mean of min(time, `horizon`); else, without a horizon, the median.
    """
    if kind == "time":
        return _time(design, ask, q, horizon)
    if kind == "ratio":
        return _ratio(design, ask)
    if kind == "rate" and not design.repeated and (design.paired or not design.crossed):
        return _rate(design, ask)
    return _mean(design, ask, "rates" if kind == "rate" else "means")


def _mean(design: Design, ask: Inference, what: str) -> Chosen:
    """On item means: pairs where items are common; CR2 where only some are."""
    how = {"alternative": ask.alternative, "confidence": ask.confidence}
    each = "repeats averaged within the item, " if design.repeated else ""
    if design.crossed and not design.paired:
        why = f"some items are in both arms: {each}the item is the cluster"
        return Chosen(_over_clusters(design.arms, ask), why)
    (names, first_means), (others, second_means) = (arm.item_means() for arm in design.arms)
    if design.paired:
        if not np.array_equal(names, others):
            raise AssertionError("a paired design has the same items in both arms")
        found = paired_t(first_means, second_means, **how)  # type: ignore[arg-type]
        why = f"both arms ran the same items: {each}the item is the pair"
        with np.errstate(invalid="ignore"):  # of two infinities
            skewed = _skewed((("of the differences", second_means - first_means),))
    else:
        found = welch_t(first_means, second_means, **how)  # type: ignore[arg-type]
        why = f"the arms ran different items: {each}the item is the unit"
        skewed = _skewed(
            (
                (f"of {a.name}", m)
                for a, m in zip(design.arms, (first_means, second_means), strict=True)
            )
        )
    why = why if design.arms[0].items is not None else f"{what} of calls whose items are not known"
    return Chosen(with_notes(found, *skewed), why)


def _over_clusters(arms: Sequence[Arm], ask: Inference) -> Result:
    """The difference of means over items, some of which are in both arms."""
    first, second = (Clustered(one.values, one.items) for one in map(Arm.by_item, arms))  # type: ignore[arg-type]
    return cr2_difference(first, second, alternative=ask.alternative, confidence=ask.confidence)


def _skewed(arms: object) -> tuple[str, ...]:
    """A warning, never another method: an interval of t covers less than it says of a skewed mean."""
    notes = []
    for name, values in arms:  # type: ignore[attr-defined]
        skewness = _skewness(values)
        if abs(skewness) > _SKEWED * math.sqrt(max(len(values), 1)):
            notes.append(
                f"the values {name} are skewed ({number(skewness)} at n = {len(values)}): the interval of a mean "
                "may cover less than it says; a median or a bootstrap beside it tells"
            )
    return tuple(notes)


def _skewness(values: Floats) -> float:
    with np.errstate(all="ignore"):
        apart = values - values.mean() if len(values) else values
        found = float((apart**3).mean() / (apart**2).mean() ** 1.5) if len(values) > 2 else 0.0
    return found if math.isfinite(found) else 0.0


def _rate(design: Design, ask: Inference) -> Chosen:
    how = {"alternative": ask.alternative, "confidence": ask.confidence}
    if design.paired:
        (_, first), (_, second) = (arm.item_means() for arm in design.arms)
        found = mcnemar(PairedRates.of(first, second), **how)  # type: ignore[arg-type]
        return Chosen(found, "both arms ran the same items once each: the item is the pair")
    counts = [(int(arm.values.sum()), len(arm)) for arm in design.arms]
    found = newcombe(counts[0], counts[1], **how)  # type: ignore[arg-type]
    known = design.arms[0].items is not None
    why = "the arms ran different items, once each" if known else "calls whose items are not known"
    return Chosen(found, why)


def _ratio(design: Design, ask: Inference) -> Chosen:
    """Sums by item above and below."""
    if design.crossed and not design.paired:
        found = _over_clusters([linearised(arm) for arm in design.arms], ask)
        note = "values are the ratio plus each item's influence on it: their means are the ratios"
        why = "a ratio of sums, linearised by item; some items are in both arms: the item is the cluster"
        return Chosen(with_notes(found, note), why)
    parts = []
    for arm in design.arms:
        if arm.below is None:
            raise AssertionError("a ratio has denominators")
        parts.append((arm.item_sums(arm.values), arm.item_sums(arm.below)))
    found = ratio_difference(
        parts[0],
        parts[1],
        paired=design.paired,
        alternative=ask.alternative,
        confidence=ask.confidence,
    )
    return Chosen(
        found, "a ratio of sums over items" + (", the item is the pair" if design.paired else "")
    )


def linearised(arm: Arm) -> Arm:
    """The ratio plus each item's influence on it, a row an item; infinite where nothing is below."""
    if arm.below is None:
        raise AssertionError("a ratio has denominators")
    above, below = arm.item_sums(arm.values), arm.item_sums(arm.below)
    with np.errstate(all="ignore"):
        ratio = above.sum() / below.sum()
        values = ratio + (above - ratio * below) / below.mean()
    values = np.where(np.isnan(values), np.inf, values)
    return Arm(arm.name, values, None if arm.items is None else np.unique(arm.items))


def _time(design: Design, ask: Inference, q: float | None, horizon: float | None) -> Chosen:
    if q is None and horizon is not None:
        return _restricted(design, ask, horizon)
    why = (
        "a quantile was asked for" if q is not None
        else "failures never succeed, so a mean needs horizon_s, and none was declared: the median"
    )  # fmt: skip
    return Chosen(quantile(design, _MEDIAN if q is None else q, ask), why)


def quantile(design: Design, q: float, ask: Inference) -> Result:
    """The difference of a quantile of time to success; by order statistics alone where units are independent."""
    if _by_order_statistics(design):
        return quantile_difference(
            design.arms[0].values,
            design.arms[1].values,
            q,
            alternative=ask.alternative,
            confidence=ask.confidence,
        )
    return times.quantile_difference(design, q, ask)


def figure_name(kind: str, q: float | None, horizon: float | None) -> str:
    """What an arm's own figure is, in a word or two."""
    if kind != "time":
        return kind
    at_median = q is None and horizon is None
    return (
        f"mean to {horizon:g} ms" if q is None and not at_median else f"p{100 * (q or _MEDIAN):g}"
    )


def figure_of(
    kind: str, design: Design, place: int, q: float | None, horizon: float | None
) -> float:
    """An arm's own figure, of which the estimates of `two_arms` are differences."""
    arm = design.arms[place]
    if kind == "ratio":
        below = 0.0 if arm.below is None else float(arm.below.sum())
        return float(arm.values.sum()) / below if below else math.inf
    if kind != "time":
        return float(arm.item_means()[1].mean())
    if q is not None or horizon is None:
        return _arm_quantile(design, arm, _MEDIAN if q is None else q)
    if not times.curve_of(arm).knows(horizon):
        return math.nan
    return float(arm.with_values(times.restricted(arm, horizon)).item_means()[1].mean())


def _arm_quantile(design: Design, arm: Arm, q: float) -> float:
    if _by_order_statistics(design):
        return of_ordered(np.sort(arm.values), q)
    return times.reached(times.curve_of(arm), q)


def _by_order_statistics(design: Design) -> bool:
    """Whether units are independent, and none censored."""
    simple = not (design.paired or design.crossed or design.repeated)
    return simple and not times.any_censored(design)


def _restricted(design: Design, ask: Inference, horizon: float) -> Chosen:
    why = f"failures never succeed: the mean of min(time, {horizon:g} ms), the declared horizon"
    curves = [kaplan_meier(times.censored(arm)) for arm in design.arms]
    if not all(curve.knows(horizon) for curve in curves):  # the result says which arm's does not
        first, second = (times.censored(arm) for arm in design.arms)
        return Chosen(
            restricted_mean_difference(
                first,
                second,
                horizon,
                alternative=ask.alternative,
                confidence=ask.confidence,
            ),
            why,
        )
    arms = tuple(arm.with_values(times.restricted(arm, horizon)) for arm in design.arms)
    chosen = _mean(replace(design, arms=arms), ask, "means")
    result = with_notes(chosen.result, *pseudo_value_notes(design, horizon))
    return Chosen(result, f"{why}; {chosen.why}")


def pseudo_value_notes(design: Design, horizon: float) -> tuple[str, ...]:
    """What stands for the times, and where some are censored what that assumes."""
    note = f"values are pseudo-values of min(time to success, {horizon:g} ms)"
    return (note, ASSUMPTION) if times.any_censored(design) else (note,)
