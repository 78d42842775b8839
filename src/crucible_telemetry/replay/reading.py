"""Opens traces and gives their rows: CSV and JSON Lines as a stream, JSON arrays up to a size.

A row that cannot be read is given with its problem, so that whoever replays can name it.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.export.opening import MAX_LINE_BYTES, opened

MAX_JSON_BYTES: Final = 256 * 2**20
"""A JSON array is decoded as a whole; larger ones have to come as JSON Lines."""
MAX_DEPTH: Final = 16
"""Objects inside objects become dotted columns up to here."""

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
PACKED: Final = (".gz", ".zst")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """One row: its line (of a JSON array: its position, from 1), and its values or what is wrong with it."""

    number: int
    values: dict[str, Any] | None
    problem: str = ""


class Trace:
    """A trace: its `rows`, how much of the file they have taken (`share`, 0 … 1), its name and kind.

    Raises UnreadableFile when the file is none that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind, self.name = _kind_and_name(path)
        self.share = 0.0

    def rows(self) -> Iterator[Row]:
        """The rows in order; the file is open until the last, or until the iterator is closed."""
        with opened(self.path, self._read_to) as chunks, Content(chunks) as content:
            yield from self._rows(io.BufferedReader(content))

    def _read_to(self, share: float) -> None:
        self.share = share

    def _rows(self, file: io.BufferedReader) -> Iterator[Row]:
        head = file.peek(2)[:2]
        if not head:
            raise self._error("it is empty")
        if head in _UTF16:
            raise self._error("it is UTF-16; save it as UTF-8")
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
                raise self._error(f"it is longer than {MAX_LINE_BYTES >> 20} MiB", number)
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line

    def _csv(self, file: IO[bytes]) -> Iterator[Row]:
        texts = (line.decode("utf-8", "backslashreplace") for line in self._lines(file))
        first = next(texts)
        cells = csv.reader(_again(first, texts), delimiter=_delimiter(first, self.kind))
        header = self._header(cells)
        twice = next((name for name in header if header.count(name) > 1), None)
        if twice is not None:
            raise self._error(f"it names the column {twice!r} twice")
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

    def _header(self, cells: Iterator[list[str]]) -> list[str]:
        try:
            return next(cells, [])
        except csv.Error as error:
            raise self._error(f"it has no header: {error}", 1) from error

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
                f"it is larger than {limit}; write it as JSON Lines (.jsonl), one row a line"
            )
        try:
            found = decode(data)
        except ValueError as error:
            lines = data.splitlines()
            if len(lines) < 2 or not _is_object(lines[0]):
                raise self._error(f"it is no JSON: {error}") from error
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

    def _error(self, reason: str, line: int | None = None) -> UnreadableFile:
        return UnreadableFile(str(self.path), line, reason)


def _kind_and_name(path: Path) -> tuple[str, str]:
    """(suffix of the format, the file's name without its suffixes)."""
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    kind = plain.suffix.lower()
    if kind not in SUFFIXES:
        known = ", ".join((*SUFFIXES, *(f"….{packed[1:]}" for packed in PACKED)))
        raise UnreadableFile(str(path), None, f"by its name it is no trace; these are: {known}")
    return kind, plain.stem


class Content(io.RawIOBase):
    """Chunks as a file that is read from start to end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, into: Any) -> int:
        """Copy what fits; 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        taken = min(len(into), len(self._rest))
        into[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


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
