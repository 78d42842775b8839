"""Where a command reads from: files and archives that were written, or experiments of a lab's file or server."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Final

import typer

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.experiment.loaded import load
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.lab import Lab
from crucible_telemetry.lab.sources import is_archive, read_in

SQLITE: Final = b"SQLite format 3\0"
"""How a lab's file begins (sqlite.org, "Database File Format")."""
ON_DAMAGE: Final = ContextVar("ON_DAMAGE", default="raise")
"""What `--skip-damaged` chose: see `Lab`."""
LAB_HELP: Final = "A lab: its file, sqlite:///FILE or postgresql://…"

LabUrl = Annotated[str, typer.Argument(metavar="LAB", help=LAB_HELP)]
Chosen = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="Its id, the beginning of that, or its name.")
]


def is_lab(source: str) -> bool:
    """Whether it is a server, or a file of a lab."""
    if "://" in source:
        return not is_archive(source)
    try:
        with Path(source).open("rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def check_lab(url: str) -> None:
    """`ConfigurationError` where no lab is: commands make none by a slip of the pen."""
    if not is_lab(url):
        why = "holds no lab" if Path(url).exists() else "is not there"
        raise ConfigurationError("LAB", f"{url} {why}")


def viewed(url: str) -> Lab:
    """The lab there, to be read; `--skip-damaged` reads what is left of it."""
    check_lab(url)
    return Lab(url, read_only=True, on_damage=ON_DAMAGE.get())


@asynccontextmanager
async def written(url: str) -> AsyncIterator[Lab]:
    """The lab there, to be changed; what its URL cannot tell is looked up first: to open it would make one."""
    async with viewed(url):
        pass
    async with Lab(url) as lab:
        yield lab


def chosen(lab: Lab, wanted: str) -> Experiment:
    """The experiment of this id, of an id that begins so, or of this name; `ConfigurationError` where that is not one."""
    there = lab.list_experiments()
    for fits in (
        [one for one in there if one.id == wanted],
        [one for one in there if one.name == wanted],
        [one for one in there if one.id.startswith(wanted)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ConfigurationError("EXPERIMENT", f"{wanted!r} may be {ids(fits)}: say which")
    raise ConfigurationError("EXPERIMENT", f"no {wanted!r} here; there are {ids(there) or 'none'}")


def ids(experiments: Sequence[Questions]) -> str:
    """Some of their ids, and how many more there are."""
    shown = ", ".join(one.id for one in experiments[:10])
    return f"{shown} and {len(experiments) - 10} more" if len(experiments) > 10 else shown


@asynccontextmanager
async def opened(
    sources: Sequence[str], experiment: str | None = None
) -> AsyncIterator[list[Questions]]:
    """Of ``LAB [EXPERIMENT…]`` those named, all when none is; of ``FILE|ARCHIVE…`` one each (`experiment`: which)."""
    first, *names = sources
    if not is_lab(first):
        yield [await _read(source, experiment) for source in sources]
        return
    async with viewed(first) as lab:
        wanted = [*names, *([] if experiment is None else [experiment])]
        yield [chosen(lab, name) for name in wanted] or list(lab.list_experiments())


async def _read(source: str, experiment: str | None) -> Questions:
    if not is_archive(source):
        return await load(source, experiment=experiment)
    (found,) = await read_in([source], Lab)
    return found
