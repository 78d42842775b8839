"""A walk over a store → the chunks of a file, in the format and with the columns somebody wishes for."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from sys import maxsize
from typing import Any, Final, TypeVar

from msgspec import Struct

from crucible_telemetry.collect.formats import TABLES
from crucible_telemetry.errors import ConfigurationError, ExportError
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.odd import told
from crucible_telemetry.export import jsonl, table
from crucible_telemetry.export.columns import Union, check_columns, flat_row
from crucible_telemetry.export.flat import BOXES
from crucible_telemetry.export.packages import FILES, TABLES as AS_TABLES, part, ready
from crucible_telemetry.export.walk import SLICE, Slice, Slices
from crucible_telemetry.garbage import uncollected
from crucible_telemetry.runtime.headway import headway
from crucible_telemetry.stores.base import Where

T = TypeVar("T")
WHAT: Final = ("events", "trials")
Row = dict[str, Any]
Step = Mapping[str, Callable[[Any], Any]] | Callable[[Row], Row]


class Wishes(Struct, frozen=True, kw_only=True):
    """What of the events is to be written, and how; checked before anything is read.

    `where`: only events that fit. `columns`: only these, in this order, as ``timestamp_us``, ``latency_ms`` or
    ``metadata.user.name`` (see `export.columns`); one that no event has is an error. `transformers`: a
    mapping from column to ``fn(value)`` (None where an event lacks it), or ``fn(row)`` that takes and
    returns a dictionary by column, or several of both in order; one that raises ends the export with an
    `ExportError` that names it and the event, and leaves no file. Columns that mappings change before any
    ``fn(row)`` must be there. Where a header is wanted ``fn(row)``, which may make columns, is asked twice
    for each event. `flat`: JSON Lines by column like CSV, not nested; so is what has `columns`
    or `transformers`.

    `what`: ``"events"``; ``"trials"``, one a line with its scores as ``score.NAME`` (see `export.trials`; all of
    the above but `where`); by default the events, and where trials have run these too, in a file beside:
    ``x.trials.csv`` beside ``x.csv``. What chooses among events or changes them writes no such file.
    """

    what: str | None = None
    where: Where | None = None
    columns: tuple[str, ...] | None = None
    transformers: tuple[Step, ...] = ()
    flat: bool = False

    @property
    def makes_columns(self) -> bool:
        """Whether a transformer may return columns that no event has."""
        return any(not isinstance(step, Mapping) for step in self.transformers)

    @property
    def targets(self) -> list[str]:
        """The columns that mappings change as the events have them."""
        found: list[str] = []
        for step in self.transformers:
            if not isinstance(step, Mapping):
                break
            found += step
        return found

    @property
    def by_column(self) -> bool:
        """Whether JSON Lines are flat."""
        return self.flat or self.columns is not None or bool(self.transformers)

    @property
    def trials_too(self) -> bool:
        """Whether trials go into a file beside that of the events."""
        chosen = self.where or self.columns or self.transformers
        return self.what is None and not chosen


def wishes_of(where: Where | None, options: Mapping[str, Any]) -> Wishes:
    """The options of an export, checked; an unknown one is a `ConfigurationError`."""
    if not isinstance(where, Where | None):
        raise ConfigurationError("where", f"want ct.Where(...), not {where!r}")
    for option in options:
        if option not in Wishes.__struct_fields__:
            raise ConfigurationError(
                option, f"unknown option of export; known are {', '.join(Wishes.__struct_fields__)}"
            )
    given = dict(options)
    given["columns"] = _columns(given.get("columns"))
    given["transformers"] = _steps(given.get("transformers"))
    if not isinstance(given.get("flat", False), bool):
        raise ConfigurationError("flat", f"want True or False, not {given['flat']!r}")
    _check_what(given.get("what"), where)
    return Wishes(where=where, **given)


def _check_what(what: object, where: Where | None) -> None:
    if what not in (None, *WHAT):
        raise ConfigurationError("what", f"want one of {', '.join(WHAT)}, or None, not {what!r}")
    if what == "trials" and where is not None:
        raise ConfigurationError("where", "it chooses events; of trials all are written")


def _columns(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    named = not isinstance(given, str) and isinstance(given, Sequence)
    if not named or not given or not all(isinstance(name, str) for name in given):
        raise ConfigurationError("columns", f"want a list of names, not {given!r}")
    if len(set(given)) < len(given):
        raise ConfigurationError("columns", f"a column comes twice: {list(given)!r}")
    return tuple(given)


def _steps(given: Any) -> tuple[Step, ...]:
    if given is None:
        return ()
    steps = tuple(given) if isinstance(given, list | tuple) else (given,)
    for step in steps:
        fns = step.values() if isinstance(step, Mapping) else (step,)
        if not all(map(callable, fns)):
            raise ConfigurationError("transformers", f"want callables, not {step!r}")
    return steps


async def chunks_of(
    walks: Sequence[Slices], kind: str, wishes: Wishes
) -> AsyncGenerator[bytes, None]:
    """The content of a file of these walks, one after the other, some events a chunk.

    `ConfigurationError` for columns that no event has.
    """
    if kind in TABLES:
        files = await ready(FILES)
        async with gathered(walks, wishes) as events, aclosing(files.file_of(kind, events)) as made:
            async for chunk in made:
                yield chunk
        return
    names: Sequence[str] = ()
    if kind == "csv" or wishes.columns is not None:
        names = await _names(walks, wishes, Union(), made=wishes.makes_columns)
    elif wishes.targets:
        await _names(walks, wishes, Union(), made=False)
    lines = _writer(kind, names, wishes)
    if kind == "csv":
        yield table.header(names)
    async with aclosing(_slices(walks, "writing")) as slices:
        async for some in slices:
            yield _lines(lines, some)


@asynccontextmanager
async def gathered(
    walks: Sequence[Slices], wishes: Wishes, *, aside: bool = True, in_memory: bool = False
) -> AsyncGenerator[Any, None]:
    """The events of these walks as a `tables.Table`; not `aside`: without waiting for any thread."""
    tables = await ready(AS_TABLES) if aside else part(AS_TABLES, "format", "parquet")
    union, limit = Union(), maxsize if in_memory else tables.WAITING_BYTES
    gathering = tables.Gathering(union, wishes.columns, waiting_bytes=limit, aside=aside)
    try:
        async with aclosing(_slices(walks, "gathering", tables.SLICE)) as slices:
            async for some in slices:
                if wishes.transformers:
                    union.add(some)
                    rows = _lines(lambda some: _transformed_rows(some, wishes), some)
                    await gathering.add_rows(rows)
                else:
                    await gathering.add(some)
                if wishes.columns is None:
                    union.check_size()
        yield await gathering.table(_checked(union, wishes))
    finally:
        gathering.close()


def _transformed_rows(some: Slice, wishes: Wishes) -> list[Row]:
    return [_transformed(event, flags, wishes) for event, flags in _with_flags(some)]


@uncollected
def _lines(lines: Callable[[Slice], T], some: Slice) -> T:
    try:
        return lines(some)
    finally:
        some.release()


async def _slices(
    walks: Sequence[Slices], doing: str, rows: int = SLICE
) -> AsyncGenerator[Slice, None]:
    for place, walk in enumerate(walks):
        async with aclosing(walk.slices(rows)) as slices:
            async for some in slices:
                yield some
                if walk.share is not None:
                    headway(doing, (place + walk.share) / len(walks))


async def _names(
    walks: Sequence[Slices], wishes: Wishes, union: Union, *, made: bool
) -> Sequence[str]:
    """The columns to write: those wished for, else the union over all events and (`made`) what is made of them."""
    async with aclosing(_slices(walks, "looking for columns")) as slices:
        async for some in slices:
            union.add(some)
            if wishes.columns is None:
                union.check_size()
            if made:
                for row in _transformed_rows(some, wishes):
                    union.add_row(row)
    return _checked(union, wishes)


def _checked(union: Union, wishes: Wishes) -> Sequence[str]:
    names = list(dict.fromkeys((*union.names, *union.made)))
    inside = () if union.events else tuple(f"{box}." for box in BOXES)
    check_columns("transformers", wishes.targets, (*union.names, *BOXES), "event", inside)
    check_columns("columns", wishes.columns or (), (*names, *BOXES), "event", inside)
    return wishes.columns or names


def _writer(kind: str, names: Sequence[str], wishes: Wishes) -> Callable[[Slice], bytes]:
    if wishes.transformers:
        return lambda some: b"".join(_rows(some, kind, names, wishes))
    if kind == "csv":
        return table.Table(names).lines
    if wishes.by_column:
        return lambda some: b"".join(_rows(some, kind, names, wishes))
    return jsonl.lines


def _rows(some: Slice, kind: str, names: Sequence[str], wishes: Wishes) -> list[bytes]:
    rows = _transformed_rows(some, wishes)
    if kind == "csv":
        return [table.row_line(names, row) for row in rows]
    if names:
        rows = [{name: row[name] for name in names if name in row} for row in rows]
    return [jsonl.row_line(row) for row in rows]


def _with_flags(some: Slice) -> list[tuple[Event, int]]:
    return list(zip(some.events, some.columns.flags[some.rows].tolist(), strict=True))


def _transformed(event: Event, flags: int, wishes: Wishes) -> Row:
    row = flat_row(event, flags)
    row |= {box: getattr(event, box) for box in BOXES if box in (wishes.columns or ())}
    return stepped(row, wishes.transformers, f"event {event.event_id}")


def stepped(row: Row, steps: Sequence[Step], of: str) -> Row:
    """The row after all steps; `ExportError` names the one that failed, and what the row is `of`."""
    for step in steps:
        row = _stepped(row, step, of)
    return row


def _stepped(row: Row, step: Step, of: str) -> Row:
    if isinstance(step, Mapping):
        return row | {name: _asked(fn, row.get(name), of, repr(name)) for name, fn in step.items()}
    after = _asked(step, row, of, "the row")
    if not isinstance(after, dict):
        kind = type(after).__name__
        raise ExportError("file", f"{of}: a transformer returned {kind}, no dict")
    return {str(name): value for name, value in after.items()}


def _asked(fn: Callable[[Any], Any], value: Any, of: str, what: str) -> Any:
    try:
        return fn(value)
    except Exception as error:
        name = getattr(fn, "__qualname__", repr(fn))
        raise ExportError(
            "file", f"{of}: transformer {name} of {what} raised {told(error)}"
        ) from error
