"""Trials as a file, one a line with its scores as ``score.NAME``, and such a file as trials again.

A trial has the columns `OF_TRIAL` and those of its scores, the union over all trials in the order they were
first seen; in JSON Lines it has what it is not without, and ``scores`` nested unless `columns`, `transformers` or
`flat` ask for columns. Cells, words and compression are those of events (see `cells`, `words`). Times are µs since
the epoch, `duration_ns` is the trial's wall time; a trial that is open has no `ended_us`, duration and outcome.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from anyio.lowlevel import checkpoint
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from crucible_telemetry.collect.formats import TABLES
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.export import jsonl, table
from crucible_telemetry.export.cells import flattened, nested
from crucible_telemetry.export.columns import Union, check_columns
from crucible_telemetry.export.files import files_beside
from crucible_telemetry.export.packages import FILES, TABLES as AS_TABLES, ready
from crucible_telemetry.export.reading import LineKind, as_unreadable, read_lines, with_texts
from crucible_telemetry.export.words import restore
from crucible_telemetry.export.writing import Row, Wishes, stepped

SCORES: Final = "scores"
SCORE: Final = "score"
OF_EXPERIMENT: Final = ("experiment_id", "experiment_name", "condition", "tags")
_OF_RECORD: Final = tuple(name for name in TrialRecord.__struct_fields__ if name != "number")
OF_TRIAL: Final = (
    *(name for name in _OF_RECORD if name != SCORES),
    *OF_EXPERIMENT,
    "number",
)
_ROWS: Final = 1024
_OUTCOMES: Final = {None, *(outcome.label for outcome in Outcome)}


class TrialTable(Struct, frozen=True, kw_only=True):
    """The trials of one experiment, as they were at one moment."""

    experiment_id: str
    experiment_name: str
    condition: str
    tags: tuple[str, ...]
    records: list[TrialRecord]

    def row(self, record: TrialRecord) -> Row:
        """What is known of a trial but its scores; what it lacks is left out."""
        found = {
            name: getattr(self if name in OF_EXPERIMENT else record, name) for name in OF_TRIAL
        }
        return {name: value for name, value in found.items() if value is not None}


def _rows(tables: Sequence[TrialTable], wishes: Wishes) -> Iterator[Row]:
    """The trials by column, transformed as is wished."""
    for one in tables:
        for record in one.records:
            row = one.row(record) | dict(flattened(SCORE, record.scores))
            yield stepped(row, wishes.transformers, f"trial {record.number} of {record.item!r}")


def _nested_rows(tables: Sequence[TrialTable]) -> Iterator[Row]:
    for one in tables:
        for record in one.records:
            yield one.row(record) | ({SCORES: record.scores} if record.scores else {})


async def trial_chunks(
    tables: Sequence[TrialTable], kind: str, wishes: Wishes
) -> AsyncGenerator[bytes, None]:
    """The content of a file of these trials, some a chunk; `ConfigurationError` for columns that none has."""
    names = _names(tables, wishes)
    if kind in TABLES:
        async with aclosing(_as_table(kind, names, list(_rows(tables, wishes)))) as chunks:
            async for chunk in chunks:
                yield chunk
        return
    if kind == "csv":
        yield table.header(names)
    written, lines = _writer(kind, names, wishes), list[bytes]()
    by_column = kind == "csv" or wishes.by_column
    for row in _rows(tables, wishes) if by_column else _nested_rows(tables):
        lines.append(written(row))
        if len(lines) >= _ROWS:
            yield b"".join(lines)
            lines.clear()
            await checkpoint()
    if lines:
        yield b"".join(lines)


async def _as_table(
    kind: str, names: Sequence[str], rows: list[Row]
) -> AsyncGenerator[bytes, None]:
    tables, files = await ready(AS_TABLES), await ready(FILES)
    gathering = tables.Gathering(Union(), names)
    for at in range(0, len(rows), _ROWS):
        await gathering.add_rows(rows[at : at + _ROWS])
    table = await gathering.table(names)
    async with aclosing(files.file_of(kind, table)) as chunks:
        async for chunk in chunks:
            yield chunk


def _writer(kind: str, names: Sequence[str], wishes: Wishes) -> Callable[[Row], bytes]:
    if kind == "csv":
        return partial(table.row_line, names)
    if wishes.by_column:
        return lambda row: jsonl.row_line({name: row[name] for name in names if name in row})
    return jsonl.row_line


def _names(tables: Sequence[TrialTable], wishes: Wishes) -> Sequence[str]:
    """The columns to write: those wished for, else the union over all trials and what is made of them."""
    known = list(dict.fromkeys((*OF_TRIAL, *_keys(tables, Wishes()))))
    names = list(dict.fromkeys((*known, *_keys(tables, wishes)))) if wishes.transformers else known
    inside = () if any(one.records for one in tables) else (f"{SCORE}.",)
    check_columns("transformers", wishes.targets, known, "trial", inside)
    check_columns("columns", wishes.columns or (), names, "trial", inside)
    return wishes.columns or names


def _keys(tables: Sequence[TrialTable], wishes: Wishes) -> Iterator[str]:
    return (name for row in _rows(tables, wishes) for name in row)


# -- reading --------------------------------------------------------------------------------------


def _line_type() -> Any:
    """`TrialRecord` as a line has it, with whose it is beside."""
    own = [
        (field.name, field.type, field.default if field.default is not NODEFAULT else {})
        for field in fields(TrialRecord)
        if field.name not in ("number", "item")
    ]
    return msgspec.defstruct(
        "TrialLine",
        [("item", str), ("number", int, 0), *own, *((name, str, "") for name in OF_EXPERIMENT[:2])],
        kw_only=True,
    )


_Line: Final = _line_type()
_decode_any: Final = msgspec.json.Decoder(dict[str, Any]).decode
_TEXTS: Final = ("item", "session", "user", "cohort", "reason", *OF_EXPERIMENT[:2])


def _of_columns(found: dict[str, Any]) -> Any:
    restore(found, cast("dict[str, str]", found.pop("encoded", {})))
    scores = {name: found.pop(name) for name in list(found) if name.startswith(f"{SCORE}.")}
    if scores:
        found[SCORES] = nested(scores)[SCORE] if any(v is not None for v in scores.values()) else {}
    line = msgspec.convert(with_texts(found, _TEXTS), _Line)
    if line.outcome not in _OUTCOMES:
        raise ValueError(f"outcome: {line.outcome!r} is none")
    return line


TRIALS: Final = LineKind("item", lambda data: _of_columns(_decode_any(data)), _of_columns)


async def read_trials(path: Path, experiment_id: str, max_line_bytes: int) -> list[TrialRecord]:
    """The trials of one experiment in a file of trials, in its order, and those that say of none whose they are.

    `UnreadableFile` names the line that is no trial.
    """
    found: list[TrialRecord] = []
    for count, (number, line) in enumerate(read_lines(path, max_line_bytes, TRIALS)):
        if count % _ROWS == 0:
            await checkpoint()
        if line.experiment_id in ("", experiment_id):
            with as_unreadable(path, number):
                found.append(_record(line))
    return found


def _record(line: Any) -> TrialRecord:
    return TrialRecord(**{name: getattr(line, name) for name in TrialRecord.__struct_fields__})


def beside_of(path: Path) -> Path | None:
    """The file of trials beside one of events; None where there is none."""
    return next((one for one in files_beside(path) if one.is_file()), None)


def not_there(path: Path, experiment_id: str, found: Path | None) -> UnreadableFile:
    """The error for trials in which the events of a file were emitted, and that no file has."""
    if found is not None:
        return UnreadableFile(str(found), None, f"no trial in it is of {experiment_id!r}")
    return UnreadableFile(
        str(files_beside(path)[0]),
        None,
        "it is not there; export(what='trials') writes trials, and load(trials=) takes another name",
    )
