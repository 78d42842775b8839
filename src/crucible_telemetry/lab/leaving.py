"""Letting go of experiments: the half of the lab that knows how one ends."""

import math
from contextlib import suppress
from functools import partial

import anyio
from msgspec.structs import replace

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.spec import State
from crucible_telemetry.errors import CrucibleError
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab.durable import Durable
from crucible_telemetry.lab.news import News
from crucible_telemetry.lab.records import at_rest
from crucible_telemetry.lab.registry import Registry
from crucible_telemetry.lab.unheard import Unheard
from crucible_telemetry.runtime.loops import RootTask, spawn_root
from crucible_telemetry.runtime.supervisor import Supervisor
from crucible_telemetry.stores.absent import AbsentStore
from crucible_telemetry.stores.lasting import Lasting
from crucible_telemetry.stores.own import OwnStore, kept_of


class CloseReport(dict[str, str]):
    """What closing a lab could not save, by experiment id; empty when all is well."""


class Leaving(Registry):
    """See `Lab`."""

    state: str
    _durable: Durable | None
    _supervisor: Supervisor
    _unheard: Unheard
    _close_timeout_s: float
    _report: CloseReport

    async def _settle(self, collector: Collector) -> None:
        """Make durable what is new of an experiment, and say so when that cannot be done now."""
        store = collector.store
        if not isinstance(store, Lasting):
            return
        trouble: object = f"it did not answer in {self._close_timeout_s:g} s"
        with anyio.move_on_after(self._close_timeout_s):
            trouble = await store.settled()
        if trouble is not None:
            one = collector.reader.experiment_id
            log.warning("experiment %r is not durable yet: %s", one, trouble)

    async def _release(self, experiment: Experiment) -> None:
        """Take a stopped experiment's actor out of the tree, and write its `export_on_exit`."""
        experiment._wake_subscribers()
        try:
            await outlasted(spawn_root(partial(self._let_go, experiment), "crucible-stop"))
        finally:  # a caller that was cancelled meanwhile leaves no counting behind
            if not self._any_living:
                self._unheard.listen(on=False)

    async def _clean_up(self, experiment: Experiment, *, keep_data: bool) -> None:
        """Give its data up, to the end once begun; cancelled, it is waited for no longer than a close."""
        root = spawn_root(partial(self._give_up, experiment, keep_data), "crucible-cleanup")
        try:
            await root.wait()
        except BaseException:
            await root.outlast(self._close_timeout_s)
            raise
        if root.error is not None:
            raise root.error

    async def _give_up(self, experiment: Experiment, keep_data: bool) -> None:  # noqa: FBT001 - see `_clean_up`
        if not (keep_data or experiment._cleaned_up):
            await self._claim_at_rest(experiment, experiment.state, "cleanup")
        experiment._life.move("cleanup", wall_us(), monotonic_ns())
        self._forget(experiment.id)
        if not keep_data:
            experiment._cleaned_up = True
            experiment._wake_subscribers()
        await experiment._collector.store.close(delete=not keep_data)

    async def _claim_at_rest(self, experiment: Experiment, state: State, command: str) -> None:
        """Write that it is at rest, in this state; an error when another lab runs it, or has gone on with it."""
        experiment._life.after(command)
        durable, collector = self._durable, experiment._collector
        store = kept_of(collector.store)
        if durable is None or store is None or not store.has_record:
            return
        if isinstance(collector.store, AbsentStore):
            raise collector.store.refused()
        found = self._found_records.get(experiment.id)
        record = found or News(collector, experiment._life, durable.owner).now()
        record = replace(at_rest(record, durable.owner), state=state.value)
        await durable.claim(store, record, command)
        if found is not None:
            self._found_records[experiment.id] = record

    async def _close_own_stores(self) -> None:
        """The last commit of users' own stores, each with its share of the time."""
        own = [
            (one, store)
            for one, collector in self._collectors.items()
            if isinstance(store := collector.store, OwnStore)
        ]
        for one, store in own:
            trouble: object = f"closing took longer than {self._close_timeout_s:g} s"
            # A little less than there is, so that what one could not save is still told of each.
            with anyio.move_on_after(0.8 * self._close_timeout_s / len(own)):
                trouble = await store.finish()
            if trouble is not None:
                self._report[one] = f"{store.waiting_rows} events are not durable: {trouble}"

    async def _let_go(self, experiment: Experiment) -> None:
        with anyio.move_on_after(self._close_timeout_s), suppress(CrucibleError):
            # Its supervisor may have given up in this very moment, or the lab have been closed.
            if self.state == "open":
                await self._supervisor.stop_child(experiment.id)
        if self.state == "open":
            await self._settle(self._collectors[experiment.id])
        with anyio.move_on_after(self._close_timeout_s) as limit:
            await self._export_on_exit(experiment)
        if limit.cancelled_caught:
            self._report[experiment.id] = f"its export took longer than {self._close_timeout_s:g} s"

    async def _export_on_exit(self, experiment: Experiment) -> None:
        path = experiment.spec.export_on_exit
        if path is None or experiment._exported:
            return
        experiment._exported = True
        try:
            await experiment.export(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are still to be closed
            experiment.export_error = error
            self._report[experiment.id] = str(error) or repr(error)


async def outlasted(root: RootTask) -> None:
    """Wait for its end; a cancellation meanwhile is raised after it. `Task.cancel` goes through shields."""
    interrupted = await root.outlast(math.inf)
    if interrupted is not None:
        raise interrupted
    if root.error is not None:
        raise root.error
