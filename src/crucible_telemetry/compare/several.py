"""More than two arms: whether any differ, which do, and how far each is from the best. PURE."""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.compare import omnibus
from crucible_telemetry.compare.best import with_the_best
from crucible_telemetry.compare.design import Design
from crucible_telemetry.compare.method import Chosen, two_arms
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arms import friedman, welch_anova
from crucible_telemetry.stats.corrections import holm
from crucible_telemetry.stats.inference import Inference, with_notes
from crucible_telemetry.stats.multiple import dunnett, games_howell, hsu_mcb
from crucible_telemetry.stats.rates import chi_square
from crucible_telemetry.stats.result import Result

_PAIRED_WHY: Final = "every arm ran the same items: the item is the block, its repeats averaged"


class Several(Struct, frozen=True):
    """The omnibus test, the comparisons of pairs with their p-values adjusted, and the best's."""

    omnibus: Chosen
    pairs: tuple[tuple[Chosen, float], ...]
    best: tuple[Result, ...] = ()


class Wanted(Struct, frozen=True, kw_only=True):
    """What is asked of the arms: with `against_control` each is compared with the first alone."""

    kind: str
    ask: Inference
    against_control: bool
    best: Literal["largest", "smallest"]
    q: float | None = None
    horizon: float | None = None


def several_arms(design: Design, wanted: Wanted) -> Several:
    """By the design: Welch's analysis of variance and Games–Howell (or Dunnett), Friedman's test and pairs, χ².

    Where none of these fits (times, ratios, partly common items) see `omnibus`; of a quantile, for which
    there is no such test, the omnibus p-value is Holm's smallest. Intervals of pairs hold together, by the
    method's own law or by Bonferroni, and so do those from the best.
    """
    if wanted.ask.alternative != "two-sided" and not wanted.against_control:
        raise ConfigurationError(
            "alternative",
            f"{wanted.ask.alternative!r} of several arms needs control=: all pairs have no side",
        )
    pairs = _pairs(design, wanted)
    means = {arm.name: arm.item_means()[1] for arm in design.arms}
    if design.paired and wanted.kind in ("mean", "rate"):
        found = friedman(means, confidence=wanted.ask.confidence)
        return Several(Chosen(found, _PAIRED_WHY), pairs, _best(design, wanted))
    if design.crossed or wanted.kind in ("time", "ratio"):
        return Several(_omnibus(design, wanted, pairs), pairs, _best(design, wanted))
    if wanted.kind == "rate" and not design.repeated:
        table = np.array([[int(a.values.sum()), int(len(a) - a.values.sum())] for a in design.arms])
        found = replace(chi_square(table, confidence=wanted.ask.confidence), arms=tuple(means))
        why = "the arms ran different items, once each"
        return Several(Chosen(found, why), pairs, _best(design, wanted))
    return _of_means(means, wanted, pairs)


def _omnibus(design: Design, wanted: Wanted, pairs: tuple[tuple[Chosen, float], ...]) -> Chosen:
    if wanted.kind == "ratio":
        return omnibus.ratios_differ(design, wanted.ask)
    if wanted.kind != "time":
        return omnibus.means_differ(design, wanted.ask)
    if wanted.q is not None:
        return _smallest(design, pairs, wanted.ask)
    if wanted.horizon is not None:
        return omnibus.restricted_differ(design, wanted.horizon, wanted.ask)
    return omnibus.times_differ(design)


def _best(design: Design, wanted: Wanted) -> tuple[Result, ...]:
    def difference(i: int, j: int, ask: Inference) -> Result:
        return _pair(design, (i, j), wanted, ask).result

    names = [arm.name for arm in design.arms]
    return with_the_best(names, difference, wanted.best, wanted.ask.confidence)


def _pair(design: Design, places: tuple[int, int], wanted: Wanted, ask: Inference) -> Chosen:
    """The later arm minus the earlier."""
    both = replace(design, arms=tuple(design.arms[place] for place in places))
    return two_arms(wanted.kind, both, ask, q=wanted.q, horizon=wanted.horizon)


def _of_means(
    means: Mapping[str, Any], wanted: Wanted, pairs: tuple[tuple[Chosen, float], ...]
) -> Several:
    why = "the arms ran different items: the item is the unit, its repeats averaged"
    omnibus = Chosen(welch_anova(means, confidence=wanted.ask.confidence), why)
    how: dict[str, Any] = {"confidence": wanted.ask.confidence}
    apart = how | {"variances": "unequal"}  # as in Welch's: a wild small arm must not borrow
    try:
        if wanted.against_control:
            side = wanted.ask.alternative
            law = dunnett(means, control=next(iter(means)), alternative=side, **apart)
        else:
            law = games_howell(means, **how)
        best = hsu_mcb(means, best=wanted.best, **apart)
    except ConfigurationError:  # arms that allow no test: the pairs say why, one by one
        return Several(omnibus, pairs)
    return Several(omnibus, tuple((Chosen(one, why), one.p_value) for one in law), best)


def _pairs(design: Design, wanted: Wanted) -> tuple[tuple[Chosen, float], ...]:
    """Each pair by its own method; intervals by Bonferroni, p-values by Holm."""
    places = [
        (i, j)
        for i, j in combinations(range(len(design.arms)), 2)
        if i == 0 or not wanted.against_control
    ]
    confidence = 1 - (1 - wanted.ask.confidence) / len(places)
    ask = Inference(confidence, wanted.ask.alternative)
    note = (
        f"intervals of pairs at {100 * confidence:.4g} %, so that all {len(places)} hold together (Bonferroni); "
        "Holm's adjusted p is sharper, so an interval may hold 0 where it is significant"
    )
    found = []
    for i, j in places:
        one = _pair(design, (i, j), wanted, ask)
        names = (design.arms[i].name, design.arms[j].name)
        found.append(Chosen(with_notes(replace(one.result, arms=names), note), one.why))
    known = [one.result.p_value for one in found if not math.isnan(one.result.p_value)]
    adjusted = iter(holm(known).tolist())
    return tuple(
        (one, math.nan if math.isnan(one.result.p_value) else next(adjusted)) for one in found
    )


def _smallest(design: Design, pairs: tuple[tuple[Chosen, float], ...], ask: Inference) -> Chosen:
    known = [p for _, p in pairs if not math.isnan(p)]
    found = ask.result(
        test="Holm's smallest p",
        method=f"over {len(pairs)} pairs: some pair differs",
        estimand="whether any arms differ",
        estimate=math.nan,
        interval=(math.nan, math.nan),
        p_value=min(known, default=math.nan),
        n=tuple(map(len, design.arms)),
        arms=tuple(arm.name for arm in design.arms),
    )
    return Chosen(found, f"of a quantile no joint test is at hand: {pairs[0][0].why}")
