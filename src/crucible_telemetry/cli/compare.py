"""``crucible compare``: experiments of exported files, or of a lab's file, through `Lab.compare_experiments`."""

import math
from functools import partial
from typing import Annotated, Any

import typer

from crucible_telemetry.cli.exports import AsJson, Terms, print_json
from crucible_telemetry.cli.output import run, say
from crucible_telemetry.cli.sources import opened
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.compare import Comparison
from crucible_telemetry.compare.run import Question, asked, compare as compared
from crucible_telemetry.stores.base import Where


def compare(  # noqa: PLR0913 - options of a command
    arms: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTROL TREATMENT…",
            help="Exported files, the control first; or a lab's file and ids or names of experiments in it.",
        ),
    ],
    *,
    metric: Annotated[
        str,
        typer.Option(
            metavar="METRIC",
            help="score.NAME, cost_usd, cost_per_success, latency_ms, latency_ms.p99, ttft, itl, success, "
            "tokens, or a measured field.",
        ),
    ] = "latency_ms",
    secondary: Annotated[
        list[str] | None, typer.Option(metavar="METRIC", help="A further metric, corrected for.")
    ] = None,
    correction: Annotated[str, typer.Option(help="Of further metrics: holm or bh.")] = "holm",
    control: Annotated[
        str | None, typer.Option(metavar="ID", help="Which experiment is the control.")
    ] = None,
    pairing: Annotated[
        str | None,
        typer.Option(metavar="intersection|independent", help="With partly common items."),
    ] = None,
    horizon: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Horizon of means of times.")
    ] = None,
    alternative: Annotated[str, typer.Option(help="two-sided, less or greater.")] = "two-sided",
    bootstrap: Annotated[
        str | None, typer.Option(metavar="BCa|percentile", help="Resample items for the interval.")
    ] = None,
    where: Terms = None,
    confidence: Annotated[float, typer.Option(help="Of the intervals, between 0 and 1.")] = 0.95,
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
) -> None:
    """Compare experiments by one metric: treatment − control, with an interval, by a method the design chooses."""
    options = {
        "secondary": secondary or (), "correction": correction, "control": control, "pairing": pairing,
        "horizon_s": horizon, "bootstrap": bootstrap, "alternative": alternative, "confidence": confidence,
    }  # fmt: skip
    question, chosen = asked(metric, options), parse_where(where or ())
    found = run(partial(_compare, arms, question, chosen), "comparing")
    if as_json:
        print_json(_plain(found.to_dict()))
    else:
        say(found.to_markdown() if markdown else str(found))


async def _compare(arms: list[str], question: Question, where: Where | None) -> Comparison:
    async with opened(arms) as experiments:
        return await compared(experiments, question, where)


def _plain(value: Any) -> Any:
    """JSON has no infinities: they become the texts ``"inf"`` and ``"-inf"``; NaN becomes null."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def add(app: typer.Typer) -> None:
    """Add the command."""
    example = "crucible compare runs.db prompt-a prompt-b --metric score.correct"
    app.command(no_args_is_help=True, epilog=f"Example: {example}")(compare)
