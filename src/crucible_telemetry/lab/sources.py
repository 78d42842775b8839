"""Exported files and archives as experiments that can be asked, beside those of a lab."""

from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from crucible_telemetry.experiment.loaded import load_every
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.export import manifest
from crucible_telemetry.export.depots import is_bucket

Source = str | PathLike[str]


def is_archive(source: Source) -> bool:
    """Whether it is the folder of an archive, or the URL of one."""
    text = fspath(source)
    if is_bucket(text) or text.startswith("file://"):
        return True
    return "\0" not in text and (Path(text) / manifest.NAME).is_file()


async def read_in(sources: Iterable[Source], lab: Callable[[], Any]) -> list[Questions]:
    """The experiments of these files and archives, in memory; archives come back into what `lab` makes."""
    found: list[Questions] = []
    for source in sources:
        if is_archive(source):
            async with lab() as aside:
                found.append(await aside.restore(source))
        else:
            found += await load_every(source)
    return found
