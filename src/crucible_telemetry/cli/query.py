"""``crucible sql``: one query over the experiments of a lab, or over a file of events."""

from functools import partial
from typing import Annotated

import typer

from crucible_telemetry.cli.exports import AsJson, Which, print_json
from crucible_telemetry.cli.output import Column, print_rows, run
from crucible_telemetry.cli.sources import opened
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment.querying import query_experiments
from crucible_telemetry.export.result import QueryResult, shown
from crucible_telemetry.export.table import header, row_line

_NUMBERS = ("int", "uint", "float", "double", "decimal")


def sql(
    source: Annotated[
        str,
        typer.Argument(
            metavar="LAB|FILE|ARCHIVE",
            help="A lab, a file of events, or an archive: folder, s3://…",
        ),
    ],
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY", help='As in "select model, count(*) from events group by 1".'
        ),
    ],
    *,
    experiment: Which = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask with SQL (DuckDB): relations events, trials, experiments; "describe events" lists columns.

    Reads only. It sees what was committed when it began.
    """
    if as_csv and as_json:
        raise ConfigurationError("--csv", "stands for another format than --json")
    result = run(partial(_answer, source, query, experiment), "asking")
    if as_json:
        for row in result:
            print_json(dict(zip(result.columns, row, strict=True)))
    elif as_csv:
        typer.echo(header(result.columns), nl=False)
        for row in result:
            named = dict(zip(result.columns, row, strict=True))
            typer.echo(row_line(result.columns, named), nl=False)
    else:
        _print(result)


async def _answer(source: str, query: str, experiment: str | None) -> QueryResult:
    async with opened([source], experiment) as experiments:
        return await query_experiments(experiments, query)


def _print(result: QueryResult) -> None:
    fields = result.arrow().schema
    numbers = [str(field.type).startswith(_NUMBERS) for field in fields]
    columns = [
        Column(field.name, right=number, folds=not number)
        for field, number in zip(fields, numbers, strict=True)
    ]
    print_rows(columns, [[shown(value) for value in row] for row in result])


def add(app: typer.Typer) -> None:
    """Add the command."""
    example = "crucible sql runs.db 'select condition, count(*) from trials group by 1' --csv"
    app.command(no_args_is_help=True, epilog=f"Example: {example}")(sql)
