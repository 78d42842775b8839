"""``crucible show``, ``export``: what to do with the files that replay and export wrote."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec
import typer

from crucible_telemetry.cli.output import console
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment.loaded import Loaded, load
from crucible_telemetry.export.files import files_beside
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
            print_json({"file": str(path), "experiment": exp.name, "summary": summary.to_dict()})
        else:
            out.print(
                _title(path, exp), markup=False, highlight=False, soft_wrap=True, style="bold"
            )
            out.print(str(summary), markup=False, highlight=False, soft_wrap=True, end="\n\n")


def _title(path: Path, exp: Loaded) -> str:
    words = ", ".join((exp.spec.condition, *exp.spec.tags))
    return f"{path}: {exp.name} ({words})"


def print_json(value: Any) -> None:
    """One object on a line of standard output."""
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


def add(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (show, export):
        app.command(no_args_is_help=True)(command)
