"""Files that are whole or not there: written beside the target, compressed on the way, renamed at the end.

A file that replaces another does so in one step, so a crash of the process leaves the old one; nothing is
forced to the disk (no fsync), so a machine that loses power may lose a file that was just written.
"""

import itertools
import os
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct

from crucible_telemetry.clock import wall_us
from crucible_telemetry.collect.formats import (
    ENDINGS,
    Format,
    check_format,
    format_of,
    stem_of,
    without_zstandard,
)
from crucible_telemetry.errors import ConfigurationError, ExportError
from crucible_telemetry.export.names import safe_file_name

TRIALS: Final = ".trials"
"""Before the ending of a file of trials."""
_parts = itertools.count(1)
_GZIP: Final = 31
_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3


class Target(Struct, frozen=True):
    """Where to write, and in which format."""

    path: Path
    format: Format


class Squeezer(Protocol):
    """A compressor that takes chunks."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready of the compressed data."""
        ...

    def flush(self) -> bytes:
        """The rest."""
        ...


def target_of(
    path: str | os.PathLike[str] | None,
    kind: str | None,
    compression: str | None,
    name: str,
    *,
    trials: bool = False,
) -> Target:
    """The file an export writes: `path`, or in the folder `path` (default: here) one named after `name`.

    ``NAME_YYYYmmddTHHMMSSZ.jsonl`` (for `trials` ``….trials.jsonl``); a name that is taken gets a number.
    """
    given = None if path is None else _path(path)
    if given is not None and not os.path.isdir(given):  # noqa: PTH112 - false, not OSError, for no name at all
        return Target(given, format_of(given.name, kind, compression))
    chosen = check_format(kind or "jsonl", compression)
    ending = f"{TRIALS if trials else ''}{chosen.ending}"
    return Target(_free(given or Path(), safe_file_name(name), ending), chosen)


def beside(target: Target) -> Target:
    """The file of trials that belongs to a file of events: ``x.trials.csv`` beside ``x.csv``."""
    name = f"{stem_of(target.path.name)}{TRIALS}{target.format.ending}"
    return Target(target.path.with_name(name), target.format)


def files_beside(path: Path) -> list[Path]:
    """Where the trials of a file of events may stand, the likeliest first."""
    stem = stem_of(path.name)
    endings = dict.fromkeys((path.name[len(stem) :] or ENDINGS[0], *ENDINGS))
    return [path.with_name(f"{stem}{TRIALS}{ending}") for ending in endings]


def _path(path: Any) -> Path:
    try:
        os.fsencode(path)
    except UnicodeError as error:
        raise ExportError(repr(path), f"that is no name of a file: {error}") from error
    except TypeError as error:
        raise ConfigurationError("path", f"want a path, not {path!r}") from error
    return Path(os.fsdecode(path))


def _free(folder: Path, name: str, ending: str) -> Path:
    moment = stamp()
    for number in itertools.count(1):
        path = folder / f"{name}_{moment}{f'-{number}' if number > 1 else ''}{ending}"
        if not path.exists():
            return path
    raise AssertionError("counting does not end")


def stamp() -> str:
    """This second in UTC as file names have it, ``20260102T030405Z``."""
    from datetime import UTC, datetime  # noqa: PLC0415 - needed once an export

    return datetime.fromtimestamp(wall_us() / 1e6, UTC).strftime("%Y%m%dT%H%M%SZ")


def squeezer(compression: str | None) -> Squeezer | None:
    """A compressor for ``"gz"`` or ``"zst"``; `ConfigurationError` names the extra that is missing."""
    if compression == "gz":
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    if compression == "zst":
        made: Squeezer = zstandard().ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
        return made
    return None


def zstandard() -> Any:
    """The zstandard package."""
    try:
        import zstandard as package  # noqa: PLC0415 - optional, and asked for now
    except ImportError:
        raise without_zstandard() from None
    return package


Chunks = AsyncGenerator[bytes, None]


async def write_files(files: Sequence[tuple[Target, Chunks]]) -> None:
    """Write the chunks of each to its target, making its folder; memory stays flat.

    Raises `ExportError` with the reason when one cannot be written; every target is then as it was, for
    none takes its place before all are whole.
    """
    parts: list[Path] = []
    try:
        for target, chunks in files:
            with _named(target.path):
                parts.append(_part_of(target.path))
                await _write(parts[-1], squeezed(chunks, target.format.compression))
        for (target, _), part in zip(files, parts, strict=True):
            with _named(target.path):
                part.replace(target.path)
    finally:
        for part in parts:
            # Where it never came to be (its folder is a file, say) there is nothing to remove either.
            with suppress(OSError):
                part.unlink()


async def squeezed(chunks: Chunks, compression: str | None) -> Chunks:
    """The chunks, compressed when asked for."""
    squeeze = squeezer(compression)
    async with aclosing(chunks):
        async for chunk in chunks:
            data = chunk if squeeze is None else squeeze.compress(chunk)
            if data:
                yield data
    if squeeze is not None:
        yield squeeze.flush()


def _part_of(path: Path) -> Path:
    """Where the content of `path` is written before it has its name."""
    if "\0" in str(path) or not path.name:
        raise ExportError(str(path), "that is no name of a file")
    if path.exists() and not path.is_file():
        raise ExportError(str(path), "it is there, and no regular file")
    return path.with_name(f".crucible-{os.getpid()}-{next(_parts)}.part")


async def _write(part: Path, chunks: Chunks) -> None:
    async with aclosing(chunks):
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            async for chunk in chunks:
                file.write(chunk)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What goes wrong inside is an `ExportError` of this file."""
    try:
        yield
    except ExportError as error:  # what the chunks are made of knows no path
        raise ExportError(str(path), error.reason) from error
    except OSError as error:
        raise ExportError(str(path), error.strerror or str(error)) from error
