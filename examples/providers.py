"""Every pair of providers of one model, by the published LLMPerf traces: which is faster, and how sure is that?

The providers of a model are compared together, so that the intervals of all their pairs hold at once. 150 calls
each can speak of the median and the p90, not of the p99: its limits are infinite below n = 368, and the
comparison says so. With a path as argument a figure is drawn there: python examples/providers.py pairs.png
"""

import gzip
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
from msgspec.structs import replace

import crucible_telemetry as ct

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "llmperf"
QUANTILES = ("p50", "p90")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # told apart with any colour vision
Family = dict[str, ct.Comparison]
FAMILIES = {
    "70b": ("anyscale", "fireworks", "replicate", "together"),
    "13b": ("anyscale", "together"),
}


def trace(provider: str, size: str) -> Any:
    """The calls of a provider; two traces ship with the package, None where the others are not at hand."""
    beside = SHARED / f"{provider}_{size}.json"
    if beside.exists():
        return json.loads(beside.read_bytes())
    shipped = files("crucible_telemetry") / "data" / f"llmperf_{provider}_{size}.json.gz"
    return json.loads(gzip.decompress(shipped.read_bytes())) if shipped.is_file() else None


async def record(lab: ct.Lab, name: str, calls: Any) -> ct.Experiment:
    """One experiment of a trace, its calls emitted as any instrumented client would."""
    async with lab.experiment(name) as exp:
        for call in calls:
            numbers = {
                "duration_s": call["end_to_end_latency_s"],
                "ttft_s": call["ttft_s"],
                "completion_tokens": call["number_output_tokens"],
            }
            error = call["error_code"]
            await ct.execute(
                "llm.request.stop", numbers, {} if error is None else {"error": str(error)}
            )
    return exp


async def main() -> None:
    families: list[Family] = []
    async with ct.Lab(prices=False) as lab:
        for size, providers in FAMILIES.items():
            traces = {name: trace(name, size) for name in providers}
            arms = [await record(lab, f"{n} {size}", calls) for n, calls in traces.items() if calls]
            if len(arms) < 2:
                continue  # of this model no pair is at hand
            families.append(
                {
                    q: await lab.compare_experiments(arms, metric=f"latency_ms.{q}")
                    for q in QUANTILES
                }
            )
    for family in families:
        tell(family)
    print("\nOf the last family's p90, all that was found:\n")
    print(families[-1]["p90"])
    if sys.argv[1:]:
        draw(families, sys.argv[1])


def tell(family: Family) -> None:
    """Differences in seconds, treatment − control, and p-values corrected for the number of pairs."""
    print(f"{'control → treatment':30}" + "".join(f"{f'Δ {q}, s':>27} {'p':>8}" for q in QUANTILES))
    for pair in zip(*(pairs_of(family[q]) for q in QUANTILES), strict=True):
        cells = (f"{seconds(found):>27} {p_text(p):>8}" for found, p in pair)
        print(f"{' → '.join(pair[0][0].arms):30}" + "".join(cells))


def pairs_of(found: ct.Comparison) -> list[tuple[ct.stats.Result, float]]:
    """Each pair's result with its adjusted p-value; two arms are one pair."""
    if found.pairs:
        return [(pair.result, pair.p_adjusted) for pair in found.pairs]
    names = tuple(arm.name for arm in found.arms)
    return [(replace(found.result, arms=names), found.result.p_value)]


def seconds(result: ct.stats.Result) -> str:
    values = (value / 1000 for value in (result.estimate, *result.interval))
    return "{:+.2f} ({:+.2f} to {:+.2f})".format(*values).replace("-", "−")


def p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def draw(families: list[Family], path: str) -> None:
    """The curves of all traces, and each pair's differences with their intervals (needs the extra [plot])."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(12, 5.2), layout="constrained")
    curves, pairs = figure.subplots(1, 2, width_ratios=(4, 8))
    draw_curves(curves, families)
    draw_pairs(pairs, families)
    for axes in (curves, pairs):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize("medium")
    figure.savefig(path, dpi=110)


def draw_curves(axes: Any, families: list[Family]) -> None:
    """Providers by colour, models by dashes."""
    colours = dict(zip(FAMILIES["70b"], COLOURS, strict=True))
    for family, dashes in zip(families, ("-", "--"), strict=False):
        for arm, curve in zip(family["p50"].arms, family["p50"].curves, strict=True):
            times = [ms / 1000 for ms in curve.values]
            style = {"color": colours[arm.name.split()[0]], "linestyle": dashes, "linewidth": 1.5}
            axes.step(times, curve.shares, where="post", label=arm.name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("end-to-end latency, s")
    axes.set_ylabel("share of calls succeeded by then")
    axes.set_title("150 calls of each provider", loc="left")
    axes.legend(frameon=False, fontsize="small", loc="lower right")


def draw_pairs(axes: Any, families: list[Family]) -> None:
    """One line a pair and quantile, with its figures beside it."""
    labels, place = [], 0
    for family in families:
        for pair in zip(*(pairs_of(family[q]) for q in QUANTILES), strict=True):
            for row, (result, _) in enumerate(pair):
                line(axes, place + 0.17 - 0.34 * row, result, row, first=place == 0)
            labels.append(" → ".join(pair[0][0].arms))
            place -= 1
    axes.axvline(0, color="0.55", linewidth=1, zorder=0)
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xlim(-60, 60)
    ticks = (-30, -10, -2, -1, 0, 1, 2, 10, 30)
    axes.set_xticks(ticks, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in ticks])
    axes.set_yticks(range(0, place, -1), labels)
    axes.set_xlabel("difference of latency, treatment − control, s (linear within ±2 s)")
    axes.set_title("95 % intervals, all pairs of a model together", loc="left")
    axes.legend(frameon=False, fontsize="small", loc="lower left")


def line(axes: Any, place: float, result: ct.stats.Result, row: int, *, first: bool) -> None:
    style = {"color": COLOURS[row], "marker": "os"[row], "markersize": 4, "linestyle": ""}
    low, high = (limit / 1000 for limit in result.interval)
    axes.plot([low, high], [place] * 2, color=COLOURS[row], linewidth=2)
    label = f"{QUANTILES[row]}, n = 150 an arm" if first else None
    axes.plot([result.estimate / 1000], [place], label=label, **style)
    axes.text(
        1.01, place, seconds(result), transform=axes.get_yaxis_transform(), va="center",
        fontsize="small", color=COLOURS[row],
    )  # fmt: skip


if __name__ == "__main__":
    anyio.run(main)
