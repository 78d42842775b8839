"""JSON Lines: one event a line, written beside the target and renamed, so nothing torn is ever seen."""

import gzip
import itertools
import math
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from crucible_telemetry.errors import ExportError
from crucible_telemetry.events.event import Event

_parts = itertools.count(1)
_encode = msgspec.json.Encoder(enc_hook=str).encode


def line(event: Event) -> bytes:
    """One event as JSON; NaN and infinities, which JSON has no word for, as ``"NaN"``, ``"Infinity"``."""
    fields = msgspec.structs.asdict(event)
    kept = {key: _finite(value) for key, value in fields.items() if value is not None}
    try:
        return _encode(kept)
    except UnicodeEncodeError:  # names, tags and items are as users gave them
        return _encode({key: _utf8(value) for key, value in kept.items()})


def _utf8(value: Any) -> Any:
    if type(value) is tuple:
        return [_utf8(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if type(value) is str else value


def _finite(value: Any) -> Any:
    if type(value) is float:
        return value if math.isfinite(value) else _word(value)
    if type(value) is dict:
        return {str(key): _finite(item) for key, item in value.items()}
    if type(value) is list:
        return [_finite(item) for item in value]
    return value


def _word(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


async def write_jsonl(path: Path, pages: AsyncIterator[list[Event]]) -> Path:
    """Write pages of events to `path` (``.jsonl`` or ``.jsonl.gz``), making its folder; memory stays flat.

    Raises `ExportError` with the reason when the file cannot be written; the target is then untouched.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{next(_parts)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(part, path) as file:
            async for page in pages:
                file.write(b"".join(line(event) + b"\n" for event in page))
        part.replace(path)
    except OSError as error:
        raise ExportError(str(path), error.strerror or str(error)) from error
    finally:
        # Where it never came to be (its folder is a file, say) there is nothing to remove either.
        with suppress(OSError):
            part.unlink()
    return path


def _opened(part: Path, path: Path) -> IO[bytes]:
    # A few kilobytes per page go to the page cache: not worth a thread each.
    return gzip.open(part, "wb") if path.suffix == ".gz" else part.open("wb")  # type: ignore[return-value]
