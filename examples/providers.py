"""Every pair of providers of one model, by the published LLMPerf traces: which is faster, and how sure is that?

150 calls each can speak of the median and the p90, not of the p99 (its limits are infinite below n = 368, and
the comparison says so). With a path as argument a figure is drawn there: python examples/providers.py pairs.png
"""

import gzip
import json
import sys
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import anyio

import crucible_telemetry as ct

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "llmperf"
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
    found = []
    async with ct.Lab(prices=False) as lab:
        for size, providers in FAMILIES.items():
            traces = {name: trace(name, size) for name in providers}
            arms = [await record(lab, f"{n} {size}", calls) for n, calls in traces.items() if calls]
            for pair in combinations(arms, 2):
                ids = [exp.id for exp in pair]
                found.append(await lab.compare_experiments(ids, metric="latency_ms"))
    print(f"{'control → treatment':38} {'difference of p50, ms':>31} {'difference of p90, ms':>31}")
    for one in found:
        print(
            f"{arms_of(one):38} {told(quantile(one, 'p50')):>31} {told(quantile(one, 'p90')):>31}"
        )
    print("\nOf the last pair, all that was found:\n")
    print(found[-1])
    if sys.argv[1:]:
        draw(found, sys.argv[1])


def arms_of(one: ct.Comparison) -> str:
    return " → ".join(arm.name for arm in one.arms)


def quantile(one: ct.Comparison, name: str) -> ct.stats.Result:
    return next(found for found in one.quantiles if f"of {name}" in found.estimand)


def told(result: ct.stats.Result) -> str:
    low, high = result.interval
    return f"{result.estimate:+,.0f} ({low:+,.0f} to {high:+,.0f})"


def draw(found: list[ct.Comparison], path: str) -> None:
    """Each pair's differences with their 95 % intervals (needs the extra [plot])."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - optional

    figure = Figure(figsize=(8, 0.6 + 0.5 * len(found)), layout="constrained")
    axes = figure.subplots()
    for name, colour, shift in (("p50", "C0", 0.13), ("p90", "C1", -0.13)):
        for place, one in enumerate(reversed(found)):
            result = quantile(one, name)
            limits = [limit / 1000 for limit in result.interval]
            axes.plot(limits, [place + shift] * 2, color=colour, linewidth=2)
            label = name if place == 0 else None
            axes.plot(
                [result.estimate / 1000],
                [place + shift],
                "o",
                markersize=4,
                color=colour,
                label=label,
            )
    axes.set_xscale("symlog", linthresh=0.1)
    axes.axvline(0, color="0.6", linewidth=1, zorder=0)
    axes.set_yticks(range(len(found)), [arms_of(one) for one in reversed(found)])
    axes.set_xlabel(
        "difference of latency in s, treatment − control, 95 % intervals (linear within ±0.1 s)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    anyio.run(main)
