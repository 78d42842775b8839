"""Exported files → events again, one line or row at a time.

JSON Lines come back as they were, to the bit. Parquet, Arrow and CSV come back but for
keys whose value was None, and NaN and infinities inside lists, which are words then; in a column of a table that has
floats too an integer is a float. Figures are the same to the bit, in CSV those beyond 2⁵¹ ns or pico-dollars to the
precision of a float. A file with chosen columns gives what it has; its events count as the catalog says.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.events.event import Event
from crucible_telemetry.export.cells import nested, read_cell
from crucible_telemetry.export.flat import BOXES
from crucible_telemetry.export.opening import MAX_LINE_BYTES, Lines, opened, table_kind
from crucible_telemetry.export.packages import READING, part
from crucible_telemetry.export.words import restore
from crucible_telemetry.runtime.headway import headway

_DEFAULTS: Final[dict[str, Any]] = {
    "seq": 0, "event_id": "", "event_name": "", "measurements": {}, "metadata": {},
    "experiment_id": "", "experiment_name": "", "condition": "default", "tags": (),
}  # fmt: skip
_EVENT_FIELDS: Final = fields(Event)
_NAMES: Final = tuple(field.name for field in _EVENT_FIELDS)
_TEXTS: Final = frozenset(field.name for field in _EVENT_FIELDS if field.type in (str, str | None))


class LineKind(Struct, frozen=True):
    """What the lines of a file are: a column each of them has, and what makes one of JSON or of columns."""

    required: str
    of_json: Callable[[bytes], Any]
    of_columns: Callable[[dict[str, Any]], Any]


def _line_type() -> Any:
    """`Event` as a line has it: what a file may lack has a default, and what it counts as stands beside."""
    own = [
        (
            field.name,
            field.type,
            _DEFAULTS.get(field.name, field.default),
        )
        for field in _EVENT_FIELDS
        if field.name in _DEFAULTS or field.default is not NODEFAULT
    ]
    return msgspec.defstruct(
        "Line",
        [
            ("timestamp_us", int),
            *own,
            *((name, bool, False) for name in ("ends", "llm", "wraps", "marked")),
            ("rank", int, 0),
            ("exact", dict[str, int], {}),
            ("encoded", dict[str, str], {}),
        ],
        kw_only=True,
        gc=False,  # a line refers to nothing that refers to it
    )


Line: Final = _line_type()
_decode_line: Final = msgspec.json.Decoder(Line).decode
_decode_any: Final = msgspec.json.Decoder(dict[str, Any]).decode
# A cell with its quotes; where none begins, all that is left (so that no line takes longer than its length).
_CELLS: Final = re.compile(r'((?:"[^"]*+(?:""[^"]*+)*+"|[^",]*+)(?=,)|.+),?', re.DOTALL).findall
_MOST_KNOWN: Final = 8192
_LONGEST_KNOWN: Final = 64
_IMMUTABLE: Final = frozenset({str, int, float, bool, type(None)})


def read_events(
    path: str | PathLike[str], *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Event]:
    """The events of a JSON Lines or CSV file (also ``.gz``, ``.zst``), or of a Parquet or Arrow one, in its order.

    Memory is that of a line, or of some pages. `UnreadableFile` names the line that is no event, or is longer than
    `max_line_bytes`, or the row; and what of a table is not as it was written.
    """
    return (event_of(line) for _, line in read_lines(path, max_line_bytes))


def event_of(line: Any) -> Event:
    """The event of a line."""
    return Event(**{name: getattr(line, name) for name in _NAMES})


def read_lines(
    path: str | PathLike[str], max_line_bytes: int = MAX_LINE_BYTES, kind: LineKind | None = None
) -> Iterator[tuple[int, Any]]:
    """(number of the line in the file, its `Line`) of each event, or of what else the lines are."""
    file, kind = Path(path), kind or EVENTS
    as_table = table_kind(file)
    if as_table is not None:
        yield from _table_lines(file, as_table, kind)
        return
    with opened(file, partial(headway, "reading")) as chunks:
        first = next(chunks, b"")
        as_csv = _is_csv(file.name, first, kind.required)
        lines = Lines(file, max_line_bytes, quoted=as_csv).of(chain([first], chunks))
        parse = kind.of_json
        if as_csv:
            number, head = next(lines, (1, b""))
            with as_unreadable(file, number):
                parse = _csv_parser(head, kind)
        for number, data in lines:
            try:
                line = parse(data)
            except Exception:  # a context for each line would cost a tenth of it
                with as_unreadable(file, number):
                    raise
            yield number, line


def _table_lines(file: Path, as_table: str, kind: LineKind) -> Iterator[tuple[int, Any]]:
    tables = part(READING, "path", "parquet")
    with file.open("rb") as raw:
        for number, row in tables.TableFile(file, as_table, raw).rows():
            try:
                line = kind.of_columns(row)
            except Exception:
                with as_unreadable(file, number):
                    raise
            yield number, line


def _is_csv(name: str, first: bytes, column: str) -> bool:
    """What a file holds is seen by its first bytes (`export` takes ``format=`` for any name), else by its name."""
    start = first.removeprefix(codecs.BOM_UTF8).lstrip()
    named = ".csv" in Path(name.lower()).suffixes[-2:]
    return not start.startswith(b"{") and (named or column.encode() in start.partition(b"\n")[0])


@contextmanager
def as_unreadable(file: Path, number: int) -> Iterator[None]:
    """What parsing raises, as `UnreadableFile` that names the line."""
    try:
        yield
    except UnreadableFile:
        raise
    except (ValueError, LookupError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise UnreadableFile(str(file), number, reason) from error


def _json_line(data: bytes) -> Any:
    line = _decode_line(data)
    if not line.event_id or not (line.measurements or line.metadata):
        flat = _decode_any(data)
        if BOXES[0] not in flat:
            return _line_of(flat)
    if line.encoded:
        restore({box: getattr(line, box) for box in BOXES}, line.encoded)
    return line


def _unflattened(flat: dict[str, Any]) -> dict[str, Any]:
    encoded = cast("dict[str, str]", flat.pop("encoded", {}))
    restore(flat, encoded)
    inner = {name: flat.pop(name) for name in _inner_names(tuple(flat))}
    return flat | nested(inner)


@lru_cache(maxsize=64)
def _inner_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of columns that are keys of measurements or metadata; rows of one file have few sets of columns."""
    return tuple(name for name in names if name.startswith(_PREFIXES))


_PREFIXES: Final = tuple(f"{box}." for box in BOXES)


def _line_of(flat: dict[str, Any]) -> Any:
    """A `Line` from fields by column."""
    found = _unflattened(flat)
    try:
        return msgspec.convert(found, Line)
    except msgspec.ValidationError:  # not asked of each: most have no such text
        return msgspec.convert(with_texts(found, _TEXTS), Line)


def with_texts(found: dict[str, Any], texts: Iterable[str]) -> dict[str, Any]:
    """The fields, where a text that a spreadsheet made a number is a text again."""
    for name in texts:
        if type(found.get(name)) in (int, float):
            found[name] = str(found[name])
    return found


EVENTS: Final = LineKind("timestamp_us", _json_line, _line_of)


def _csv_parser(head: bytes, kind: LineKind) -> Callable[[bytes], Any]:
    names = [_bare(cell) for cell in _cells(head.decode().removeprefix("\ufeff"))]
    if kind.required not in names:
        raise ValueError(f"the header has no {kind.required}: {', '.join(names[:8])} …")
    if len(set(names)) < len(names):
        raise ValueError("a column comes twice")
    known = _Known()

    def parse(line: bytes) -> Any:
        row = _cells(line.decode())
        if len(row) != len(names):
            raise ValueError(f"{len(row)} cells, and {len(names)} columns in the header")
        flat = dict(zip(names, map(known.__getitem__, row), strict=True))
        return kind.of_columns({name: value for name, value in flat.items() if value is not None})

    return parse


class _Known(dict[str, Any]):
    """The values of cells; short ones, most of which come again, are read once."""

    def __missing__(self, text: str) -> Any:
        value = read_cell(_bare(text), quoted=text.startswith('"'))
        short = len(text) <= _LONGEST_KNOWN and type(value) in _IMMUTABLE
        if short and len(self) < _MOST_KNOWN:
            self[text] = value
        return value


def _cells(line: str) -> list[str]:
    """The cells of a line, in their quotes."""
    cells: list[str] = _CELLS(line + ",")
    if ",".join(cells) != line:
        at = len(line) - len(cells[-1]) + 1
        raise ValueError(f"a quote out of place behind character {max(at, 0)}")
    return cells


def _bare(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell
