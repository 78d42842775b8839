"""``crucible doctor``: what is installed, and whether a lab holds what it should."""

import platform
import shutil
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, Any, Final

import apsw
import typer

from crucible_telemetry.cli import EXTRAS
from crucible_telemetry.cli.exports import AsJson, print_json
from crucible_telemetry.cli.output import Column, print_rows, run, say, size_of
from crucible_telemetry.cli.sources import LAB_HELP, check_lab
from crucible_telemetry.errors import install
from crucible_telemetry.lab.checkup import Checked, look

_COLUMNS: Final = (
    Column("experiment"),
    Column("events", right=True),
    Column("whole"),
    Column("state"),
    Column("roll-ups", spare=True),
    Column("blocks", right=True, spare=True),
    Column("written by", spare=True),
)
_ADVICE: Final = """
What is named is lost from this lab; figures that need it are refused, never silently short. The rest is read with
crucible --skip-damaged show, export …, which say what is missing.
Keep a copy of the file before anything else. An archive or checkpoint brings an experiment back whole:
crucible restore LAB ARCHIVE --new-id. Roll-ups that differ: the events themselves are whole."""


def doctor(
    lab: Annotated[str | None, typer.Argument(metavar="[LAB]", help=LAB_HELP)] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what is installed and missing; of a lab, whether every event is there as it was written.

    Reads every block. Exits with 1 when something is not as it should be.
    """
    if lab is not None:
        check_lab(lab)
    here = _installed()
    about, found = ({}, []) if lab is None else run(partial(_look, lab), "checking")
    if as_json:
        print_json({"installed": here, "lab": about, "experiments": found})
    else:
        _print(here, about, found)
    if any(one.problems for one in found) or about.get("structure", "ok") != "ok":
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
        "not installed": missing and install(missing),
        **{name.removesuffix("_bytes"): _told(name, value) for name, value in about.items()},
    }
    say("\n".join(f"{name:<18}  {value}" for name, value in rows.items() if value))
    if not about:
        return
    say("")
    if not found:
        say("no experiments")
        return
    print_rows(_COLUMNS, [_cells(one) for one in found])
    problems = [f"{one.id}: {problem}" for one in found for problem in one.problems]
    if problems:
        say("\n".join(["", *problems, _ADVICE]))


def _told(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{table} {size_of(size)}" for table, size in value.items() if size)
    return size_of(value) if name.endswith("_bytes") else str(value)


def _cells(one: Checked) -> tuple[str, ...]:
    owner = one.owner + (" (alive)" if one.alive else "")
    whole = "no" if one.problems else "yes"
    if one.elsewhere is not None:
        return one.id, f"{one.events:,}", whole, one.state, "", f"in {one.elsewhere}", owner
    return one.id, f"{one.events:,}", whole, one.state, one.rollups, f"{one.blocks:,}", owner


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: crucible doctor runs.db")(doctor)
