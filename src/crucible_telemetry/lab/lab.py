"""The lab: owns experiments, the tree that supervises their collectors, and how all of it ends."""

import math
import os
import secrets
import signal
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from crucible_telemetry import process
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.pricelist import read_prices
from crucible_telemetry.collect.spec import LIVING, ExperimentSpec, make_spec
from crucible_telemetry.errors import (
    ConfigurationError,
    CrucibleError,
    LabClosed,
    no_attribute,
)
from crucible_telemetry.events.bus import announce
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.routes import ROUTES, ProcessRoute, open_route
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab.assemble import assembled
from crucible_telemetry.lab.options import LATER_VERBS, check_lab, taken_up
from crucible_telemetry.lab.registry import Registry
from crucible_telemetry.lab.running import RunningExperiment
from crucible_telemetry.lab.unheard import Unheard
from crucible_telemetry.runtime.children import ChildSpec, Node, Report, SupervisorEvent
from crucible_telemetry.runtime.loops import LoopHandle, RootTask, spawn_root
from crucible_telemetry.runtime.restart import Backoff, Intensity, Restart
from crucible_telemetry.runtime.supervisor import Supervisor

RESTARTS: Final = Intensity(restarts=3, period_s=5.0)
BACKOFF: Final = Backoff(first_s=0.01, factor=2.0, max_s=1.0)


class CloseReport(dict[str, str]):
    """What closing a lab could not save, by experiment id; empty when all is well."""


class Lab(Registry):
    """The runtime that owns experiments: ``async with ct.Lab() as lab``.

    `url`: ``"memory"`` (this version keeps experiments in memory). `handle_signals=True` makes SIGTERM
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
    """

    def __init__(
        self,
        url: str | os.PathLike[str] = "memory",
        *,
        handle_signals: bool = False,
        max_event_bytes: int = 2**20,
        close_timeout_s: float = 10.0,
        privacy_key: bytes | None = None,
        prices: Any = None,
        **options: Any,
    ) -> None:
        own = {
            "handle_signals": handle_signals, "max_event_bytes": max_event_bytes,
            "close_timeout_s": close_timeout_s, "privacy_key": privacy_key,
        }  # fmt: skip
        check_lab(url, own, options)
        super().__init__(read_prices(prices))
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
        if self._handle_signals:
            process.handle_sigterm(self, self._loop)
        return self

    async def close(self) -> CloseReport:
        """Flush and stop everything, newest experiment first, within `close_timeout_s`; returns what it
        could not save. A second call changes nothing.
        """  # noqa: D205 - the summary is one sentence
        if self.state == "open":
            self.state = "closing"
            self._closing = spawn_root(self._shut_down, "crucible-lab-close")
        if self._closing is not None:
            await _outlasted(self._closing)
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
            for experiment in reversed(list(self._experiments.values())):
                await self._export_on_exit(experiment)
        if limit.cancelled_caught:
            self._report["lab"] = f"closing took longer than {self._close_timeout_s:g} s"
        self._unheard.listen(on=False)
        self._unheard.tell()
        self.state = "closed"
        for what, why in self._report.items():
            log.warning("lab closed, not saved: %s: %s", what, why)

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
        for collector in self._collectors.values():
            collector.make_inert()

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

    # -- experiments ----------------------------------------------------------------------------

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
        `on_existing="new"|"resume"|"error"`, `export_on_exit=path`, `prices` (default: the lab's).

        Callables run in the drain, in whatever thread drains: they are sync, and must not take a lock
        that is held around an emit.

        ``on_existing="resume"`` hands out the living experiment of this name, one that is paused still
        paused; an option given now that differs from what it was started with is an error, and so is
        one that has ended.
        """
        self._check_open("start an experiment")
        spec = make_spec(name, options)
        same = [e for e in self._experiments.values() if e.name == spec.name]
        existing = taken_up(same, spec, options)
        if existing is not None:
            return existing
        experiment_id = self._new_id(name)
        collector = self._collector(experiment_id, spec)
        self._claim(spec.export_on_exit, experiment_id)
        experiment = Experiment(experiment_id, spec, collector, collector.reader.trials, self)
        self._experiments[experiment_id] = experiment
        self._collectors[experiment_id] = collector
        try:
            await self._supervisor.start_child(self._child(experiment_id, collector))
        except BaseException:
            self._forget(experiment_id)
            self._unclaim(experiment_id)
            # Cancelled while the supervisor was at it, the actor may run already.
            spawn_root(lambda: self._discard(experiment_id), f"crucible-discard-{experiment_id}")
            raise
        # Closed or stopped meanwhile: a route opened now would never be closed.
        self._check_open("start an experiment")
        if spec.capture == "process" and experiment.state in LIVING:
            self._open_route(experiment, collector)
        self._unheard.listen(on=True)
        return experiment

    async def _discard(self, experiment_id: str) -> None:
        with suppress(CrucibleError):  # it never came to be, or the whole tree is gone
            await self._supervisor.stop_child(experiment_id)

    def _collector(self, experiment_id: str, spec: ExperimentSpec) -> Collector:
        if self._loop is None or not self._loop.is_here():
            raise ConfigurationError(
                "lab", "experiments are started on the event loop the lab was opened on"
            )
        collector = assembled(experiment_id, spec, self._prices, self._key)
        collector.box.max_event_bytes = self._max_event_bytes
        return collector

    def _child(self, experiment_id: str, collector: Collector) -> ChildSpec:
        # Temporary: when it gives up, this experiment has failed and its siblings go on.
        collecting = ChildSpec("collector", collector.run, backoff=BACKOFF)
        supervisor = Supervisor(
            experiment_id, [collecting], intensity=RESTARTS, on_event=self._heard
        )
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

    async def _release(self, experiment: Experiment) -> None:
        """Take a stopped experiment's actor out of the tree, and write its `export_on_exit`."""
        experiment._wake_subscribers()
        try:
            await _outlasted(spawn_root(partial(self._let_go, experiment), "crucible-stop"))
        finally:  # a caller that was cancelled meanwhile leaves no counting behind
            if not self._any_living:
                self._unheard.listen(on=False)

    async def _let_go(self, experiment: Experiment) -> None:
        with anyio.move_on_after(self._close_timeout_s), suppress(CrucibleError):
            # Its supervisor may have given up in this very moment, or the lab have been closed.
            if self.state == "open":
                await self._supervisor.stop_child(experiment.id)
        with anyio.move_on_after(self._close_timeout_s) as limit:
            await self._export_on_exit(experiment)
        if limit.cancelled_caught:
            self._report[experiment.id] = f"its export took longer than {self._close_timeout_s:g} s"

    # -- watching -------------------------------------------------------------------------------

    def tree(self) -> Node:
        """The supervision tree as data that prints."""
        return self._supervisor.tree()

    @property
    def unheard(self) -> dict[str, int]:
        """Events that no experiment took while one ran, by name."""
        return self._unheard.counts

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

    def _check_open(self, command: str) -> None:
        if self.state != "open":
            raise LabClosed(command, "not open yet" if self.state == "new" else self.state)


async def _outlasted(root: RootTask) -> None:
    """Wait for its end; a cancellation meanwhile is raised after it. `Task.cancel` goes through shields."""
    interrupted = await root.outlast(math.inf)
    if interrupted is not None:
        raise interrupted
    if root.error is not None:
        raise root.error
