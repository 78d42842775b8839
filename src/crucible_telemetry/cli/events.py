"""``crucible events``: the catalog, as a table or as JSON."""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from crucible_telemetry.cli.output import console
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events import catalog
from crucible_telemetry.events.known import known
from crucible_telemetry.events.rows import EventInfo


def add(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("events", epilog="Example: crucible events --category llm")
    def events(
        category: Annotated[
            str | None, typer.Option(help="Only the events of this category.")
        ] = None,
        *,
        as_json: Annotated[bool, typer.Option("--json", help="As JSON, one array.")] = False,
    ) -> None:
        """List the known events: what their durations are in, what they end, which fields they have."""
        listed = _chosen(category)
        if as_json:
            typer.echo(json.dumps([_plain(info) for info in listed], indent=1))
        else:
            console().print(_table(listed))


def _chosen(category: str | None) -> list[EventInfo]:
    by_category = catalog.events_by_category()
    if category is not None and category not in by_category:
        raise ConfigurationError("--category", f"want one of {', '.join(by_category)}")
    names = by_category if category is None else {category: by_category[category]}
    return [known(name) for some in names.values() for name in some]


def _plain(info: EventInfo) -> dict[str, Any]:
    """One event for JSON."""
    return {
        "event": info.name,
        "category": info.category,
        "description": info.description,
        "duration_unit": info.unit,
        "ends": info.ends,
        "wraps": bool(info.wraps) and info.ends,
        "fields": {field.name: field.unit for field in info.fields},
        "same_as": [name for name in info.spellings if name != info.name],
    }


def _table(listed: list[EventInfo]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("event", "duration", "ends", "what it is"):
        table.add_column(title, no_wrap=title == "event")
    previous = None
    for info in listed:
        if info.category != previous:
            fields = ", ".join(field.name for field in info.fields)
            table.add_section()
            table.add_row(f"[bold]{info.category}[/bold]", "", "", f"[dim]{fields}[/dim]")
            previous = info.category
        ends = "" if not info.ends else "around others" if info.wraps else "yes"
        table.add_row(escape(f"  {info.name}"), info.unit, ends, escape(info.description))
    return table
