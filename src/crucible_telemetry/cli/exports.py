"""``crucible show``, ``export``, ``compare``: what to do with the files that replay and export wrote."""

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
import typer
from rich.table import Table

from crucible_telemetry.analysis.difference import (
    METRICS,
    Difference,
    check_items,
    difference,
)
from crucible_telemetry.cli.output import console
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.errors import ComparisonError, ConfigurationError
from crucible_telemetry.experiment.loaded import Loaded, load
from crucible_telemetry.export.files import files_beside
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stores.base import Where

Terms = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="KEY=VALUE", help="Only events that fit: model=gpt-4o, latency_ms>100."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Which = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Experiment to read, where a file holds several."),
]
One = Annotated[Path, typer.Argument(metavar="FILE", help="A file replay or export wrote.")]


def show(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files replay or export wrote.")
    ],
    *,
    by: Annotated[
        str | None, typer.Option(metavar="event", help="Also the figures of each event name.")
    ] = None,
    where: Terms = None,
    experiment: Which = None,
    as_json: AsJson = False,
) -> None:
    """Show the summary of what was written: latency, cost, tokens, success, events."""
    if by not in (None, "event"):
        raise ConfigurationError("--by", f"want event, not {by!r}")
    chosen = parse_where(where or ())
    anyio.run(partial(_show, files, by, chosen, experiment, as_json=as_json))


async def _show(
    files: list[Path],
    by: str | None,
    where: Where | None,
    experiment: str | None,
    *,
    as_json: bool,
) -> None:
    out = console()
    trials = {beside for path in files for beside in files_beside(path)}
    for path in files:
        if path in trials:  # as `*.jsonl` names them; they are no events
            continue
        exp = await load(path, experiment=experiment)
        summary = await exp.metrics(where, by=by)
        if as_json:
            _print_json({"file": str(path), "experiment": exp.name, "summary": summary.to_dict()})
        else:
            out.print(
                _title(path, exp), markup=False, highlight=False, soft_wrap=True, style="bold"
            )
            out.print(str(summary), markup=False, highlight=False, soft_wrap=True, end="\n\n")


def _title(path: Path, exp: Loaded) -> str:
    words = ", ".join((exp.spec.condition, *exp.spec.tags))
    return f"{path}: {exp.name} ({words})"


def _print_json(value: Any) -> None:
    typer.echo(msgspec.json.encode(value).decode())


def export(
    file: One,
    *,
    to: Annotated[Path, typer.Option(help="The file to write: .csv .jsonl (.gz .zst).")],
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Columns to write, in this order.")
    ] = None,
    where: Terms = None,
    experiment: Which = None,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="trials|events", help="Only the trials with their scores, or only the events."
        ),
    ] = None,
) -> None:
    """Write a file anew: as CSV or JSON Lines, some columns or some events of it.

    Trials that stand beside it, in FILE.trials.jsonl, are written beside again.
    """
    names = None if columns is None else [name.strip() for name in columns.split(",")]
    if to.exists() and file.exists() and to.samefile(file):
        raise ConfigurationError("--to", f"{to} is the file that is read")
    wishes = {"columns": names, "where": parse_where(where or ()), "what": what}
    written = anyio.run(_export, file, to, experiment, wishes)
    console().print(written, highlight=False, markup=False, soft_wrap=True)


async def _export(file: Path, to: Path, experiment: str | None, wishes: dict[str, Any]) -> str:
    exp = await load(file, experiment=experiment)
    path = await exp.export(to, **wishes)
    if wishes["what"] == "trials":
        return f"{len(await exp.trials()):,} trials written to {path}"
    return f"{await exp.count_events(wishes['where']):,} events written to {path}"


def compare(
    control: Annotated[Path, typer.Argument(help="What is compared with.")],
    treatment: Annotated[Path, typer.Argument(help="What is compared.")],
    *,
    metric: Annotated[
        str, typer.Option(metavar="METRIC", help=f"What is compared: {', '.join(METRICS)}.")
    ] = "latency_ms",
    where: Terms = None,
    confidence: Annotated[float, typer.Option(help="Of the interval, between 0 and 1.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Compare two experiments by one metric: treatment − control, with an interval.

    Calls are taken as independent; where they are not, it says so and refuses.
    """
    if not 0 < confidence < 1:
        raise ConfigurationError(
            "--confidence", f"want a share between 0 and 1, not {confidence:g}"
        )
    chosen = parse_where(where or ())
    found, notes = anyio.run(_compare, (control, treatment), metric, chosen, confidence)
    if as_json:
        _print_json({"control": str(control), "treatment": str(treatment), **_plain(found, notes)})
    else:
        out = console()
        out.print(difference_table(found, (control.name, treatment.name)))
        for note in (*found.notes, *notes):
            out.print(f"note: {note}", markup=False, highlight=False)


async def _compare(
    files: tuple[Path, Path], metric: str, where: Where | None, confidence: float
) -> tuple[Difference, tuple[str, ...]]:
    arms = [await load(path) for path in files]
    if arms[0].id == arms[1].id:
        raise ComparisonError(metric, f"both files hold the same experiment, {arms[0].id!r}")
    summaries = [await exp.metrics(where) for exp in arms]
    found = difference(metric, summaries[0], summaries[1], confidence=confidence)
    items = [await _items(*arm, where) for arm in zip(arms, summaries, strict=True)]
    return found, check_items(metric, items[0], items[1])


async def _items(exp: Loaded, summary: Summary, where: Where | None) -> Counter[str]:
    """How many operations of the pool each item has."""
    llm_only = summary.pool.startswith("llm")
    found: Counter[str] = Counter()
    async for page in exp.pages(where):
        found.update(
            event.sample_id
            for event in page
            if event.sample_id is not None
            and event.outcome is not None
            and (event.category == "llm" or not llm_only)
        )
    return found


def _plain(found: Difference, notes: tuple[str, ...]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.structs.asdict(found)
    return plain | {"notes": (*found.notes, *notes)}


def difference_table(found: Difference, names: tuple[str, str]) -> Table:
    """Both arms, then their difference with its interval and how it was found."""
    table = Table(title=f"{found.metric}: treatment − control", title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("n", justify="right")
    table.add_column(_heading(found.unit), justify="right")
    for role, name, n, value in zip(
        ("control", "treatment"), names, found.n, found.values, strict=True
    ):
        table.add_row(f"{role}  {name}", f"{n:,}", figure(value, found.unit))
    table.add_section()
    low, high = (figure(bound, found.unit, signed=True) for bound in found.interval)
    table.add_row("difference", "", figure(found.estimate, found.unit, signed=True))
    table.add_row(f"{found.confidence * 100:.4g} % interval", "", f"{low} to {high}")
    table.caption = found.method + ("" if found.p_value is None else f", {_p(found.p_value)}")
    table.caption_justify = "left"
    return table


def _heading(unit: str) -> str:
    return "rate" if unit == "rate" else f"mean, {unit}"


def figure(value: float, unit: str, *, signed: bool = False) -> str:
    """A value in its unit; rates in percent (points, when they are differences)."""
    sign = "+" if signed else ""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return f"{value:{sign}}"
    if unit == "rate":
        return f"{value * 100:{sign}.2f} {'points' if signed else '%'}"
    return f"{value:{sign},.6g}"


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def add(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (show, compare, export):
        app.command(no_args_is_help=True)(command)
