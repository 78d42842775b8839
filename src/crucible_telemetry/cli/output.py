"""Where commands write, and how they run: tables that fit, a bar while it lasts, one line when it is cut off."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio
from msgspec import Struct
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from crucible_telemetry.runtime.headway import watched

T = TypeVar("T")
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells have it."""
_UNBOUNDED: Final = 10_000
_FOLDED: Final = 14
"""Cells to which a column that folds may shrink."""
_GAP: Final = 2


class Piped(Console):
    """Says that nobody reads; Rich's own exits, out of the middle of the event loop."""

    def on_broken_pipe(self) -> None:
        """As any other write would: the command ends."""
        raise BrokenPipeError


def console() -> Piped:
    """For what was asked for: standard output. A pipe or file has lines of any length."""
    out = Piped()
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = _UNBOUNDED
    return out


def errors() -> Console:
    """For what went wrong: standard error, without colours in numbers and paths."""
    return Console(stderr=True, highlight=False, markup=False)


def say(text: str) -> None:
    """A sentence or a block of text on standard output, as it is."""
    console().print(text, highlight=False, markup=False, soft_wrap=True)


def close_output() -> None:
    """Nobody reads it: what is still buffered goes nowhere, or the interpreter complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def size_of(count: float) -> str:
    """``4.2 MB``, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


# -- work that takes a while -------------------------------------------------------------------


def run(work: Callable[[], Awaitable[T]], doing: str, *, left: str = "") -> T:
    """The result of `work`, with a bar meanwhile; after Ctrl-C one line says what is `left`, and exit code 130."""
    try:
        with bar(doing):
            return anyio.run(work)
    except KeyboardInterrupt:
        errors().print(f"interrupted{left and '; '}{left}", soft_wrap=True)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def bar(doing: str) -> Iterator[None]:
    """On a terminal a bar on standard error, moved by what the work tells; elsewhere nothing."""
    out = Console(stderr=True)
    if not out.is_terminal:
        yield
        return
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn()
    with Progress(
        *columns, TaskProgressColumn(), TimeRemainingColumn(), console=out, transient=True
    ) as shown:
        task = shown.add_task(doing, total=None)

        def tell(what: str, share: float) -> None:
            now = doing if what == doing else f"{doing}: {what}"
            shown.update(task, description=now, completed=share, total=1.0)

        with watched(tell):
            yield


# -- tables ------------------------------------------------------------------------------------


class Column(Struct, frozen=True):
    """A column of a table: `right` for numbers; `spare` may be left out, `folds` broken, where it is narrow."""

    title: str
    right: bool = False
    spare: bool = False
    folds: bool = False


def print_rows(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the terminal allows: spare columns go first, then each row is a block of lines."""
    out = console()
    kept = list(range(len(columns)))
    widths = [_least(column, [row[at] for row in rows]) for at, column in enumerate(columns)]
    while _total(widths, kept) > out.width:
        spare = [at for at in kept if columns[at].spare]
        if not spare:
            _print_blocks(out, columns, rows)
            return
        kept.remove(spare[-1])
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for at in kept:
        justify: JustifyMethod = "right" if columns[at].right else "left"
        table.add_column(
            escape(columns[at].title),
            justify=justify,
            overflow="fold",
            no_wrap=not columns[at].folds,
        )
    for row in rows:
        table.add_row(*(escape(row[at]) for at in kept))
    out.print(table, highlight=False)


def _least(column: Column, cells: Sequence[str]) -> int:
    natural = max((cell_len(line) for cell in cells for line in cell.split("\n")), default=0)
    return max(cell_len(column.title), min(natural, _FOLDED) if column.folds else natural)


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[at] + _GAP for at in kept) - _GAP


def _print_blocks(out: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    width = max(cell_len(column.title) for column in columns)
    for number, row in enumerate(rows, 1):
        lines = [
            f"{column.title:<{width}}  {cell}"
            for column, cell in zip(columns, row, strict=True)
            if cell
        ]
        rule = f"─ row {number:,} ".ljust(width, "─")
        out.print("\n".join([rule, *lines]), highlight=False, markup=False, soft_wrap=True)
