"""``crucible doctor``: what is installed, and whether a lab holds what it should."""

import platform
import shutil
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Any

import anyio
import apsw
import msgspec
import typer
from rich.table import Table

from crucible_telemetry.cli import EXTRAS
from crucible_telemetry.cli.exports import AsJson
from crucible_telemetry.cli.output import console, errors
from crucible_telemetry.cli.sources import LAB_HELP, is_lab
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.lab.checkup import Checked, look


def doctor(
    lab: Annotated[str | None, typer.Argument(metavar="[LAB]", help=LAB_HELP)] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what is installed and missing; of a lab, whether every event is there as it was written.

    Reads every block. Exits with 1 when something is not as it should be.
    """
    if lab is not None and not is_lab(lab):
        raise ConfigurationError("LAB", f"{lab} holds no lab")
    here = _installed()
    about, found = ({}, []) if lab is None else anyio.run(partial(_look, lab))
    if as_json:
        told = {"installed": here, "lab": about, "experiments": found}
        typer.echo(msgspec.json.encode(told).decode())
    else:
        _print(here, about, found)
    if any(one.problems for one in found):
        raise typer.Exit(1)


def _installed() -> dict[str, Any]:
    missing = sorted({extra for package, extra in EXTRAS.items() if find_spec(package) is None})
    return {
        "python": platform.python_version(),
        "crucible_telemetry": version("crucible-telemetry"),
        "sqlite": apsw.sqlite_lib_version(),
        "extras": sorted(set(EXTRAS.values()) - set(missing)),
        "missing_extras": missing,
    }


async def _look(url: str) -> tuple[dict[str, Any], list[Checked]]:
    found = await look(url)
    try:
        about = {"url": found.keep.url, **found.about}
        if "://" not in url:
            about["free_bytes"] = shutil.disk_usage(url).free
        with errors().status("reading every block"):
            checked = [one async for one in found.experiments()]
    finally:
        await found.keep.close()
    return about, checked


def _print(here: dict[str, Any], about: dict[str, Any], found: list[Checked]) -> None:
    missing = ",".join(here["missing_extras"])
    rows = {
        "Python": here["python"],
        "crucible-telemetry": here["crucible_telemetry"],
        "SQLite": here["sqlite"],
        "extras": ", ".join(here["extras"]),
        "not installed": missing and f"pip install 'crucible-telemetry[{missing}]'",
        **{name.removesuffix("_bytes"): _told(name, value) for name, value in about.items()},
    }
    out = console()
    for name, value in rows.items():
        if value:
            out.print(f"{name:<18}  {value}", highlight=False, markup=False, soft_wrap=True)
    if not about:
        return
    out.print()
    out.print(_table(found) if found else "no experiments", highlight=False)
    for one in found:
        for problem in one.problems:
            out.print(f"{one.id}: {problem}", highlight=False, markup=False, soft_wrap=True)


def _told(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{table} {_size(size)}" for table, size in value.items() if size)
    return _size(value) if name.endswith("_bytes") else str(value)


def _size(count: float) -> str:
    """``4.2 MB``, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def _table(found: list[Checked]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("experiment", "events", "blocks", "state", "written by", "roll-ups", "whole"):
        right = "right" if title in ("events", "blocks") else "left"
        table.add_column(title, justify=right, overflow="fold")  # type: ignore[arg-type]
    for one in found:
        owner = one.owner + (" (alive)" if one.alive else "")
        whole = "no" if one.problems else "yes"
        cells = (f"{one.events:,}", f"{one.blocks:,}", one.state, owner, one.rollups, whole)
        table.add_row(one.id, *cells)
    return table


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)
