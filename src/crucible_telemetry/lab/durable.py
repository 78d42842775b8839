"""The lasting half of a lab: its keep, the writer, and experiments as they come back from an earlier process."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry import process
from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.account import counts_of
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import LIVING, State
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.errors import ConfigurationError, LifecycleError, StoreError, StoreRefused
from crucible_telemetry.events.bus import announce
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.lab.records import (
    Lived,
    Owner,
    Record,
    code_of,
    options_of,
    packed,
    trial_bytes,
    trial_of,
    unpacked,
)
from crucible_telemetry.stores.keeping import Keep, KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.postgres.view import PostgresView
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.sqlite_view import SqliteView
from crucible_telemetry.stores.writer import Writer

FORMAT_VERSION: Final = "1"
MEMORY: Final = ("memory", "memory://")


def keep_of(
    url: str | os.PathLike[str], durability: str, *, read_only: bool = False
) -> Keep | None:
    """The keep a URL stands for: None for memory, SQLite for a path; `ConfigurationError` for others."""
    text = os.fspath(url)
    sqlite = SqliteView if read_only else SqliteKeep
    if text in MEMORY:
        return None
    scheme, there, rest = text.partition("://")
    if not there:
        return sqlite(Path(text), durability)  # type: ignore[arg-type]
    if scheme == "sqlite":
        if not rest.startswith("/") or len(rest) < 2:
            raise ConfigurationError("url", f"want sqlite:///file, not {text!r}")
        # As everywhere: three slashes and a relative path, four and an absolute one.
        return sqlite(Path(rest[1:]), durability)  # type: ignore[arg-type]
    if scheme in ("postgresql", "postgres"):
        return PostgresView(text) if read_only else PostgresKeep(text)
    raise ConfigurationError(
        "url", f"{scheme!r} is no store: want a path, sqlite:/// or postgresql://"
    )


def here() -> Owner:
    """This process."""
    return Owner(socket.gethostname(), os.getpid(), process.began(os.getpid()) or 0)


def is_alive(owner: Owner) -> bool:
    """Whether the process that writes an experiment still runs; of another host it is taken to."""
    if owner.host != socket.gethostname():
        return True
    began = process.began(owner.pid)
    return began is not None and began == owner.began


def heard(store: str) -> Callable[[StoreError | None], None]:
    """What is told when a store's trouble begins and ends: in the log, and as an event on the bus."""

    def tell(trouble: StoreError | None) -> None:
        if trouble is None:
            log.warning("%s takes events again", store)
            announce("crucible.store.recovered", {"count": 1}, {"store": store})
        else:
            log.warning("events wait in memory: %s", trouble)
            said = {"store": store, "error": str(trouble)}
            announce("crucible.store.waiting", {"count": 1}, said)

    return tell


class News:
    """What is to be written of one experiment beside its events, when something of it has changed."""

    def __init__(self, collector: Collector, life: Life, owner: Owner) -> None:
        self._collector, self._life, self._owner = collector, life, owner
        self._seen: Any = None
        self._record = b""
        self._trials: dict[int, Any] = {}
        self._sent: dict[int, Any] = {}

    def __call__(self, numbers: set[int]) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
        """(record, trials that are not written as they are); `numbers`: trials that events are of."""
        life, progress = self._life, self._collector.progress
        seen = (progress, life.state, len(life.pauses_us), self._collector.box.ticks.value)
        if seen != self._seen:
            self._seen, self._record = seen, packed(self.now())
        trials = self._collector.reader.trials
        records = {n: r for n in numbers if (r := trials.find(n)) is not None}
        records |= trials.records
        self._sent = {n: r for n, r in records.items() if self._trials.get(n) is not r}
        return self._record, tuple(
            (n, trial_bytes(r, own=n in trials.records)) for n, r in self._sent.items()
        )

    def written(self) -> None:
        """What was given last is on the disk."""
        self._trials.update(self._sent)

    def now(self) -> Record:
        """The record as it is at this moment."""
        life, spec = self._life, self._collector.reader.spec
        active_ns, paused_ns = life.spent_ns(monotonic_ns())
        return Record(
            name=spec.name,
            state=life.state.value,
            started_us=life.started_us,
            ended_us=life.ended_us,
            saved_us=wall_us(),
            options=options_of(spec),
            code=code_of(spec),
            lived=Lived(
                active_ns=active_ns,
                paused_ns=paused_ns,
                pauses_us=life.pauses(wall_us())[: len(life.pauses_us)],
                gaps_us=list(life.gaps_us),
            ),
            counts=counts_of(self._collector),
            marks=dict(self._collector.progress.marks),
            quarantine=list(self._collector.progress.quarantine),
            owner=self._owner,
            version=FORMAT_VERSION,
        )


def found_state(record: Record, own: Owner | None, *, held: bool | None = None) -> State:
    """The state of an experiment found in a keep: one that was running when its process died is interrupted.

    `own`: the process that opens it to go on: what ran in it before, runs no more. `held`: whether
    another lab writes it now; None: as far as its owner says. A process of this host that died may look
    as if it held it for a moment longer.
    """
    state = State(record.state)
    if held is None:
        held = record.owner != own
    held = held and is_alive(record.owner)
    return State.INTERRUPTED if state in LIVING and not held else state


class Found(Struct, frozen=True):
    """An experiment that was in the keep when it was opened."""

    kept: KeptExperiment
    record: Record
    state: State


class Durable:
    """A lab's keep and the writer that commits for its experiments."""

    def __init__(self, keep: Keep, *, read_only: bool = False) -> None:
        self.keep, self.writer, self.owner = keep, Writer(keep), here()
        self.read_only = read_only
        self.writer.tell = heard(keep.url)

    async def open(self) -> list[Found]:
        """What is there, in the order it was started; an experiment whose events have a gap is damaged."""
        found, own = [], None if self.read_only else self.owner
        for kept in await self.keep.open():
            record = unpacked(kept.record)
            found.append(Found(kept, record, found_state(record, own, held=kept.held)))
        return found

    async def claim(self, store: KeptStore, known: Record) -> None:
        """Take an experiment over to write it, when nobody else does and nobody has since it was read.

        `known`: its record as this lab knows it. `LifecycleError` when another lab runs it now.
        """
        kept = await self.keep.claim(store.id)
        record = unpacked(kept.record)
        state = found_state(record, self.owner, held=kept.held)
        if state in LIVING:
            raise LifecycleError(store.id, f"{state.value} in another lab", "reopen")
        last_seq = kept.blocks[-1].last_seq if kept.blocks else 0
        if (record.owner, last_seq) != (known.owner, store.last_seq) or (
            record.saved_us > known.saved_us
        ):
            raise StoreRefused(
                self.keep.url,
                f"experiment {store.id!r} was gone on with by another lab; open this one again to see it",
            )

    def store(self, kept: KeptExperiment, reader: ExperimentReader) -> KeptStore:
        """The store of an experiment."""
        return KeptStore(kept, reader, self.keep, self.writer)

    def follow(self, collector: Collector, life: Life) -> None:
        """Write what is new of an experiment from now on, its events and what is beside them.

        One with a store of its own is no part of the keep.
        """
        store = collector.store
        if not isinstance(store, KeptStore):
            return
        store.news = News(collector, life, self.owner)
        self.writer.members[store.id] = store

    async def finish(self) -> dict[str, str]:
        """The last commit, and what could not be saved of each experiment, by id."""
        self.writer.retire()
        trouble = await self.writer.commit()
        unsaved = {
            one: f"{member.last_seq - member.written_seq} events are not on the disk: {trouble}"
            for one, member in self.writer.members.items()
            if member.written_seq < member.last_seq
        }
        await self.keep.close()
        return unsaved


def trials_of(kept: KeptExperiment) -> Trials:
    """The trials of an experiment, by the numbers that its events carry."""
    trials = Trials()
    for _, data in kept.trials:
        trials.restore(*trial_of(data))
    return trials
