"""``crucible sql``: one query over the experiments of a lab, or over a file of events."""

from functools import partial
from typing import Annotated

import anyio
import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from crucible_telemetry.cli.exports import AsJson, Which
from crucible_telemetry.cli.output import console
from crucible_telemetry.cli.sources import opened
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment.querying import query_experiments
from crucible_telemetry.export.result import QueryResult, shown
from crucible_telemetry.export.table import header, row_line

_NUMBERS = ("int", "uint", "float", "double", "decimal")


def sql(
    source: Annotated[str, typer.Argument(metavar="LAB|FILE", help="A lab, or a file of events.")],
    query: Annotated[
        str, typer.Argument(help='As in "select model, count(*) from events group by 1".')
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
    result = anyio.run(partial(_answer, source, query, experiment))
    if as_json:
        for row in result:
            typer.echo(
                msgspec.json.encode(dict(zip(result.columns, row, strict=True)), enc_hook=str)
            )
    elif as_csv:
        typer.echo(header(result.columns), nl=False)
        for row in result:
            named = dict(zip(result.columns, row, strict=True))
            typer.echo(row_line(result.columns, named), nl=False)
    else:
        _print(result)


async def _answer(source: str, query: str, experiment: str | None) -> QueryResult:
    async with opened(source, [experiment]) as experiments:
        return await query_experiments(experiments, query)


def _print(result: QueryResult) -> None:
    """A table; of more columns than the terminal is wide, a block for each row."""
    out = console()
    if len("  ".join(result.columns)) <= out.width:
        out.print(_table(result))
        return
    width = max(map(len, result.columns))
    for number, row in enumerate(result, 1):
        lines = [
            f"{name:<{width}}  {shown(value)}"
            for name, value in zip(result.columns, row, strict=True)
            if value is not None
        ]
        rule = f"─ row {number:,} ".ljust(width, "─")
        out.print("\n".join([rule, *lines]), highlight=False, markup=False, soft_wrap=True)


def _table(result: QueryResult) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in result.arrow().schema:
        right = str(field.type).startswith(_NUMBERS)
        table.add_column(field.name, justify="right" if right else "left", overflow="fold")
    for row in result:
        table.add_row(*(escape(shown(value)) for value in row))
    return table


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(no_args_is_help=True)(sql)
