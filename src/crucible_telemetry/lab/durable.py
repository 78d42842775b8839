"""The lasting half of a lab: its keep, the writer, and experiments as they come back from an earlier process."""

import os
import re
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from crucible_telemetry import process
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import LIVING, State
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.errors import (
    ConfigurationError,
    LifecycleError,
    StoreDamaged,
    StoreError,
    StoreRefused,
)
from crucible_telemetry.events.bus import announce
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.lab.news import News
from crucible_telemetry.lab.records import (
    Owner,
    Record,
    packed,
    trial_of,
    unknown,
    unpacked,
)
from crucible_telemetry.stores.keeping import Keep, KeptExperiment, deleted
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.own import kept_of
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.postgres.view import PostgresView
from crucible_telemetry.stores.shelved import WAY_OUT
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.sqlite_view import SqliteView
from crucible_telemetry.stores.writer import Writer

MEMORY: Final = ("memory", "memory://")
DOTTED: Final = re.compile(r"[A-Za-z_]\w+(\.\w+)*:[A-Za-z_]\w*")
"""The dotted name of a class, which nobody means to be a file."""


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
        return sqlite(_path(text), durability)  # type: ignore[arg-type]
    if scheme == "sqlite":
        if not rest.startswith("/") or len(rest) < 2:
            raise ConfigurationError("url", f"want sqlite:///file, not {text!r}")
        # As everywhere: three slashes and a relative path, four and an absolute one.
        return sqlite(_path(rest[1:]), durability)  # type: ignore[arg-type]
    if scheme in ("postgresql", "postgres"):
        return PostgresView(text) if read_only else PostgresKeep(text)
    raise ConfigurationError(
        "url", f"{scheme!r} is no store: want a path, sqlite:/// or postgresql://"
    )


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ConfigurationError("url", f"want the path of a file, not {text!r}")
    if DOTTED.fullmatch(text) and not Path(text).exists():
        raise ConfigurationError("url", f"a store of one's own is given as store={text!r}")
    if text == ":memory:":
        raise ConfigurationError("url", "what stays in memory is 'memory'")
    return Path(text)


OPEN: Final[set[str]] = set()
"""The durable labs of this process that are open."""


def here() -> Owner:
    """A new lab of this process."""
    lab = secrets.token_hex(8)
    return Owner(socket.gethostname(), os.getpid(), process.began(os.getpid()) or 0, lab)


def is_alive(owner: Owner) -> bool:
    """Whether the lab that writes an experiment still runs; of another host it is taken to."""
    if owner.host != socket.gethostname():
        return True
    if owner.pid == os.getpid():
        return owner.lab in OPEN
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


class Found(Struct, frozen=True):
    """An experiment that was in the keep when it was opened."""

    kept: KeptExperiment
    record: Record

    @property
    def elsewhere(self) -> str | None:
        """Who else runs it, in words."""
        owner, held = self.record.owner, self.kept.held
        # A process of this host that died may look as if it held it for a moment longer.
        if self.record.state not in LIVING or held is False or not is_alive(owner):
            return None
        since = datetime.fromtimestamp(self._since_us // 1_000_000, UTC).isoformat(" ", "seconds")
        here = owner.pid == os.getpid() and owner.host == socket.gethostname()
        where = "this process" if here else f"process {owner.pid} on {owner.host}"
        return f"another lab, of {where}, since {since}"

    @property
    def _since_us(self) -> int:
        """When it was started, or gone on with the last time."""
        gaps_us = self.record.lived.gaps_us
        return gaps_us[-1][1] if gaps_us else self.record.started_us

    @property
    def state(self) -> State:
        """One that was running when its process died is interrupted."""
        dead = self.record.state in LIVING and self.elsewhere is None
        return State.INTERRUPTED if dead else State(self.record.state)


class Durable:
    """A lab's keep and the writer that commits for its experiments."""

    def __init__(self, keep: Keep, *, read_only: bool = False, skips: bool = False) -> None:
        self.keep, self.writer, self.owner = keep, Writer(keep), here()
        self.read_only, self._skips = read_only, skips
        self.writer.tell = heard(keep.url)

    async def open(self) -> list[Found]:
        """What is there, in the order it was started; what is damaged of it is told of."""
        OPEN.add(self.owner.lab)
        return self._found(await self.keep.open())

    async def look(self) -> list[Found]:
        """The same, as it is now."""
        return self._found(await self.keep.look())

    def _found(self, kept: list[KeptExperiment]) -> list[Found]:
        return [Found(one, record_of(one, self.owner)) for one in kept]

    async def claim(self, store: KeptStore, record: Record, command: str) -> None:
        """Put a record of this lab in the place of the one it knows, when nobody has written another since.

        `LifecycleError` when another lab runs the experiment now, `StoreRefused` when one has.
        """
        data = packed(record)
        kept = await store.claim(data)
        if kept.record == data:
            return
        if not kept.record:
            raise deleted(self.keep.url, store.id)
        found = Found(kept, unpacked(kept.record))
        if found.elsewhere is not None:
            raise LifecycleError(store.id, f"{found.record.state} in {found.elsewhere}", command)
        raise StoreRefused(
            self.keep.url,
            f"experiment {store.id!r} was gone on with by another lab; open this one again to see it",
        )

    def store(self, kept: KeptExperiment, reader: ExperimentReader) -> KeptStore:
        """The store of an experiment; says what is damaged of it."""
        store = KeptStore(kept, reader, self.keep, self.writer)
        store.skips = self._skips
        if store.damage.trials and not self._skips:
            reason = f"experiment {kept.id!r}: {store.damage.trials} trials are damaged; {WAY_OUT}"
            reader.trials.damage = StoreDamaged(self.keep.url, reason)
        for damage in store.damage.told():
            log.warning("%s: experiment %r: %s", self.keep.url, kept.id, damage)
            said = {"store": self.keep.url, "experiment": kept.id, "damage": damage}
            announce("crucible.store.damaged", {"count": 1}, said)
        return store

    def follow(self, collector: Collector, life: Life) -> None:
        """Write what is new of an experiment from now on: its events, unless it has a store of its own, and
        what stands beside them.
        """  # noqa: D205 - the summary is one sentence
        store = kept_of(collector.store)
        if store is None:
            return
        news = News(collector, life, self.owner)
        if isinstance(store.news, News):
            news.inherit(store.news)

        def changed(number: int) -> None:
            news.changed(number)
            store.touch()

        store.news = news
        collector.reader.trials.changed = changed
        life.changed = store.touch
        self.writer.members[store.id] = store

    async def save(self) -> None:
        """The last commits: as many as it takes, while they get on."""
        self.writer.retire()
        before = None
        while before is None or 0 < self.writer.waiting_rows < before or self.writer.failing:
            before = self.writer.waiting_rows
            self.writer.sweep()
            if await self.writer.commit() is not None:
                break

    async def leave(self) -> None:
        """Let go of files and connections; others may go on with what ran here."""
        OPEN.discard(self.owner.lab)
        await self.keep.close()

    @property
    def unsaved(self) -> dict[str, str]:
        """What is not on the disk of each experiment, and why, by id."""
        why = self.writer.trouble or "the disk did not answer in time"
        return {
            one: f"{what} are not on the disk: {member.given_up or why}"
            for one, member in self.writer.members.items()
            if (what := member.unwritten)
        }


def record_of(kept: KeptExperiment, owner: Owner) -> Record:
    """The record of an experiment; in the place of one that is damaged the little that is known without."""
    try:
        return unpacked(kept.record)
    except msgspec.MsgspecError:
        times_us = [us for block in kept.blocks for us in (block.min_us, block.max_us)]
        return unknown(kept.id, min(times_us, default=0), max(times_us, default=0), owner)


def trials_of(kept: KeptExperiment) -> Trials:
    """The trials of an experiment, by the numbers that its events carry; one that is none is told of."""
    trials = Trials()
    for number, data in kept.trials:
        try:
            trials.restore(*trial_of(data))
        except msgspec.MsgspecError as error:
            log.warning("experiment %r: trial %d cannot be read: %s", kept.id, number, error)
    return trials
