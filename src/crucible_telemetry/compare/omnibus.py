"""Several arms where analysis of variance does not fit: items partly in common, times, ratios. PURE.

Whether any arm differs is asked of each item's mean (of ratios and restricted means: its linearised or
pseudo-value, whose mean is the figure) by Wald's test over items as clusters; of times to success as such by the
log-rank test.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.compare import times
from crucible_telemetry.compare.design import Arm, Design
from crucible_telemetry.compare.method import Chosen, linearised, pseudo_value_notes
from crucible_telemetry.stats.arguments import Clustered
from crucible_telemetry.stats.clusters import cr2_wald
from crucible_telemetry.stats.inference import Inference, with_notes
from crucible_telemetry.stats.logrank import log_rank_arms

_CLUSTER: Final = "the item is the cluster, in one arm or in several"


def means_differ(design: Design, ask: Inference) -> Chosen:
    """Of means (or rates), where some items are in several arms and some are not."""
    return _wald(design, ask, f"some items are in several arms: {_CLUSTER}")


def ratios_differ(design: Design, ask: Inference) -> Chosen:
    """Of ratios of sums, linearised by item (the delta method)."""
    arms = tuple(map(linearised, design.arms))
    note = "values are the ratio plus each item's influence on it: their means are the ratios"
    why = f"a ratio of sums: linearised by item; {_CLUSTER}"
    return _wald(replace(design, arms=arms), ask, why, note)


def restricted_differ(design: Design, horizon: float, ask: Inference) -> Chosen:
    """Of means of min(time to success, horizon), by pseudo-values."""
    why = f"failures never succeed: the mean of min(time, {horizon:g} ms), the declared horizon"
    short = [arm.name for arm in design.arms if not times.curve_of(arm).knows(horizon)]
    if short:
        found = ask.undecided(
            f"{', '.join(short)}: not followed to the horizon {horizon:g} ms",
            test="CR2 Wald",
            method="pseudo-values of restricted means",
            estimand="whether the restricted means of the arms differ",
            estimate=math.nan,
            interval=(math.nan, math.nan),
            n=tuple(map(len, design.arms)),
        )
        return Chosen(found, why)
    arms = tuple(arm.with_values(times.restricted(arm, horizon)) for arm in design.arms)
    notes = pseudo_value_notes(design, horizon)
    return _wald(replace(design, arms=arms), ask, f"{why}; {_CLUSTER}", *notes)


def times_differ(design: Design) -> Chosen:
    """Of times to success as such, censored or not; over items where these are shared or repeated."""
    arms = {arm.name: times.censored(arm) for arm in design.arms}
    why = "failures never succeed, and no horizon_s was declared: whole curves of times to success"
    if not (design.crossed or design.repeated):
        return Chosen(log_rank_arms(arms), f"{why}, of independent units")
    labels = dict(zip(arms, _labels(design.arms), strict=True))
    return Chosen(log_rank_arms(arms, clusters=labels), f"{why}; {_CLUSTER}")


def _wald(design: Design, ask: Inference, why: str, *notes: str) -> Chosen:
    items = [arm.by_item() for arm in design.arms]
    arms = {
        arm.name: Clustered(arm.values, label)
        for arm, label in zip(items, _labels(items), strict=True)
    }
    return Chosen(with_notes(cr2_wald(arms, confidence=ask.confidence), *notes), why)


def _labels(arms: Sequence[Arm]) -> list[NDArray[Any]]:
    """Each arm's items; of units without any, one each."""
    if all(arm.items is not None for arm in arms):
        return [np.asarray(arm.items) for arm in arms]
    ends = np.cumsum([len(arm) for arm in arms])
    return np.split(np.arange(ends[-1]), ends[:-1])
