"""Archives, checkpoints and retention: experiments that leave a lab for good keeping, and come back."""

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio import to_thread
from msgspec import Struct

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.spec import LIVING, State
from crucible_telemetry.errors import (
    ConfigurationError,
    CrucibleError,
    LifecycleError,
    StoreRefused,
)
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.experiment.taking import table_of
from crucible_telemetry.export.depots import depot_at
from crucible_telemetry.export.environment import environment
from crucible_telemetry.export.manifest import Manifest
from crucible_telemetry.export.packing import Moment, Packer
from crucible_telemetry.lab.durable import here
from crucible_telemetry.lab.news import News, trials_as_of
from crucible_telemetry.lab.records import (
    packed,
)
from crucible_telemetry.lab.restoring import Restoring, Storage
from crucible_telemetry.lab.starting import BACKOFF
from crucible_telemetry.runtime.children import ChildSpec
from crucible_telemetry.runtime.headway import headway
from crucible_telemetry.stores.base import DAY_S, to_us
from crucible_telemetry.stores.kept import KeptStore

UNDO_S = 5.0
"""How long the files of an archive that failed are removed; a store that is gone answers never."""


class Pruned(Struct, frozen=True, kw_only=True):
    """An experiment whose data `Lab.prune` deleted, or would delete."""

    id: str
    name: str
    state: str
    ended_us: int
    events: int
    bytes: int | None = None
    """Of its events as they are kept; None in memory."""


class Checkpoints:
    """Packs an experiment time and again while it runs."""

    def __init__(self, packer: Packer, moment: Callable[[], Awaitable[Moment]]) -> None:
        self._packer, self._moment = packer, moment
        self._one = anyio.Lock()
        self._trouble = False

    async def take(self) -> Manifest:
        """Write what has come since the last time."""
        async with self._one:
            return await self._packer.pack(await self._moment())

    async def run(self, period_s: float) -> None:
        """One every `period_s` seconds; what cannot be written now is written the next time."""
        while True:
            await anyio.sleep(period_s)
            try:
                await self.take()
                self._trouble = False
            except OSError as error:
                if not self._trouble:
                    log.warning("no checkpoint in %s for now: %s", self._packer.url, error)
                self._trouble = True


class Archiving(Restoring):
    """The half of a lab that knows archives. See `Lab`."""

    _checkpoints: dict[str, Checkpoints]

    async def archive(
        self,
        experiment_id: str | Experiment,
        url: str | os.PathLike[str],
        *,
        format: str = "parquet",  # noqa: A002 - the word users know
        storage: Storage = None,
    ) -> Manifest:
        """See `Experiment.archive`."""
        self._check_writes("archive")
        experiment = self.get_experiment(experiment_id)
        experiment._check_kept("archive")
        experiment._life.after("archive")
        packer = await self._packer(experiment, url, format, storage)
        around = await to_thread.run_sync(environment)
        moment = await self._moment_of(experiment, around)
        manifest = await _packed(packer, moment)
        await self._claim_at_rest(experiment, State.ARCHIVED, "archive")
        experiment._life.move("archive", wall_us(), monotonic_ns())
        return manifest

    async def _packer(
        self, experiment: Experiment, url: str | os.PathLike[str], kind: str, storage: Storage
    ) -> Packer:
        store, reader = experiment._reading.source
        return Packer(await depot_at(url, storage), store, reader, kind)

    async def _moment_of(self, experiment: Experiment, around: dict[str, Any]) -> Moment:
        """What an experiment is now, with everything that was emitted so far."""
        # Before the events: those of a trial that has ended are all among them.
        trials = trials_as_of(experiment._collector.reader.trials)
        table = table_of(experiment, await experiment._known_trials())
        await experiment._settle()
        if isinstance(store := experiment._collector.store, KeptStore):
            store.check_whole("archive")
        record = (
            self._found_records.get(experiment.id)
            or News(experiment._collector, experiment._life, here()).now()
        )
        plain = msgspec.to_builtins(record.options, enc_hook=repr)
        return Moment(
            id=experiment.id,
            name=experiment.name,
            state=experiment.state.value,
            complete=experiment.state not in LIVING,
            upto_seq=experiment._collector.store.last_seq,
            record=packed(record),
            options=plain,
            counts=msgspec.to_builtins(record.counts),
            environment={**around, "ran_in_this_process": experiment.id not in self._found_records},
            trials=trials,
            table=table,
        )

    async def checkpoint(
        self,
        experiment_id: str | Experiment,
        url: str | os.PathLike[str],
        *,
        every: timedelta | float | None = None,
        format: str = "parquet",  # noqa: A002 - the word users know
        storage: Storage = None,
    ) -> Manifest:
        """See `Experiment.checkpoint`."""
        self._check_open("checkpoint")
        experiment = self.get_experiment(experiment_id)
        if every is not None and experiment.state not in LIVING:
            raise LifecycleError(experiment.id, experiment.state.value, "checkpoint every so often")
        period_s = None if every is None else to_us(every, "every") / 1e6
        if every is not None and experiment.id in self._checkpoints:
            raise ConfigurationError(
                "every", f"experiment {experiment.id!r} has checkpoints already"
            )
        around = await to_thread.run_sync(environment)
        packer = await self._packer(experiment, url, format, storage)
        taking = Checkpoints(packer, partial(self._moment_of, experiment, around))
        manifest = await taking.take()
        if period_s is not None and experiment.state in LIVING:
            self._checkpoints[experiment.id] = taking
            running = ChildSpec(
                f"checkpoint-{experiment.id}", partial(taking.run, period_s), backoff=BACKOFF
            )
            await self._supervisor.start_child(running)
        return manifest

    async def _export_on_exit(self, experiment: Experiment) -> None:
        """The last checkpoint too: of an experiment that has ended."""
        taking = self._checkpoints.pop(experiment.id, None)
        if taking is not None:
            with suppress(CrucibleError):  # the tree may be gone already
                await self._supervisor.stop_child(f"checkpoint-{experiment.id}")
            try:
                await taking.take()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be closed
                self._report[experiment.id] = (
                    f"its last checkpoint failed: {str(error) or repr(error)}"
                )
        await super()._export_on_exit(experiment)

    # -- retention ------------------------------------------------------------------------------

    async def prune(
        self,
        older_than: timedelta | float,
        *,
        archived_only: bool = True,
        dry_run: bool = False,
    ) -> list[Pruned]:
        """Delete the data of experiments that ended longer ago than `older_than` (timedelta, or days).

        Of archived ones, unless `archived_only` is False; never of one that runs or is paused. Returns what
        was deleted, or with `dry_run` would be, and logs each.
        """
        self._check_open("prune")
        age = older_than if isinstance(older_than, timedelta) else older_than * DAY_S
        before_us = wall_us() - to_us(age, "older_than")
        chosen = [
            await self._pruned(experiment)
            for experiment in list(self._experiments.values())
            if _may_go(experiment, before_us, archived_only=archived_only)
        ]
        pruned: list[Pruned] = []
        for done, one in enumerate(chosen):
            if not dry_run:
                headway(one.id, done / len(chosen))
                await self._prune(one, pruned)
        return chosen if dry_run else pruned

    async def _pruned(self, experiment: Experiment) -> Pruned:
        durable = self._durable
        size = None if durable is None else await durable.keep.size(experiment.id)
        return Pruned(
            id=experiment.id,
            name=experiment.name,
            state=experiment.state.value,
            ended_us=experiment._life.ended_us or 0,
            events=experiment.counts.stored,
            bytes=size,
        )

    async def _prune(self, one: Pruned, pruned: list[Pruned]) -> None:
        """Delete the data of one, unless another lab has gone on with it meanwhile."""
        try:
            await self.get_experiment(one.id).cleanup()
        except (LifecycleError, StoreRefused) as error:
            log.warning("experiment %r is not pruned: %s", one.id, error)
        else:
            pruned.append(one)
            log.warning(
                "pruned experiment %r (%s): %d events deleted", one.id, one.state, one.events
            )


async def _packed(packer: Packer, moment: Moment) -> Manifest:
    """The archive; when that fails or is cut off, no file of it stays."""
    before = await packer.before(moment.id)
    try:
        return await packer.pack(moment)
    except BaseException:
        with anyio.move_on_after(UNDO_S, shield=True), suppress(CrucibleError):
            await packer.undo(before)
        raise


def _may_go(experiment: Experiment, before_us: int, *, archived_only: bool) -> bool:
    if experiment.state in LIVING or (archived_only and experiment.state is not State.ARCHIVED):
        return False
    ended_us = experiment._life.ended_us
    return ended_us is not None and ended_us < before_us
