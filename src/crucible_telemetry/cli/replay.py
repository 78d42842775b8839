"""``crucible replay``: a user's own traces as experiments."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from crucible_telemetry.cli.output import INTERRUPTED, console, errors
from crucible_telemetry.errors import ConfigurationError, ExportError
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab import Lab
from crucible_telemetry.replay.mapping import EVENT, KEEP, Options, TraceMapping, parse_override
from crucible_telemetry.replay.reading import Trace
from crucible_telemetry.replay.run import Replay, Report
from crucible_telemetry.replay.values import US_PER, micros

OUT: Final = Path("crucible-replay")
"""Where events are written unless told otherwise."""


def replay(  # noqa: PLR0913 - a command's options
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Traces: .json .jsonl .csv .tsv, also packed (.gz .zst)."
        ),
    ],
    *,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="Read a column as a field: latency_ms=took, keep=x.",
        ),
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(metavar="s|ms|us|ns", help="Unit of times that are numbers.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="ISO time that numbers count from; else the Unix epoch."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model of rows that name none.")] = None,
    provider: Annotated[str | None, typer.Option(help="Provider of rows that name none.")] = None,
    prices: Annotated[
        Path | None,
        typer.Option(help="Your own prices, .json or .toml; else those that are known."),
    ] = None,
    event: Annotated[str, typer.Option(help="Event that a row without a name becomes.")] = EVENT,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="Times faster than it happened; else as fast as it goes."),
    ] = None,
    privacy: Annotated[
        str, typer.Option(metavar="none|metadata|full", help="What is kept of texts.")
    ] = "metadata",
    lab: Annotated[
        str | None, typer.Option(metavar="LAB", help="Keep the experiments in this lab.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for the events; without --lab crucible-replay."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how columns are read, and stop.")
    ] = False,
) -> None:
    """Replay your own traces of LLM calls: one experiment for each file, with its summary.

    Columns are read as fields by their names; a table says which and why.
    Units come from names (latency_ms, ttft_s) or from you, never from sizes.
    """
    said = Options(
        mapped=tuple(parse_override(text) for text in mapped or ()),
        time_unit=_unit(time_unit),
        start_us=0 if start is None else _start(start),
        event=event,
        fixed={k: v for k, v in (("model", model), ("provider", provider)) if v is not None},
    )
    into = OUT if out is None and lab is None else out
    session = Session(said, Kept(lab, into), privacy, prices, speed=speed, dry_run=dry_run)
    try:
        anyio.run(session.run, files)
    except KeyboardInterrupt:
        session.tell_interrupted()
        raise SystemExit(INTERRUPTED) from None


class Kept(Struct, frozen=True):
    """Where replayed events go: the URL of a lab (None: memory), a directory for files (None: none)."""

    lab: str | None
    out: Path | None


class Session:
    """One call of the command: its files one after the other in one lab."""

    def __init__(
        self,
        said: Options,
        kept: Kept,
        privacy: str,
        prices: Path | None,
        *,
        speed: float | None,
        dry_run: bool,
    ) -> None:
        self.said, self.kept, self.privacy, self.prices = said, kept, privacy, prices
        self.speed, self.dry_run = speed, dry_run
        self.console = console()
        self.target: Path | str | None = None
        """The file the replay at work will write, or the lab."""
        self._names: set[str] = set()

    async def run(self, files: list[Path]) -> None:
        """Replay each file; the first that cannot be replayed ends it."""
        signals = threading.current_thread() is threading.main_thread()
        async with Lab(
            self.kept.lab or "memory", handle_signals=signals, prices=self.prices
        ) as lab:
            for path in files:
                await self._replay(lab, Trace(path))

    async def _replay(self, lab: Lab, trace: Trace) -> None:
        replaying = Replay(trace, self.said)
        self.console.print(mapping_table(trace, replaying.mapping))
        if self.dry_run:
            return
        name = self._name(trace.name)
        target = self._target(trace.path, name)
        self.target = target or self.kept.lab
        exp = await lab.start_experiment(
            name,
            capture="scope",
            tags=["replay"],
            metadata={"trace": trace.path.name},
            privacy=self.privacy,
            export_on_exit=target,
        )
        with progress(self.console, trace) as tell:
            report = await replaying.run(exp, speed=self.speed, tell=tell)
        tell_bad(trace, report)
        await self._ended(exp)
        self.target = None
        self.console.print(
            f"{report.rows - report.bad:,} of {report.rows:,} rows replayed; {self._told(exp.id, target)}\n",
            soft_wrap=True,
            highlight=False,
        )
        if self.kept.lab is None:
            await exp.cleanup()  # the next file needs the memory

    async def _ended(self, exp: Experiment) -> None:
        """Stop it, which writes its file, and show its summary."""
        await exp.stop()
        self.console.print(str(await exp.metrics()), markup=False, highlight=False, soft_wrap=True)
        if exp.export_error is not None:
            raise exp.export_error

    def _told(self, experiment_id: str, target: Path | None) -> str:
        written = [] if target is None else [f"events written to {target}"]
        kept = [] if self.kept.lab is None else [f"kept in {self.kept.lab} as {experiment_id}"]
        return ", ".join((*kept, *written))

    def _name(self, stem: str) -> str:
        """The file's name, or that with a number where several files have it."""
        name = next(name for name in _numbered(stem) if name not in self._names)
        self._names.add(name)
        return name

    def _target(self, source: Path, name: str) -> Path | None:
        if self.kept.out is None:
            return None
        target = self.kept.out / f"{name}.jsonl"
        if target.exists() and target.samefile(source):
            raise ExportError(str(target), "it is the trace itself; choose another --out")
        return target

    def tell_interrupted(self) -> None:
        """After Ctrl-C: the lab has written what it had."""
        if self.target is not None:
            errors().print(f"interrupted; what was replayed is in {self.target}", soft_wrap=True)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    yield from (f"{stem}-{number}" for number in itertools.count(2))


def mapping_table(trace: Trace, mapping: TraceMapping) -> Table:
    """How each column is read, and why."""
    table = Table(title=f"{trace.path}: how its columns are read", title_justify="left")
    for heading in ("column", "field", "unit", "why"):
        table.add_column(heading, overflow="fold")
    for target in mapping.targets:
        field = "(kept)" if target.field == KEEP else target.field
        table.add_row(target.column, field, target.unit or "", target.why)
    notes = []
    if not mapping.tells_time:
        notes.append("no column says when: events are stamped as they are replayed")
    if not mapping.tells_outcome:
        notes.append("no column says how calls ended: each counts as ok, nobody measured that rate")
    table.caption = "\n".join(notes) or None
    return table


def progress(out: Console, trace: Trace) -> AbstractContextManager[Callable[[], None]]:
    """A bar on a terminal, nothing where there is none."""
    if not out.is_terminal:
        return nullcontext(lambda: None)
    return _Bar(out, trace)


class _Bar(AbstractContextManager[Callable[[], None]]):
    def __init__(self, out: Console, trace: Trace) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        self._progress = Progress(*columns, TimeRemainingColumn(), console=out, transient=True)
        self._task = self._progress.add_task(trace.path.name, total=1.0)
        self._trace = trace

    def __enter__(self) -> Callable[[], None]:
        self._progress.start()
        return lambda: self._progress.update(self._task, completed=self._trace.share)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def tell_bad(trace: Trace, report: Report) -> None:
    """The rows that were left out, on standard error."""
    if not report.bad:
        return
    out = errors()
    for sentence in report.named:
        out.print(f"{trace.path}, {sentence}", soft_wrap=True)
    more = report.bad - len(report.named)
    also = f" ({more:,} more like these)" if more else ""
    out.print(
        f"{trace.path}: {report.bad:,} of {report.rows:,} rows left out{also}", soft_wrap=True
    )


def _unit(text: str | None) -> str | None:
    if text is not None and text not in US_PER:
        raise ConfigurationError("--time-unit", f"want one of {', '.join(US_PER)}, not {text!r}")
    return text


def _start(text: str) -> int:
    try:
        return micros(text, None)
    except ValueError as error:
        raise ConfigurationError("--start", str(error)) from None


def add(app: typer.Typer) -> None:
    """Add the command."""
    example = "crucible replay requests.csv.gz --model gpt-4o --lab runs.db"
    app.command(no_args_is_help=True, epilog=f"Example: {example}")(replay)
