"""An exported file as an experiment that can be asked, filtered and exported again."""

import weakref
from collections.abc import AsyncIterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final, NoReturn

from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from crucible_telemetry.analysis.reading import Extras, Reading
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.progress import FlushResult
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import State, make_spec
from crucible_telemetry.collect.trials import TrialRecord, Trials
from crucible_telemetry.errors import LifecycleError, UnreadableFile
from crucible_telemetry.events.event import Event
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.export.loading import Loader
from crucible_telemetry.export.opening import MAX_LINE_BYTES, table_kind
from crucible_telemetry.export.packages import READING, ready
from crucible_telemetry.export.reading import read_lines
from crucible_telemetry.export.trials import beside_of, not_there, read_trials
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.export.writing import Wishes
from crucible_telemetry.metrics.figures import Privacy
from crucible_telemetry.stores.base import Where, Window

_LINES_AT_ONCE: Final = 256


class Loaded(Questions):
    """One experiment of a file, read only: `metrics`, `events`, `pages`, `window`, `export` and their kin.

    Figures are those that were exported. What a file of events does not hold: when it ran and was
    paused (`active_seconds` is the time between the first and last event), marks, what sampling left
    out, and trials with their scores: `trials` reads these from the file that was written beside it.
    """

    def __init__(self, path: str, loader: Loader, trials: Path | None, max_line_bytes: int) -> None:
        reader = loader.reader
        self.path, self.id, self.spec = path, reader.experiment_id, reader.spec
        self._cleaned_up = False
        self._subscriptions = weakref.WeakSet()
        self._reading = Reading(loader.store, reader)
        self._custom = CustomMetrics({}, reader)
        self._seqs = loader.seqs()
        self._life = loader.life()
        self._trials: list[TrialRecord] | None = None
        self._trials_path, self._max_line_bytes = trials, max_line_bytes
        self._in_trials = loader.in_trials
        self._number_of = loader.trial_number

    def __repr__(self) -> str:
        return f"<Loaded {self.id} from {self.path!r}>"

    @property
    def state(self) -> State:
        """Always stopped."""
        return State.STOPPED

    async def flush(self, timeout_s: float | None = None) -> FlushResult:
        """Nothing waits."""
        await checkpoint()
        return FlushResult(flushed=0, timed_out=False)

    async def trials(self) -> list[TrialRecord]:
        """The trials in the order they started, of ``x.trials.jsonl`` beside ``x.jsonl`` (or ``.csv`` …).

        `UnreadableFile` where it is not there, or has none of this experiment, although its events were
        emitted in trials.
        """
        found = await self._known_trials()
        if not found and self._in_trials:
            raise not_there(Path(self.path), self.id, self._trials_file)
        return found

    async def _known_trials(self) -> list[TrialRecord]:
        if self._trials is None:
            file = self._trials_file
            limit = self._max_line_bytes
            self._trials = [] if file is None else await read_trials(file, self.id, limit)
        return list(self._trials)

    async def _joined_trials(self) -> list[TrialRecord]:
        """The trials under the numbers that their events have here: a file of events has none."""
        return [
            replace(one, number=self._number_of(one) or Trials.new_number())
            for one in await self._known_trials()
        ]

    @property
    def _trials_file(self) -> Path | None:
        return self._trials_path or beside_of(Path(self.path))

    async def pages(
        self, where: Where | None = None, size: int = 1024
    ) -> AsyncIterator[list[Event]]:
        """See `Experiment.pages`."""
        async for page in self._reading.pages(where, size):
            yield self._as_exported(page)

    async def events(self, where: Where | None = None) -> list[Event]:
        """See `Experiment.events`."""
        return self._as_exported(await self._reading.events(where))

    async def window(self, window: Window, where: Where | None = None) -> list[Event]:
        """See `Experiment.window`; a `Last` without `now=` ends at the newest event."""
        return self._as_exported(await self._reading.window(window, where, self._life))

    def live(self, *, by: str | None = None) -> NoReturn:
        """A file has no live figures: `LifecycleError`."""
        raise self._refused("follow live", by)

    def reset_live(self) -> NoReturn:
        """As `live`."""
        raise self._refused("reset")

    def subscribe(self, patterns: Any = "*") -> NoReturn:
        """As `live`."""
        raise self._refused("subscribe to", patterns)

    def _refused(self, command: str, *_: object) -> LifecycleError:
        return LifecycleError(self.id, f"read from {self.path!r}", command)

    def _extras(self, custom: dict[str, Any]) -> Extras:
        return Extras({}, custom, None, Privacy(level="unknown", redacted=0))

    def _as_exported(self, events: list[Event]) -> list[Event]:
        """The events with the seqs they have in the file."""
        if self._seqs is None:
            return events
        seqs = [int(self._seqs[event.seq - 1]) for event in events]
        return [
            replace(event, seq=seq, event_id=f"{self.id}-{seq}")
            for event, seq in zip(events, seqs, strict=True)
        ]

    def _walk(self, wishes: Wishes) -> Walk:
        store, reader = self._reading.source
        return Walk(
            store,
            reader.numbered(self._seqs),
            wishes.where,
            lambda: self._check_kept("export"),
        )


async def load(
    path: str | PathLike[str],
    *,
    experiment: str | None = None,
    trials: str | PathLike[str] | None = None,
    metrics_config: Any = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Loaded:
    """An exported file (``.jsonl``, ``.csv``, also ``.gz``, ``.zst``; ``.parquet``, ``.arrow``) as an experiment that can be asked.

    It is kept in memory. `experiment` chooses one id of a file that holds several. `trials`: the file of its
    trials, where that is not the one beside it (see `Loaded.trials`). Metrics equal those of
    the experiment it was written by, to the bit for JSON Lines, Parquet and Arrow, but for what `Loaded` says a file lacks.
    `UnreadableFile` names the line that is no event, the rows of a table that are not as they were written, and refuses what outgrows its limits.
    """
    options = {} if metrics_config is None else {"metrics_config": metrics_config}
    filling = _Filling(Path(path), experiment, options)
    await _fill(filling, path, max_line_bytes)
    beside = None if trials is None else Path(trials)
    loaded = Loaded(fspath(path), filling.one(), beside, max_line_bytes)
    if trials is not None:
        await loaded.trials()
    return loaded


async def load_every(path: str | PathLike[str]) -> list[Loaded]:
    """`load` for each of the experiments that a file holds."""
    filling = _Filling(Path(path), None, {}, every=True)
    await _fill(filling, path, MAX_LINE_BYTES)
    return [Loaded(fspath(path), one, None, MAX_LINE_BYTES) for one in filling.all()]


async def _fill(filling: "_Filling", path: str | PathLike[str], max_line_bytes: int) -> None:
    if table_kind(Path(path)) is not None:
        await ready(READING, "path")
    for count, (number, line) in enumerate(read_lines(path, max_line_bytes)):
        if count % _LINES_AT_ONCE == 0:
            await checkpoint()
        filling.add(number, line)


class _Filling:
    """Loaders, each made when a line is the first of its experiment: one, unless `every` is to be read."""

    def __init__(
        self, path: Path, wanted: str | None, options: dict[str, Any], *, every: bool = False
    ) -> None:
        self._path, self._wanted, self._options, self._every = path, wanted, options, every
        self._loaders: dict[str, Loader] = {}
        self._seen: dict[str, None] = {}

    def add(self, number: int, line: Any) -> None:
        """Take a line if it is of an experiment that is wanted."""
        own = line.experiment_id or self._stem
        self._seen[own] = None
        if self._wanted not in (None, own):
            return
        loader = self._loaders.get(own)
        if loader is None:
            if self._loaders and not self._every:
                raise UnreadableFile(
                    str(self._path), number, f"it holds {self._ids()}: choose one, experiment="
                )
            loader = self._loaders[own] = self._made(own, line.experiment_name, line)
        loader.add(number, line)

    def one(self) -> Loader:
        """The filled loader; without a line an empty one."""
        if not self._loaders and self._wanted is not None and self._seen:
            raise UnreadableFile(
                str(self._path), None, f"no experiment {self._wanted!r}; it holds {self._ids()}"
            )
        return self.all()[0]

    def all(self) -> list[Loader]:
        """All loaders, filled."""
        found = list(self._loaders.values()) or [self._made(self._wanted or self._stem, "", None)]
        for loader in found:
            loader.flush()
        return found

    def _ids(self) -> str:
        return ", ".join(map(repr, list(self._seen)[:10]))

    @property
    def _stem(self) -> str:
        return self._path.name.partition(".")[0] or "file"

    def _made(self, experiment_id: str, name: str, line: Any) -> Loader:
        own = {} if line is None else {"condition": line.condition, "tags": line.tags}
        shown = name if name.strip() else experiment_id
        spec = make_spec(shown, {**own, **self._options})
        return Loader(ExperimentReader(experiment_id, spec, Trials()), self._path)
