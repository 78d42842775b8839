"""A comparison drawn: estimates with their intervals, and how the values of each arm are distributed."""

import math
from typing import Any

from crucible_telemetry.compare.comparison import Comparison
from crucible_telemetry.stats.result import Result


def drawn(comparison: Comparison) -> Any:
    """A matplotlib figure; ModuleNotFoundError names the extra where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "plot() needs matplotlib: pip install 'crucible-telemetry[plot]'", name="matplotlib"
        ) from missing
    shown = _shown(comparison)
    panels = 2 if comparison.curves else 1
    figure = Figure(figsize=(5.2 * panels, 1.6 + max(0.42 * len(shown), 1.9)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _intervals(axes[0], comparison, shown)
    if comparison.curves:
        _curves(axes[1], comparison)
    return figure


def _shown(comparison: Comparison) -> list[tuple[str, Result]]:
    """Results in the primary metric's unit, the primary first."""
    pairs = [(" → ".join(found.result.arms), found.result) for found in comparison.pairs]
    first = [] if pairs else [("primary", comparison.result)]
    quantiles = [
        (found.estimand.split("difference of ")[-1].split(" ")[0].rstrip(","), found)
        for found in comparison.quantiles
    ]
    beside = [("successes alone", found) for found in comparison.beside]
    return [*first, *pairs, *quantiles, *beside]


def _intervals(axes: Any, comparison: Comparison, shown: list[tuple[str, Result]]) -> None:
    """One line a result; a limit that is infinite is an arrow to the edge."""
    finite = [
        value
        for _, result in shown
        for value in (result.estimate, *result.interval)
        if math.isfinite(value)
    ]
    low, high = min([*finite, 0.0]), max([*finite, 0.0])
    room = 0.08 * (high - low) or 1.0
    edges = low - 2 * room, high + 2 * room
    for place, (_, result) in enumerate(reversed(shown)):
        _line(axes, place, result, edges)
    axes.axvline(0, color="0.6", linewidth=1, zorder=0)
    axes.set_xlim(*edges)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    unit = f" ({comparison.unit})" if comparison.unit else ""
    axes.set_xlabel(f"{comparison.metric}{unit}, treatment − control")
    axes.set_title(f"{100 * comparison.confidence:g} % intervals", fontsize="medium", loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _line(axes: Any, place: int, result: Result, edges: tuple[float, float]) -> None:
    if math.isnan(result.interval[0]):
        return
    low, high = (min(max(value, edges[0]), edges[1]) for value in result.interval)
    axes.plot([low, high], [place, place], color="C0", linewidth=2, solid_capstyle="butt")
    for end, limit, mark in ((low, result.interval[0], "<"), (high, result.interval[1], ">")):
        if math.isinf(limit):
            axes.plot([end], [place], mark, color="C0", clip_on=False)
    if math.isfinite(result.estimate):
        axes.plot([result.estimate], [place], "o", color="C0")


def _curves(axes: Any, comparison: Comparison) -> None:
    for curve in comparison.curves:
        axes.step([*curve.values], [*curve.shares], where="post", label=curve.name)
    succeeded = bool(comparison.quantiles) or ".p" in comparison.metric
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share succeeded by then" if succeeded else "share at or below")
    unit = f" ({comparison.unit})" if comparison.unit else ""
    axes.set_xlabel(f"{comparison.metric}{unit}")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
