"""Opens traces and gives their rows: CSV and JSON Lines as a stream, JSON arrays up to a size.

A row that cannot be read is given with its problem, so that whoever replays can name it.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, Self

import msgspec

from crucible_telemetry.errors import TraceError

MAX_LINE_BYTES: Final = 16 * 2**20
"""A line longer than this is no line of a trace."""
MAX_JSON_BYTES: Final = 256 * 2**20
"""A JSON array is decoded as a whole; larger ones have to come as JSON Lines."""
MAX_DEPTH: Final = 16
"""Objects inside objects become dotted columns up to here."""

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
PACKED: Final = (".gz", ".zst")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_BAD_GZIP: Final = (EOFError, gzip.BadGzipFile, zlib.error)


class Row(NamedTuple):
    """One row: its line (of a JSON array: its position, from 1), and its values or what is wrong with it."""

    number: int
    values: dict[str, Any] | None
    problem: str = ""


class Trace:
    """An open trace: ``with Trace(path) as trace: for row in trace.rows(): …``.

    Raises TraceError when the file is none that can be read; `share` says how much has been read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind, self._packing = _kind(path)
        self._size = 1
        self._raw: io.BufferedReader | None = None
        self._file: io.BufferedReader | None = None
        self._broken: tuple[type[Exception], ...] = ()

    @property
    def name(self) -> str:
        """The file's name without its suffixes."""
        name = self.path.with_suffix("") if self._packing else self.path
        return name.stem

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 … 1."""
        return 0.0 if self._raw is None else min(self._raw.tell() / self._size, 1.0)

    def __enter__(self) -> Self:
        try:
            self._raw = self.path.open("rb")
            self._size = max(self.path.stat().st_size, 1)
        except OSError as error:
            raise TraceError(str(self.path), error.strerror or str(error)) from error
        self._file, self._broken = _unpacked(self._raw, self._packing)
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._file, self._raw):
            if file is not None:
                file.close()

    def rows(self) -> Iterator[Row]:
        """The rows in order; TraceError when the file itself cannot be read (on)."""
        assert self._file is not None  # noqa: S101 - entered
        try:
            yield from self._rows(self._file)
        except self._broken as error:
            raise self._error(f"is no whole {self._packing} file: {error}") from error
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error

    def _rows(self, file: io.BufferedReader) -> Iterator[Row]:
        head = file.peek(2)[:2]
        if not head:
            raise self._error("is empty")
        if head in _UTF16:
            raise self._error("is UTF-16; save it as UTF-8")
        if self.kind in (".csv", ".tsv"):
            return self._csv(file)
        if self.kind == ".json":
            return self._json(file)
        return self._jsonl(enumerate(self._lines(file), 1))

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise self._error(f"line {number} is longer than {MAX_LINE_BYTES >> 20} MiB")
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line

    def _csv(self, file: IO[bytes]) -> Iterator[Row]:
        texts = (line.decode("utf-8", "backslashreplace") for line in self._lines(file))
        first = next(texts)
        cells = csv.reader(_again(first, texts), delimiter=_delimiter(first, self.kind))
        header = next(cells, [])
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise self._error(f"names the column {twice!r} twice")
        while True:
            try:
                found = next(cells, None)
            except csv.Error as error:
                yield Row(cells.line_num, None, str(error))
                continue
            if found is None:
                return
            if found:  # an empty line is none
                yield _csv_row(cells.line_num, header, found)

    def _jsonl(self, lines: Iterator[tuple[int, bytes]]) -> Iterator[Row]:
        for number, line in lines:
            if line.strip():
                try:
                    yield _json_row(number, decode(line))
                except ValueError as error:
                    yield Row(number, None, f"no JSON: {error}")

    def _json(self, file: IO[bytes]) -> Iterator[Row]:
        """An array of objects, an object that holds one, or JSON Lines under the wrong name."""
        data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            limit = f"{MAX_JSON_BYTES >> 20} MiB"
            raise self._error(
                f"is larger than {limit}; write it as JSON Lines (.jsonl), one row a line"
            )
        try:
            found = decode(data)
        except ValueError as error:
            lines = data.splitlines()
            if len(lines) < 2 or not _is_object(lines[0]):
                raise self._error(f"is no JSON: {error}") from error
            return self._jsonl(enumerate(lines, 1))
        return (_json_row(at, value) for at, value in enumerate(self._array(found), 1))

    def _array(self, found: Any) -> list[Any]:
        if isinstance(found, dict):
            lists = [key for key, value in found.items() if _is_table(value)]
            if len(lists) != 1:
                which = f"has several: {', '.join(lists)}" if lists else "has none"
                raise self._error(f"want an array of objects; this object {which}")
            found = found[lists[0]]
        if not isinstance(found, list):
            raise self._error(f"want an array of objects, not {type(found).__name__}")
        return found

    def _error(self, reason: str) -> TraceError:
        return TraceError(str(self.path), reason)


def _kind(path: Path) -> tuple[str, str]:
    """(suffix of the format, suffix of the packing or "")."""
    packing = path.suffix.lower() if path.suffix.lower() in PACKED else ""
    kind = (path.with_suffix("") if packing else path).suffix.lower()
    if kind not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise TraceError(
            str(path), f"is no kind of trace known by its name: {known}, also .gz, .zst"
        )
    return kind, packing


def _unpacked(
    raw: io.BufferedReader, packing: str
) -> tuple[io.BufferedReader, tuple[type[Exception], ...]]:
    """The file's content as a stream, and what reading it raises when it is broken."""
    if packing == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw)), _BAD_GZIP
    if packing == ".zst":
        import zstandard  # noqa: PLC0415 - an extra

        # Files are often several frames one after the other.
        stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        return io.BufferedReader(stream), (zstandard.ZstdError,)
    return raw, ()


def decode(data: bytes) -> Any:
    """JSON, with the NaN and Infinity that Python writes; ValueError for what is none."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _delimiter(header: str, kind: str) -> str:
    if kind == ".tsv":
        return "\t"
    return max(",;\t|", key=header.count)


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv_row(number: int, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(number, None, f"has {len(cells)} cells where the header has {len(header)}")
    return Row(number, dict(zip(header, cells, strict=True)))


def _json_row(number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(number, None, f"is no object but {type(value).__name__}")
    return Row(number, flattened(value))


def flattened(value: dict[str, Any], prefix: str = "", depth: int = 1) -> dict[str, Any]:
    """Objects inside as dotted keys; lists, empty objects and what is too deep stay as they are."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and depth < MAX_DEPTH:
            flat.update(flattened(inner, f"{prefix}{key}.", depth + 1))
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(decode(line), dict)
    except ValueError:
        return False


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
