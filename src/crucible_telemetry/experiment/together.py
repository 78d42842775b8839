"""Several experiments taken away at once: in one file, or in a file each."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from crucible_telemetry.collect.formats import check_format, format_of
from crucible_telemetry.errors import ConfigurationError, ExportError
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.experiment.taking import write
from crucible_telemetry.export.files import Target
from crucible_telemetry.export.writing import wishes_of


async def export_together(
    experiments: Sequence[Questions],
    path: str | PathLike[str],
    *,
    combined: bool | None = None,
    **options: Any,
) -> list[Path]:
    """Write experiments to the file `path`, one after the other, or each to a file of its own in the folder `path`.

    `combined` says which; by default a name that ends in a format is a file. Options as in `export`.
    """
    if not experiments:
        raise ConfigurationError("experiment_ids", "want at least one experiment")
    if len({id(one) for one in experiments}) < len(experiments):
        raise ConfigurationError("experiment_ids", "an experiment comes twice")
    if not isinstance(combined, bool | None):
        raise ConfigurationError("combined", f"want True, False or None, not {combined!r}")
    folder = Path(path)
    if combined is None:
        combined = _is_file(folder)
    if combined:
        return [await _in_one(experiments, folder, dict(options))]
    _check(options)
    _make(folder)
    return [await one.export(folder, **options) for one in experiments]


def _is_file(path: Path) -> bool:
    if path.is_dir():
        return False
    try:
        format_of(path.name)
    except ConfigurationError:
        return False
    return True


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(str(folder), error.strerror or str(error)) from error


def _check(options: dict[str, Any]) -> None:
    """Options are wrong before a folder is made."""
    given = dict(options)
    check_format(given.pop("format", None) or "jsonl", given.pop("compression", None))
    wishes_of(given.pop("where", None), given)


async def _in_one(experiments: Sequence[Questions], path: Path, options: dict[str, Any]) -> Path:
    chosen = format_of(path.name, options.pop("format", None), options.pop("compression", None))
    wishes = wishes_of(options.pop("where", None), options)
    return await write(experiments, Target(path, chosen), wishes)
