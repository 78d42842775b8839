"""Intervals of two arms by the bootstrap, where it is asked for: items resampled, pairs as pairs. PURE."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.compare.design import Arm, Design
from crucible_telemetry.compare.method import Chosen
from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.stats.arguments import Clustered
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.resample import Bootstrap
from crucible_telemetry.stats.result import Result

Resampling = Literal["BCa", "percentile"]
_FEW: Final = 20_000
"""Items of both arms that BCa is offered for: its jackknife takes the square of them (2 s)."""


def seed_of(metric: str, ids: Sequence[str]) -> int:
    """The same number for the same metric of the same experiments, so that asking again gives the same digits."""
    return int.from_bytes(hashlib.sha256("\0".join((metric, *ids)).encode()).digest()[:4])


def resampled(
    metric: str, kind: str, design: Design, chosen: Chosen, how: tuple[Resampling, int]
) -> Chosen:
    """The same estimate and p-value with the interval of a bootstrap over items; `how`: which, and its seed."""
    method, seed = how
    if kind == "time":
        raise ComparisonError(
            metric,
            "the bootstrap is of means, rates and ratios: limits of times are order statistics",
        )
    items = sum(len(arm.item_means()[0]) for arm in design.arms)
    if method == "BCa" and items > _FEW:
        raise ComparisonError(
            metric, f"BCa takes the square of {items:,} items in steps: bootstrap='percentile'"
        )
    of = chosen.result
    ask = Inference(of.confidence, of.alternative)
    plan = Bootstrap(
        method=method, seed=seed, confidence=ask.confidence, alternative=ask.alternative
    )
    found = _ratio(metric, plan, design) if kind == "ratio" else _mean(plan, design)
    told = f"interval by {found.test} over items, {found.method}; p-value of {of.test}"
    return Chosen(
        replace(of, interval=found.interval, method=told, notes=of.notes + found.notes),
        f"{chosen.why}; the bootstrap was asked for",
    )


def _mean(plan: Bootstrap, design: Design) -> Result:
    (names, first), (others, second) = (arm.item_means() for arm in design.arms)
    if design.paired:
        return plan.paired(first, second)
    if design.crossed:
        return plan.clustered_difference(Clustered(first, names), Clustered(second, others))
    return plan.difference(first, second)


def _ratio(metric: str, plan: Bootstrap, design: Design) -> Result:
    """Items are drawn by their places; those of the treatment follow those of the control."""
    if design.crossed and not design.paired:
        raise ComparisonError(
            metric,
            "no bootstrap of ratios where only some items are common: pairing='intersection'",
        )
    above, below = (np.concatenate(parts) for parts in zip(*map(_sums, design.arms), strict=True))
    control = len(above) - len(_sums(design.arms[1])[0])

    def ratio(drawn: NDArray[Any], axis: int = -1) -> Any:
        places = drawn.astype(np.intp)
        return above[places].sum(axis=axis) / below[places].sum(axis=axis)

    def of_pairs(drawn: NDArray[Any], axis: int = -1) -> Any:
        return ratio(drawn + control, axis) - ratio(drawn, axis)

    if design.paired:
        return replace(plan, statistic=of_pairs).one(np.arange(control))
    return replace(plan, statistic=ratio).difference(
        np.arange(control), np.arange(control, len(above))
    )


def _sums(arm: Arm) -> tuple[NDArray[Any], NDArray[Any]]:
    if arm.below is None:
        raise AssertionError("a ratio has denominators")
    return arm.item_sums(arm.values), arm.item_sums(arm.below)
