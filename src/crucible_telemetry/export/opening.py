"""Files that somebody hands us, as lines: compressed or not, within limits of size and ratio.

Memory is that of one line (`MAX_LINE_BYTES`); what unpacks to more than `MAX_RATIO` times its size is refused once
it has passed `FREE_BYTES`, whatever it claims to hold.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.export.files import zstandard

MAX_LINE_BYTES: Final = 16 * 2**20
"""An event is at most 1 MiB by default; as escaped text it may be six times that."""
MAX_RATIO: Final = 1000
FREE_BYTES: Final = 64 * 2**20
_CHUNK: Final = 2**18
_MAX_WINDOW: Final = 2**27
_MAGIC: Final = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}


_TABLES: Final = {b"PAR1": "parquet", b"ARROW1": "arrow"}


def table_kind(path: Path) -> str | None:
    """``"parquet"`` or ``"arrow"``, by the first bytes of a file; None for any other."""
    try:
        with path.open("rb") as raw:
            head = raw.read(8)
    except OSError as error:
        raise UnreadableFile(str(path), None, _reason(error)) from error
    return next((kind for magic, kind in _TABLES.items() if head.startswith(magic)), None)


@contextmanager
def opened(
    path: Path, told: Callable[[float], None] = lambda share: None
) -> Iterator[Iterator[bytes]]:
    """The content of a file in chunks, unpacked as its first bytes ask for; `UnreadableFile` says why not.

    `told` hears with each chunk how much of the file has been read, 0 … 1.
    """
    try:
        with path.open("rb") as raw:
            size = max(path.stat().st_size, 1)
            for_each = partial(_tell_share, raw, size, told)
            yield _chunks(path, raw, _unpacking(raw), for_each)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(str(path), None, _reason(error)) from error


def _tell_share(raw: IO[bytes], size: int, told: Callable[[float], None]) -> None:
    told(min(raw.tell() / size, 1.0))


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unpacking(raw: IO[bytes]) -> Any:
    head = raw.read(4)
    raw.seek(0)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind == "gz":
        return gzip.GzipFile(fileobj=raw)
    if kind == "zst":
        unpacker = zstandard().ZstdDecompressor(max_window_size=_MAX_WINDOW)
        return unpacker.stream_reader(raw, read_across_frames=True)
    return raw


def _chunks(
    path: Path, raw: IO[bytes], unpacked: Any, for_each: Callable[[], None]
) -> Iterator[bytes]:
    total = 0
    while chunk := _read(path, unpacked):
        total += len(chunk)
        for_each()
        if unpacked is not raw and total > FREE_BYTES and total > MAX_RATIO * raw.tell():
            raise UnreadableFile(
                str(path),
                None,
                f"it unpacks to more than {MAX_RATIO:,} times its size: no data does",
            )
        yield chunk


def _read(path: Path, unpacked: Any) -> bytes:
    try:
        chunk: bytes = unpacked.read(_CHUNK)
    except (OSError, EOFError, zlib.error):
        raise
    except Exception as error:  # zstandard's own, which cannot be named where it is not installed
        if type(error).__name__ != "ZstdError":
            raise
        raise UnreadableFile(str(path), None, str(error)) from error
    return chunk


class Lines:
    """The lines of chunks: (number of its first line, from 1; line without its end), the empty ones left out.

    With `quoted` an end of line inside double quotes is text, as CSV has it.
    """

    def __init__(self, path: Path, max_line_bytes: int, *, quoted: bool) -> None:
        self._path, self._limit, self._quoted = path, max_line_bytes, quoted
        self._parts: list[bytes] = []
        self._size = self._quotes = 0
        self._number = self._began = 1

    def of(self, chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        """All lines; `UnreadableFile` for one that is longer than the limit."""
        for chunk in chunks:
            *whole, tail = chunk.split(b"\n")
            for piece in whole:
                self._add(piece)
                self._number += 1
                if self._quoted and self._quotes % 2:
                    self._add(b"\n")
                elif line := self._taken():
                    yield line
            self._add(tail)
        if last := self._taken():
            yield last

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            limit = f"{self._limit:,} bytes"
            raise UnreadableFile(str(self._path), self._began, f"a line of more than {limit}")
        self._parts.append(piece)
        if self._quoted:
            self._quotes += piece.count(b'"')

    def _taken(self) -> tuple[int, bytes] | None:
        line, began = b"".join(self._parts).removesuffix(b"\r"), self._began
        self._parts, self._size, self._quotes = [], 0, 0
        self._began = self._number
        return (began, line) if line else None
