"""Starting, reopening and letting go of experiments: the half of the lab that knows how one is put together."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import anyio
import msgspec
from msgspec.structs import replace

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.pricelist import Own
from crucible_telemetry.collect.progress import Counts
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.recount import recounted
from crucible_telemetry.collect.spec import ExperimentSpec, State, make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.errors import ConfigurationError, CrucibleError, StoreError
from crucible_telemetry.events.bus import announce
from crucible_telemetry.events.mailbox import Gate, log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.routes import ROUTES, ProcessRoute, open_route
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab.assemble import assembled, gone_on
from crucible_telemetry.lab.durable import Found, here, trials_of
from crucible_telemetry.lab.leaving import Leaving
from crucible_telemetry.lab.news import News
from crucible_telemetry.lab.options import taken_up
from crucible_telemetry.lab.records import (
    GIVEN_AGAIN,
    Record,
    check_code,
    earlier_counts,
    going_on,
    life_of,
    progress_of,
    spec_of,
)
from crucible_telemetry.lab.running import RunningExperiment
from crucible_telemetry.lab.storing import Stores
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.runtime.children import ChildSpec, Report, SupervisorEvent
from crucible_telemetry.runtime.loops import LoopHandle, spawn_root
from crucible_telemetry.runtime.restart import Backoff, Intensity, Restart
from crucible_telemetry.runtime.supervisor import Supervisor
from crucible_telemetry.stores.base import Store
from crucible_telemetry.stores.own import OwnStore, kept_of

RESTARTS: Final = Intensity(restarts=3, period_s=5.0)
BACKOFF: Final = Backoff(first_s=0.01, factor=2.0, max_s=1.0)


class Starting(Leaving):
    """See `Lab`, which opens and closes what is started here."""

    _stores: Stores
    _loop: LoopHandle | None
    _prices: Own
    _key: bytes
    _max_event_bytes: int
    _going_on: anyio.Lock

    def experiment(self, name: str, **options: Any) -> "RunningExperiment":
        """``async with lab.experiment("name", …) as exp``: starts, scopes (``capture="scope"``) and stops."""
        return RunningExperiment(self, name, {"capture": "scope", **options})

    async def start_experiment(self, name: str, **options: Any) -> Experiment:
        """Start an experiment that runs until someone stops it; hears the whole process by default.

        Options (keyword only, an unknown one is an error): `hypothesis`, `condition="default"`, `tags`,
        `metadata`, `sample_size`, `stop_at_sample_size`, `capture="process"|"scope"`, `events` (patterns),
        `event_filter(event, measurements, metadata) -> bool`, `sampling_rate` (share of traces kept),
        `sampling_strategy`, `seed`, `metrics_config` (see `ct.MetricsConfig`), `custom_metrics`, `enrichers`, `privacy="metadata"|"none"|"full"`,
        `privacy_sees`, `redact`, `mailbox_size` (events), `overflow="wait"|"drop_newest"`,
        `on_existing="new"|"resume"|"error"`, `export_on_exit=path` (see `Experiment.export`; trials are written
        beside it), `prices` and `store` (default: the lab's, see `Lab`).

        Callables run in the drain, in whatever thread drains: they are sync, and must not take a lock
        that is held around an emit.

        ``on_existing="resume"`` hands out the living experiment of this name, one that is paused still
        paused; an option given now that differs from what it was started with is an error, and so is
        one that has ended.
        """
        self._check_open("start an experiment")
        spec = make_spec(name, options)
        # One at a time: of two that resume one name the second finds what the first reopened.
        async with self._going_on:
            same = [e for e in self._experiments.values() if e.name == spec.name]
            existing = taken_up(same, spec, options, lasting=self._durable is not None)
            if existing is not None and not existing._life.living:
                code: dict[str, Any] = {n: options[n] for n in GIVEN_AGAIN if n in options}
                return await self._reopen(existing, code)
            if existing is not None:
                return existing
            experiment = self._made(name, spec)
        collector = experiment._collector
        try:
            if collector.store.last_seq:
                await self._go_on(experiment, collector)
            await self._run(experiment, collector)
        except BaseException:
            self._forget(experiment.id)
            self._unclaim(experiment.id)
            experiment._interrupt()
            await self._undo(partial(self._discard, experiment))
            raise
        return experiment

    def _made(self, name: str, spec: ExperimentSpec) -> Experiment:
        """An experiment that is known and does not run yet."""
        experiment_id = self._new_id(name)
        collector = self._collector(experiment_id, ExperimentReader(experiment_id, spec, Trials()))
        life = Life(experiment_id, wall_us(), monotonic_ns())
        self._claim(spec.export_on_exit, experiment_id)
        experiment = Experiment(experiment_id, spec, collector, life, self)
        self._experiments[experiment_id] = experiment
        return experiment

    async def reopen_experiment(self, experiment_id: str | Experiment, **code: Any) -> Experiment:
        """Go on with an experiment whose process died, or that was stopped: seq, board, trials and paused
        time continue. Options that are code (filters, enrichers, metrics, `redact`) are given again, and so
        is a `store` of its own.

        `ConfigurationError` in a lab that keeps nothing, and when code is missing that it was started
        with; `LifecycleError` for one that runs, here or in another process.
        """  # noqa: D205 - the summary is one sentence
        self._check_open("reopen")
        async with self._going_on:
            return await self._reopen(self.get_experiment(experiment_id), code)

    async def _reopen(self, experiment: Experiment, code: Mapping[str, Any]) -> Experiment:
        old, durable = self._collectors[experiment.id], self._durable
        kept = kept_of(old.store)
        if durable is None or kept is None:
            raise ConfigurationError(
                "reopen", "only what a lab that lasts keeps can be gone on with"
            )
        kept.check_record()
        life = experiment._life
        life.after("reopen")
        await experiment._released.wait()  # a stop that is not at its end
        record = self._found_records.get(experiment.id) or News(old, life, here()).now()
        spec = spec_of(record, code)
        check_code(record, code)
        self._claim(spec.export_on_exit, experiment.id)
        self._open_again(old, record, spec)
        await kept.resume()
        again = await recounted(old.store, old.reader)
        await durable.claim(kept, going_on(record, durable.owner, wall_us()), "reopen")
        life.reopen(wall_us(), monotonic_ns())
        self._found_records.pop(experiment.id, None)
        try:
            old.reader.spec = spec
            collector = self._collector(experiment.id, old.reader, old.store)
            await self._run_again(experiment, gone_on(collector, old, record, again))
        except BaseException:
            experiment._reader.spec = experiment.spec
            durable.follow(experiment._collector, life)
            experiment._interrupt()
            await self._undo(partial(self._unchild, experiment.id))
            raise
        return experiment

    async def _run_again(self, experiment: Experiment, collector: Collector) -> None:
        experiment._adopt(collector.reader.spec, collector)
        await experiment._tell_again()
        await self._run(experiment, collector)

    def _open_again(self, old: Collector, record: Record, spec: ExperimentSpec) -> None:
        """Have its store of its own, if that has only been given now."""
        store = self._stores.given(old.store, spec, old.reader)
        if store is not old.store:
            old.store, old.earlier = store, earlier_counts(record, store.last_seq)

    async def _go_on(self, experiment: Experiment, collector: Collector) -> None:
        """Begin behind the events that a user's own store holds already."""
        stored = collector.store.last_seq
        again = await recounted(collector.store, collector.reader)
        collector.progress = replace(
            collector.progress, live=again.board, live_us=again.span_us, stored=stored
        )
        collector.earlier = Counts(emitted=stored, stored=stored)
        await experiment._tell_again()

    async def _run(self, experiment: Experiment, collector: Collector) -> None:
        """Start collecting, and open the experiment's route."""
        experiment_id = experiment.id
        self._collectors[experiment_id] = collector
        if self._durable is not None:
            self._durable.follow(collector, experiment._life)
        await self._supervisor.start_child(self._child(experiment_id, collector))
        # Closed or stopped meanwhile: a route opened now would never be closed.
        self._check_open("start an experiment")
        if experiment.spec.capture == "process" and experiment._life.living:
            self._open_route(experiment, collector)
        self._unheard.listen(on=True)
        if self._durable is not None:
            await self._settle(collector)

    def _restore(self, found: Found) -> None:
        """An experiment of an earlier process, to be read, and to be gone on with when it is reopened."""
        assert self._durable is not None  # noqa: S101 - whose experiment else
        kept, record = found.kept, found.record
        try:
            reader = ExperimentReader(kept.id, spec_of(record, {}), trials_of(kept))
        except (msgspec.MsgspecError, ConfigurationError) as error:
            log.warning("experiment %r is damaged and left out: %s", kept.id, error)
            return
        store = self._stores.found(found, reader, self._durable.store(kept, reader))
        self._taken_in(record, reader, store, found.state)._life.elsewhere = found.elsewhere

    def _taken_in(
        self, record: Record, reader: ExperimentReader, store: Store, state: State
    ) -> Experiment:
        """An experiment that runs nowhere here, with what was written of it; one that is known already as it is now."""
        one = reader.experiment_id
        collector = self._collector(one, reader, store)
        collector.progress = progress_of(record, Board.empty(), store.last_seq)
        collector.earlier = earlier_counts(record, store.last_seq)
        collector.close(Gate.LATE)
        since_saved_ns = 1_000 * max(wall_us() - record.saved_us, 0)
        life = life_of(one, record, state, monotonic_ns() - since_saved_ns)
        experiment = self._experiments.get(one)
        if experiment is None:
            experiment = Experiment(one, reader.spec, collector, life, self)
        experiment._rest(life, collector)
        self._found_records[one] = record
        self._experiments[one], self._collectors[one] = experiment, collector
        return experiment

    async def _undo(self, work: Callable[[], Awaitable[None]]) -> None:
        """To its end, however often it is cancelled: the next may begin at once."""
        await spawn_root(work, "crucible-undo").outlast(self._close_timeout_s)

    async def _discard(self, experiment: Experiment) -> None:
        """It never came to be: nothing of it stays, neither an actor nor what its store holds."""
        await self._unchild(experiment.id)
        store = experiment._collector.store
        if isinstance(store, OwnStore):
            await store.abandon()
        kept = kept_of(store)
        if kept is not None:
            with suppress(StoreError):  # it is there, and empty
                await kept.close(delete=True)

    async def _unchild(self, experiment_id: str) -> None:
        """Take its actor out of the tree; cancelled at its start, it may run or not."""
        with suppress(CrucibleError):  # it never came to be, or the whole tree is gone
            await self._supervisor.stop_child(experiment_id)

    def _collector(
        self, experiment_id: str, reader: ExperimentReader, store: Store | None = None
    ) -> Collector:
        if self._loop is None or not self._loop.is_here():
            raise ConfigurationError(
                "lab", "experiments are started on the event loop the lab was opened on"
            )
        if store is None:
            store = self._stores.new(experiment_id, reader)
        collector = assembled(reader, store, self._prices, self._key)
        collector.box.max_event_bytes = self._max_event_bytes
        return collector

    def _child(self, experiment_id: str, collector: Collector) -> ChildSpec:
        # Temporary: when it gives up, this experiment has failed and its siblings go on.
        children = [ChildSpec("collector", collector.run, backoff=BACKOFF)]
        if isinstance(collector.store, OwnStore):
            committer = collector.store.committer
            children.insert(0, ChildSpec("committer", committer.run, backoff=BACKOFF))
        supervisor = Supervisor(experiment_id, children, intensity=RESTARTS, on_event=self._heard)
        return supervisor.as_child(restart=Restart.TEMPORARY)

    def _open_route(self, experiment: Experiment, collector: Collector) -> None:
        others = ROUTES.processes
        if others:
            log.warning(
                "experiment %r hears the whole process, and so do %d other(s): they share events, and "
                'a comparison between them would be refused; capture="scope" keeps them apart',
                experiment.id,
                len(others),
            )
        open_route(ProcessRoute(collector.box, experiment.spec.events))

    def _new_id(self, name: str) -> str:
        slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
        return f"{slug[:40].strip('-') or 'experiment'}-{secrets.token_hex(4)}"

    def _lost(self, experiment_id: str, error: StoreError) -> None:
        """An experiment is not written any more: here it has failed, and its siblings go on."""
        log.warning("experiment %r has failed: %s", experiment_id, error)
        experiment = self._experiments.get(experiment_id)
        if experiment is not None:
            experiment._fail(error)
            spawn_root(partial(self._unchild, experiment_id), "crucible-lost")

    def _heard(self, event: SupervisorEvent) -> None:
        """What supervisors report is an event on the bus; an experiment whose supervisor gave up failed."""
        name = event.supervisor if event.supervisor != "lab" else event.child
        experiment = self._experiments.get(name)
        if event.kind in (Report.CRASHED, Report.GAVE_UP) and event.error is not None:
            told = (event.supervisor, event.child, event.kind.value, placed(event.error))
            log.warning("%s: %s %s: %s", *told)
        if event.kind is Report.CRASHED and event.supervisor == "lab" and experiment is not None:
            if isinstance(event.error, Exception):
                experiment._fail(event.error)
            else:
                # Cancelled from outside: the loop ends, and this task heard of it before the lab's did.
                experiment._freeze_if_living()
        if event.kind is not Report.STARTED:
            details = {
                "supervisor": event.supervisor,
                "child": event.child,
                "error": placed(event.error),
            }
            announce(f"crucible.supervisor.{event.kind.value}", {"count": 1}, details)
