"""The lab: owns experiments, the tree that supervises their collectors, and how all of it ends."""

import os
import secrets
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from crucible_telemetry import process
from crucible_telemetry.collect.pricelist import read_prices
from crucible_telemetry.collect.spec import LIVING
from crucible_telemetry.errors import (
    ConfigurationError,
    LabClosed,
    StoreError,
    no_attribute,
)
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.lab.archiving import Archiving
from crucible_telemetry.lab.durable import Durable, Found, keep_of
from crucible_telemetry.lab.leaving import CloseReport, outlasted
from crucible_telemetry.lab.options import LATER_VERBS, check_lab
from crucible_telemetry.lab.starting import BACKOFF, RESTARTS
from crucible_telemetry.lab.storing import Stores
from crucible_telemetry.lab.unheard import Unheard
from crucible_telemetry.runtime.children import ChildSpec, Node
from crucible_telemetry.runtime.loops import LoopHandle, RootTask, spawn_root
from crucible_telemetry.runtime.supervisor import Supervisor
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.own import factory_of

LEAVE_S: Final = 0.5
"""How long closing waits for a keep to let go of its files, beyond `close_timeout_s`."""


class Lab(Archiving):
    """The runtime that owns experiments: ``async with ct.Lab() as lab``.

    `url`: ``"memory"``, or where experiments last: a path or ``sqlite:///file``, or
    ``postgresql://user@host/database?schema=name`` (extra ``[postgres]``). `durability`:
    ``"normal"`` survives the process, and a loss of power but for the last moments; ``"full"`` waits for
    the disk at each commit. `handle_signals=True` makes SIGTERM
    a clean stop (main thread; the former handler is restored and called). `max_event_bytes`: an event
    larger than this has its large values replaced by length and hash. `close_timeout_s` bounds closing.
    `privacy_key`: the key of the hashes that stand for redacted texts; a fresh one by default, so that
    hashes compare within a lab only.

    `prices`: what a call costs whose event says tokens and a model, but no cost. A mapping by
    ``"provider/model"`` or ``"model"``, ``{"my-model": {"input_usd_per_mtok": 1.0, "output_usd_per_mtok":
    2.0}}``, a ``.json`` or ``.toml`` file of that form or LiteLLM's, or a callable ``(provider, model,
    day)`` that returns such an entry or None; what it does not know is looked up in the price library
    (extra ``[prices]``) at the event's own time. False prices nothing. Nobody knows: the call is
    `unpriced`. An experiment may be given prices of its own.

    `read_only`: what a file or server holds is read as it is at the opening, or the last `refresh`, while
    another process may be writing it; nothing there is made or changed, and starting, stopping or deleting is `LabClosed`.

    `on_damage`: what reading does where something is not there as it was written. ``"raise"``: `StoreDamaged`
    names the events. ``"skip"``: they are left out and named, in the log, `Experiment.health` (``store.damage``)
    and the summary's marks (``missing``, counted); roll-ups, which count them still, go on telling of them; what
    is to hold everything (`archive`, `checkpoint`) raises all the same.

    `store`: a user's own `crucible_telemetry.stores.Store` for the events of every experiment: the class, a
    factory ``(experiment_id, reader) -> Store``, or the dotted name ``"package.module:Class"`` of one. With a
    `url` where experiments last the lab keeps there what stands beside the events (options, state, counts,
    trials): opened again with the same `store`, everything reads and goes on as with a store of the lab's.
    """

    def __init__(  # noqa: PLR0913 - keyword options, each with a default
        self,
        url: str | os.PathLike[str] = "memory",
        *,
        handle_signals: bool = False,
        max_event_bytes: int = 2**20,
        close_timeout_s: float = 10.0,
        privacy_key: bytes | None = None,
        prices: Any = None,
        durability: str = "normal",
        store: Any = None,
        read_only: bool = False,
        on_damage: str = "raise",
        **options: Any,
    ) -> None:
        own = {
            "store": store, "durability": durability, "handle_signals": handle_signals, "max_event_bytes": max_event_bytes,
            "close_timeout_s": close_timeout_s, "privacy_key": privacy_key, "read_only": read_only,
            "on_damage": on_damage,
        }  # fmt: skip
        check_lab(url, own, options)
        super().__init__(read_prices(prices))
        keep = keep_of(url, durability, read_only=read_only)
        self._durable = (
            None if keep is None else Durable(keep, read_only=read_only, skips=on_damage == "skip")
        )
        if self._durable is not None:
            self._durable.writer.lost = self._lost
        self._read_only = read_only
        self._stores = Stores(self._durable, None if store is None else factory_of(store))
        self._unheard = Unheard(lambda: self._any_living)
        self.state = "new"
        self._handle_signals = handle_signals
        self._max_event_bytes = max_event_bytes
        self._close_timeout_s = close_timeout_s
        self._key = privacy_key or secrets.token_bytes(32)
        self._supervisor = Supervisor("lab", intensity=RESTARTS, on_event=self._heard)
        self._root: RootTask | None = None
        self._closing: RootTask | None = None
        self._loop: LoopHandle | None = None
        self._report = CloseReport()
        self._checkpoints = {}
        self._going_on, self._restoring = anyio.Lock(), anyio.Lock()

    def __repr__(self) -> str:
        return f"<Lab {self.state}, {len(self._experiments)} experiments>"

    if not TYPE_CHECKING:  # a type checker knows no names but those that are there

        def __getattr__(self, name: str) -> Any:
            """Of names to come, say so."""
            raise no_attribute("'Lab' object", name, LATER_VERBS)

    # -- open and close -------------------------------------------------------------------------

    async def open(self) -> Self:
        """Start the supervision tree in a root task of its own; `close` may run in another task."""
        if self.state != "new":
            raise LabClosed("open", f"{self.state} already")
        if self._handle_signals and threading.current_thread() is not threading.main_thread():
            raise ConfigurationError("handle_signals", "signals reach the main thread only")
        self.state = "open"
        self._loop = LoopHandle.current()
        self._root = spawn_root(self._live, "crucible-lab")
        process.remember(self)
        await self._supervisor.ready.wait()
        if self._durable is not None:
            await self._open_keep(self._durable)
        if self._handle_signals:
            process.handle_sigterm(self, self._loop)
        return self

    async def _open_keep(self, durable: Durable) -> None:
        """Find what earlier processes left, and start the writer."""
        try:
            for found in await durable.open():
                self._restore(found)
            if not self._read_only:
                writer = ChildSpec("writer", durable.writer.run, backoff=BACKOFF)
                await self._supervisor.start_child(writer)
        except BaseException:
            await self.close()
            raise

    async def refresh(self) -> None:
        """See what others have added, written and deleted since this lab was opened, or was refreshed.

        Experiments that run elsewhere, or have, are then as they are now on the file or server, in the handles
        given out before too. A question that is being answered meanwhile may have to be asked again. What
        runs here is as it is, and a lab in memory has no others: nothing to do.
        """
        if self.state != "open":
            raise LabClosed("refresh", self.state)
        if self._durable is None:
            return
        async with self._going_on:
            before = {*self._experiments}
            there = await self._durable.look()
            for one in {*self._found_records} & before - {found.kept.id for found in there}:
                self._forget(one)
            for found in there:
                self._look_again(found, known=found.kept.id in before)

    def _look_again(self, found: Found, *, known: bool) -> None:
        one = found.kept.id
        if self._is_ours(found, known=known):
            return
        if self._found_records.get(one) == found.record and found.record.state not in LIVING:
            return
        if self._durable is not None:
            self._durable.writer.members.pop(one, None)
        self._restore(found)

    def _is_ours(self, found: Found, *, known: bool) -> bool:
        """Whether it runs here, or was written here last, or was started or deleted here in this moment."""
        mine = self._experiments.get(found.kept.id)
        if mine is None or not known:
            return known or mine is not None
        assert self._durable is not None  # noqa: S101 - who else found it
        own_store = not isinstance(mine._collector.store, KeptStore)
        return own_store or mine._life.living or found.record.owner == self._durable.owner

    @property
    def _shut(self) -> bool:
        """Whether what it kept cannot be read any more: closed, and not in memory."""
        return self._durable is not None and self.state in ("closed", "forked")

    async def close(self) -> CloseReport:
        """Flush and stop everything, newest experiment first, within `close_timeout_s`; returns what it
        could not save. A second call changes nothing.
        """  # noqa: D205 - the summary is one sentence
        if self.state == "open":
            self.state = "closing"
            self._closing = spawn_root(self._shut_down, "crucible-lab-close")
        if self._closing is not None:
            await outlasted(self._closing)
        return self._report

    async def _shut_down(self) -> None:
        await self._wind_down()
        root, loop = self._root, self._loop
        if root is not None and loop is not None and not loop.closed:
            root.cancel()
            if loop.is_here():  # else nobody may run it any more, as at the interpreter's end
                with anyio.move_on_after(self._close_timeout_s):
                    await root.wait()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _live(self) -> None:
        try:
            await self._supervisor.run()
        finally:
            # The loop ends with the lab open: the last chance to save anything.
            if self.state == "open":
                self.state = "closing"
                with anyio.CancelScope(shield=True):
                    await self._wind_down()

    async def _wind_down(self) -> None:
        process.forget(self)
        for experiment in reversed(list(self._experiments.values())):
            # First what waits for nothing: whatever else fails, the data is whole.
            experiment._freeze_if_living()
        with anyio.move_on_after(self._close_timeout_s) as limit:
            if self._durable is not None:
                await self._durable.save()
            for experiment in reversed(list(self._experiments.values())):
                await self._export_on_exit(experiment)
            await self._close_own_stores()
        if limit.cancelled_caught:
            self._report["lab"] = f"closing took longer than {self._close_timeout_s:g} s"
        if self._durable is not None:
            await self._leave_keep(self._durable)
        self._unheard.listen(on=False)
        self._unheard.tell()
        self.state = "closed"
        for what, why in self._report.items():
            log.warning("lab closed, not saved: %s: %s", what, why)

    async def _leave_keep(self, durable: Durable) -> None:
        """Say what is not saved, and let go of files; a disk that hangs keeps nobody."""
        for one, what in durable.unsaved.items():
            self._report.setdefault(one, what)  # what its own store could not save says more
        with anyio.move_on_after(LEAVE_S), suppress(StoreError):
            await durable.leave()

    def _begin_terminate(self, signal_number: int) -> None:
        """Close in a root task, then let the signal do what it does without us. On the loop."""

        async def terminate() -> None:
            await self.close()
            # Not in this task, which would keep what the former handler raises to itself.
            LoopHandle.current().run_soon(partial(signal.raise_signal, signal_number))

        spawn_root(terminate, "crucible-terminate")

    def _make_inert(self) -> None:
        """In a child of `fork`: the parent's data is the parent's; emits are counted, with one warning."""
        self.state = "forked"
        if self._durable is not None:
            self._durable.keep.disown()
        for collector in self._collectors.values():
            collector.make_inert()

    # -- watching -------------------------------------------------------------------------------

    def tree(self) -> Node:
        """The supervision tree as data that prints."""
        return self._supervisor.tree()

    @property
    def unheard(self) -> dict[str, int]:
        """Events that no experiment took while one ran, by name."""
        return self._unheard.counts
