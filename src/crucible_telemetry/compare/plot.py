"""A comparison drawn: estimates with their intervals, and how the values of each arm are distributed."""

import math
from typing import Any, Final

from crucible_telemetry.compare.comparison import Comparison, Curve
from crucible_telemetry.errors import install
from crucible_telemetry.stats.result import Result

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Told apart by readers who see few colours, too (Okabe & Ito, 2008); dashes tell the same once more."""
_DASHES: Final = ("-", "--", "-.", ":")
_GREY: Final = "0.55"
_LONG_TAIL: Final = 30
"""From this ratio of the largest time to the median on, times are drawn on a logarithmic axis."""


def drawn(comparison: Comparison) -> Any:
    """A matplotlib figure; ModuleNotFoundError names the extra where matplotlib is absent.

    Filled marks have intervals that exclude 0; an arrow is a limit that is infinite.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"plot() needs matplotlib: {install('plot')}", name="matplotlib"
        ) from missing
    shown = _shown(comparison)
    room = 0.075 * max(len(name) for name, _ in shown)  # inches of names beside the axis
    least = 2.1 if comparison.curves else 0.6
    widths = [3.6 + room, *([4.4] if comparison.curves else [])]
    figure = Figure(
        figsize=(sum(widths), 1.5 + max(0.32 * len(shown), least)), layout="constrained"
    )
    axes = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    _intervals(axes[0], comparison, shown)
    if comparison.curves:
        _curves(axes[1], comparison)
    return figure


def _shown(comparison: Comparison) -> list[tuple[str, Result]]:
    """Results in the primary metric's unit, the primary first."""
    pairs = [(" → ".join(found.result.arms), found.result) for found in comparison.pairs]
    two = " → ".join(arm.name for arm in comparison.arms)
    quantiles = [
        (found.estimand.split("difference of ")[-1].split(" ")[0].rstrip(","), found)
        for found in comparison.quantiles
    ]
    first = [] if pairs or quantiles else [(two, comparison.result)]
    beside = [("mean of successes alone", found) for found in comparison.beside]
    return [*first, *pairs, *quantiles, *beside]


def _intervals(axes: Any, comparison: Comparison, shown: list[tuple[str, Result]]) -> None:
    """One line a result; a limit that is infinite is an arrow to the edge."""
    edges = _edges([result for _, result in shown])
    for place, (_, result) in enumerate(reversed(shown)):
        _line(axes, place, result, edges)
    axes.axvline(0, color=_GREY, linewidth=1, zorder=0)
    axes.set_xlim(*edges)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_yticks(range(len(shown)), [name for name, _ in reversed(shown)])
    axes.set_xlabel(f"treatment − control\n{_named(comparison)}")
    together = ", all pairs together" if len(comparison.pairs) > 1 else ""
    n = shown[0][1].n
    told = f"{100 * comparison.confidence:g} % intervals{together}; n = {', '.join(map(str, n))}"
    axes.set_title(told, fontsize="medium", loc="left")
    _quiet(axes)


def _edges(results: list[Result]) -> tuple[float, float]:
    """The finite ends and 0, with room for arrows."""
    finite = [
        value
        for result in results
        for value in (result.estimate, *result.interval)
        if math.isfinite(value)
    ]
    low, high = min([*finite, 0.0]), max([*finite, 0.0])
    room = 0.16 * (high - low) or 1.0
    return low - room, high + room


def _line(axes: Any, place: int, result: Result, edges: tuple[float, float]) -> None:
    if math.isnan(result.interval[0]):
        return
    low, high = (min(max(value, edges[0]), edges[1]) for value in result.interval)
    colour = COLOURS[0] if math.isfinite(result.estimate) else _GREY
    axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    for end, limit, mark in ((low, result.interval[0], "<"), (high, result.interval[1], ">")):
        if math.isinf(limit):
            axes.plot([end], [place], mark, color=colour, clip_on=False)
    if math.isfinite(result.estimate):
        told = not result.interval[0] <= 0 <= result.interval[1]
        fill = colour if told else "white"
        axes.plot([result.estimate], [place], "o", color=colour, markerfacecolor=fill)


def _curves(axes: Any, comparison: Comparison) -> None:
    curves, succeeded = comparison.curves, comparison.curves[0].of_successes
    ends = [curve.values[-1] for curve in curves if curve.values]
    ends += [curve.until for curve in curves if math.isfinite(curve.until) and succeeded]
    last = max(ends, default=1.0)
    if not any(curve.values for curve in curves):
        axes.text(0.5, 0.5, "nothing succeeded", transform=axes.transAxes, ha="center")
    for place, curve in enumerate(curves):
        style = {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": _DASHES[place % len(_DASHES)],
        }
        first = 0.0 if succeeded or not curve.values else curve.values[0]
        values = [first, *curve.values, min(curve.until, last)]
        shares = [0.0, *curve.shares, curve.shares[-1] if curve.shares else 0.0]
        axes.step(values, shares, where="post", label=curve.name, linewidth=1.5, **style)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share succeeded by then" if succeeded else "share at or below")
    axes.set_xlabel(_named(comparison))
    if succeeded and _long_tailed(curves):
        axes.set_xscale("log")
    axes.set_title(f"each {comparison.unit_kind} of an arm", fontsize="medium", loc="left")
    beside = {"loc": "lower right" if succeeded else "upper left"}
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
    axes.legend(frameon=False, fontsize="small", **(beside if len(curves) < 3 else below))
    _quiet(axes)


def _long_tailed(curves: tuple[Curve, ...]) -> bool:
    there = [curve.values for curve in curves if curve.values]
    middle = max((values[len(values) // 2] for values in there), default=1.0)
    return max((values[-1] for values in there), default=1.0) > _LONG_TAIL * middle


def _named(comparison: Comparison) -> str:
    return f"{comparison.metric} ({comparison.unit})" if comparison.unit else comparison.metric


def _quiet(axes: Any) -> None:
    """Few ticks, a power of ten where numbers are long, no box."""
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=5)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5), useMathText=True)
