"""``crucible show``, ``export``: what to do with the files that replay and export wrote."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
import typer

from crucible_telemetry.cli.output import console
from crucible_telemetry.cli.sources import is_lab, opened
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment.loaded import load
from crucible_telemetry.experiment.questions import Questions
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


def show(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="LAB [EXPERIMENT…] | FILE…", help="Experiments of a lab, or files of events."
        ),
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
    told = _show_lab if is_lab(sources[0]) else _show
    anyio.run(partial(told, sources, by, chosen, experiment, as_json=as_json))


async def _show(
    sources: list[str],
    by: str | None,
    where: Where | None,
    experiment: str | None,
    *,
    as_json: bool,
) -> None:
    files = [Path(source) for source in sources]
    trials = {beside for path in files for beside in files_beside(path)}
    for path in files:
        if path not in trials:  # as `*.jsonl` names them; they are no events
            exp = await load(path, experiment=experiment)
            _tell(
                f"{path}: {exp.name}",
                {"file": str(path)},
                exp,
                await exp.metrics(where, by=by),
                as_json=as_json,
            )


async def _show_lab(
    sources: list[str],
    by: str | None,
    where: Where | None,
    experiment: str | None,
    *,
    as_json: bool,
) -> None:
    url, *names = sources
    async with opened(url, [*names, experiment]) as experiments:
        for exp in experiments:
            summary = await exp.metrics(where, by=by)
            told = {"lab": url, "id": exp.id, "state": exp.state.value}
            _tell(
                f"{exp.id}: {exp.spec.name}, {exp.state.value}", told, exp, summary, as_json=as_json
            )


def _tell(
    title: str, told: dict[str, str], exp: Questions, summary: Summary, *, as_json: bool
) -> None:
    if as_json:
        print_json({**told, "experiment": exp.spec.name, "summary": summary.to_dict()})
        return
    out = console()
    words = ", ".join((exp.spec.condition, *exp.spec.tags))
    out.print(f"{title} ({words})", markup=False, highlight=False, soft_wrap=True, style="bold")
    out.print(str(summary), markup=False, highlight=False, soft_wrap=True, end="\n\n")


def print_json(value: Any) -> None:
    """One object on a line of standard output."""
    typer.echo(msgspec.json.encode(value).decode())


def export(  # noqa: PLR0913 - options of a command
    source: Annotated[str, typer.Argument(metavar="LAB|FILE", help="A lab, or a file of events.")],
    name: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="Of a lab: which, by id or name.")
    ] = None,
    *,
    to: Annotated[
        Path, typer.Option(help="The file to write: .csv .jsonl (.gz .zst) .parquet .arrow.")
    ],
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
    """Write an experiment of a lab to a file, or a file anew: some columns or some events of it.

    Its trials are written beside, to FILE.trials.jsonl.
    """
    names = None if columns is None else [column.strip() for column in columns.split(",")]
    if to.exists() and Path(source).exists() and to.samefile(source):
        raise ConfigurationError("--to", f"{to} is the file that is read")
    wishes = {"columns": names, "where": parse_where(where or ()), "what": what}
    written = anyio.run(_export, source, to, name or experiment, wishes)
    console().print(written, highlight=False, markup=False, soft_wrap=True)


async def _export(source: str, to: Path, experiment: str | None, wishes: dict[str, Any]) -> str:
    async with opened(source, [experiment]) as experiments:
        if len(experiments) != 1:
            there = ", ".join(one.id for one in experiments) or "none"
            raise ConfigurationError("EXPERIMENT", f"say which one: there are {there}")
        exp = experiments[0]
        path = await exp.export(to, **wishes)
        if wishes["what"] == "trials":
            return f"{len(await exp.trials()):,} trials written to {path}"
        return f"{await exp.count_events(wishes['where']):,} events written to {path}"


def add(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (show, export):
        app.command(no_args_is_help=True)(command)
