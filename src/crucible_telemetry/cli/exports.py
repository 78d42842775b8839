"""``crucible show``, ``export``: an experiment of a lab, or a file that was written, seen and taken away."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from crucible_telemetry.cli.output import console, errors, run, say
from crucible_telemetry.cli.sources import ids, is_lab, opened
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.errors import ConfigurationError, StoreDamaged, StoreRefused
from crucible_telemetry.experiment.loaded import Loaded
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.export.files import files_beside
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stores.base import Where
from crucible_telemetry.stores.postgres.address import shown

Terms = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="KEY=VALUE", help="Only events that fit: model=gpt-4o, latency_ms>100."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="LAB [EXPERIMENT…] | FILE…", help="Experiments of a lab, or files of events."
    ),
]
Which = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Experiment to read, where a file holds several."),
]


def show(
    sources: Sources,
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
    whole = [
        run(partial(_show, group, experiment, chosen, by, as_json=as_json), "reading")
        for group in _groups(sources)
    ]
    if not all(whole):
        raise typer.Exit(1)


def _groups(sources: list[str]) -> list[list[str]]:
    """A lab with its experiments, or each file alone: one at a time is in memory."""
    if is_lab(sources[0]):
        return [sources]
    trials = {str(beside) for source in sources for beside in files_beside(Path(source))}
    return [[source] for source in sources if source not in trials]  # as `*.jsonl` names them


async def _show(
    sources: list[str],
    experiment: str | None,
    where: Where | None,
    by: str | None,
    *,
    as_json: bool,
) -> bool:
    """Show each; whether all could be read."""
    whole = True
    async with opened(sources, experiment) as experiments:
        if not experiments and not as_json:
            say("no experiments")
        for exp in experiments:
            try:
                summary = await exp.metrics(where, by=by)
            except (StoreDamaged, StoreRefused) as damage:  # the others may be whole
                errors().print(str(damage), soft_wrap=True)
                whole = False
            else:
                _tell(sources[0], exp, summary, as_json=as_json)
    return whole


def _tell(source: str, exp: Questions, summary: Summary, *, as_json: bool) -> None:
    is_file = isinstance(exp, Loaded)
    if as_json:
        told = {"file": source} if is_file else {"lab": shown(source), "state": exp.state.value}
        summed = {"id": exp.id, "experiment": exp.name, "summary": summary.to_dict()}
        print_json(told | summed)
        return
    title = f"{source}: {exp.name}" if is_file else f"{exp.id}: {exp.name}, {exp.state.value}"
    words = ", ".join((exp.spec.condition, *exp.spec.tags))
    console().print(
        f"{title} ({words})", markup=False, highlight=False, soft_wrap=True, style="bold"
    )
    say(f"{summary}\n")


def print_json(value: Any) -> None:
    """One object on a line of standard output."""
    typer.echo(msgspec.json.encode(value, enc_hook=str).decode())


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
    work = partial(_export, source, to, name or experiment, wishes)
    say(run(work, "exporting", left=f"{to} is as it was"))


async def _export(source: str, to: Path, experiment: str | None, wishes: dict[str, Any]) -> str:
    async with opened([source], experiment) as experiments:
        if len(experiments) != 1:
            raise ConfigurationError(
                "EXPERIMENT", f"say which one: there are {ids(experiments) or 'none'}"
            )
        exp = experiments[0]
        path = await exp.export(to, **wishes)
        if wishes["what"] == "trials":
            return f"{len(await exp.trials()):,} trials written to {path}"
        return f"{await exp.count_events(wishes['where']):,} events written to {path}"


def add(app: typer.Typer) -> None:
    """Add the commands."""
    for command, example in (
        (show, "crucible show runs.db prompt-a --where model=gpt-4o"),
        (export, "crucible export runs.db prompt-a --to prompt-a.csv"),
    ):
        app.command(no_args_is_help=True, epilog=f"Example: {example}")(command)
