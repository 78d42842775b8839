"""Experiments by id, and the verbs that take one."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import anyio

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.plan import TrialPlan, order_trials
from crucible_telemetry.collect.pricelist import Own, estimate
from crucible_telemetry.collect.spec import State
from crucible_telemetry.compare import Comparison
from crucible_telemetry.compare.run import asked, compare
from crucible_telemetry.errors import ConfigurationError, LabClosed, QueryError, UnknownExperiment
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.experiment.querying import MEMORY_BYTES, query_experiments
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.experiment.together import export_together
from crucible_telemetry.export.result import QueryResult
from crucible_telemetry.lab.options import arms_of, id_of, listed
from crucible_telemetry.lab.records import Record
from crucible_telemetry.lab.sources import Source, read_in
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stores.base import Where


class Registry:
    """The experiments of a lab, in the order they started; what only reads does not wait."""

    def __init__(self, prices: Own) -> None:
        self._prices = prices
        self._experiments: dict[str, Experiment] = {}
        self._collectors: dict[str, Collector] = {}
        self._found_records: dict[str, Record] = {}
        """Of experiments of earlier processes and of archives, as they were written; none once they go on here."""
        self._targets: dict[Path, str] = {}
        """Files of `export_on_exit` and whose they are, also of experiments that were forgotten."""

    state: str
    _read_only = False

    def _check_open(self, command: str) -> None:
        """`LabClosed` unless experiments may be started and changed."""
        if self.state != "open":
            raise LabClosed(command, "not open yet" if self.state == "new" else self.state)
        self._check_writes(command)

    def _check_writes(self, command: str) -> None:
        if self._read_only:
            raise LabClosed(command, "open to be read only")

    @property
    def _any_living(self) -> bool:
        """Whether some experiment runs or is paused. From any thread."""
        # A copy in one step: emits come from any thread, and experiments start meanwhile.
        return any(e._life.living for e in list(self._experiments.values()))

    def _forget(self, experiment_id: str) -> None:
        """Drop an experiment from the registry."""
        self._experiments.pop(experiment_id, None)
        self._collectors.pop(experiment_id, None)
        self._found_records.pop(experiment_id, None)

    def _claim(self, path: Any, experiment_id: str) -> None:
        """Reserve the file of `export_on_exit`: two experiments would overwrite each other."""
        if path is None:
            return
        owner = self._targets.setdefault(Path(path).resolve(), experiment_id)
        if owner != experiment_id:
            raise ConfigurationError(
                "export_on_exit", f"{str(path)!r} is the file of experiment {owner!r} of this lab"
            )

    def _unclaim(self, experiment_id: str) -> None:
        """Give the file back: the experiment never came to be."""
        self._targets = {p: owner for p, owner in self._targets.items() if owner != experiment_id}

    def get_experiment(self, experiment_id: str | Experiment) -> Experiment:
        """The experiment of this id, or of this handle; `UnknownExperiment` names one that is not there."""
        one = id_of(experiment_id)
        try:
            return self._experiments[one]
        except KeyError:
            raise UnknownExperiment(one, len(self._experiments)) from None

    def list_experiments(
        self,
        *,
        state: str | None = None,
        condition: str | None = None,
        tags: str | Iterable[str] | None = None,
    ) -> list[Experiment]:
        """Experiments in the order they started: of this state, of this condition, with all these tags."""
        if state is not None and state not in list(State):
            raise ConfigurationError("state", f"want one of {', '.join(State)}, not {state!r}")
        wanted = {tags} if isinstance(tags, str) else set(tags or ())
        return [
            e
            for e in self._experiments.values()
            if (state is None or e.state == state)
            and (condition is None or e.spec.condition == condition)
            and wanted.issubset(e.spec.tags)
        ]

    def is_paused(self, experiment_id: str | Experiment) -> bool:
        """Whether it is paused."""
        return self.get_experiment(experiment_id).state is State.PAUSED

    async def stop_experiment(self, experiment_id: str | Experiment) -> Experiment:
        """See `Experiment.stop`."""
        return await self.get_experiment(experiment_id).stop()

    async def pause_experiment(self, experiment_id: str | Experiment) -> Experiment:
        """See `Experiment.pause`."""
        return await self.get_experiment(experiment_id).pause()

    async def resume_experiment(self, experiment_id: str | Experiment) -> Experiment:
        """See `Experiment.resume`."""
        return await self.get_experiment(experiment_id).resume()

    async def calculate_metrics(self, experiment_id: str | Experiment) -> Summary:
        """See `Experiment.metrics`."""
        return await self.get_experiment(experiment_id).metrics()

    async def export(
        self,
        experiment_id: str | Experiment,
        path: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Path:
        """See `Experiment.export`."""
        return await self.get_experiment(experiment_id).export(path, **options)

    async def cleanup(self, experiment_id: str | Experiment, *, keep_data: bool = False) -> None:
        """See `Experiment.cleanup`."""
        await self.get_experiment(experiment_id).cleanup(keep_data=keep_data)

    def trials(  # noqa: PLR0913 - keyword options, each with a default
        self,
        experiments: Experiment | Sequence[Experiment],
        *,
        items: Iterable[object],
        repeats: int = 1,
        order: str = "interleaved",
        seed: int | None = None,
        skip_done: bool = False,
        concurrency: int = 1,
    ) -> TrialPlan:
        """Trials of every item in every experiment (or in one), `concurrency` at a time: see `order_trials`.

        ``async for trial in lab.trials(…): tg.start_soon(run, trial)`` where `run` begins with
        ``async with trial``; the next is handed out when one of the running has ended, so each has to be
        begun: one that is not keeps its place, and the plan waits. With `skip_done`
        those that ended well before are left out; `stop_at_sample_size` ends an experiment's trials.
        """
        plan = order_trials(arms_of(experiments), items, repeats, order, seed)
        return TrialPlan(plan, concurrency, skip_done=skip_done)

    def estimate_cost(  # noqa: PLR0913 - keyword options, all but three with a default
        self,
        *,
        provider: str | None = None,
        model: str,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        reasoning_tokens: int = 0,
        day: date | None = None,
    ) -> float | None:
        """`ct.estimate_cost` with this lab's prices."""
        counts = (input_tokens, output_tokens, cached_tokens, 0, reasoning_tokens)
        return estimate(self._prices, provider, model, counts, day)

    async def export_multiple(
        self,
        experiment_ids: Iterable[str | Experiment],
        path: str | os.PathLike[str],
        **options: Any,
    ) -> list[Path]:
        """One file of several experiments, or a file of each in a folder: see `export_together`."""
        chosen = [self.get_experiment(one) for one in listed("experiment_ids", experiment_ids)]
        return await export_together(chosen, path, **options)

    async def compare_experiments(
        self,
        experiment_ids: Iterable[str | Experiment],
        *,
        metric: str,
        where: Where | None = None,
        **options: Any,
    ) -> Comparison:
        """Experiments compared by one metric, treatment − control; the first, or `control=`, is the control.

        `experiment_ids`: ids, or the experiments themselves.

        `metric`: ``"score.NAME"``, ``"cost_usd"``, ``"cost_per_success"``, ``"latency_ms"``, ``"ttft"`` (also
        ``"latency_ms.p99"``), ``"success"``, ``"itl"``, ``"tokens"``, ``"completion_tokens"`` …, a custom
        metric (worked out anew from the events of each trial) or a measured field (its mean over these). The unit is the trial: costs and tokens are sums over all its calls and attempts, latency is
        its wall time, success and scores are those of its last attempt; repeats are averaged within the item.
        The method follows from which items ran where, how often, and the kind of metric; the result says
        which, and why. Times are times to success: failures never succeed, what was cut off is censored,
        means need `horizon_s`.

        `where` chooses events, and by their identity (`sample_id`, `repeat`, `cohort` …) trials; a trial
        without an event that fits has cost 0, and no value of a field. Where nothing ran in trials the
        unit is the call, and a custom metric has one value an experiment, so no interval.

        Options: `secondary` (further metrics, corrected by `correction`: ``"holm"`` or ``"bh"``), `pairing`
        (``"intersection"`` or ``"independent"``, needed where under 80 % of the items are common),
        `confidence` (0.95), `alternative` (``"two-sided"``, ``"less"``, ``"greater"``), `bootstrap` (``"BCa"`` or
        ``"percentile"``: the interval of two arms' means, rates or ratios by resampling items, its seed made of
        metric and ids, so that the same call gives the same digits). ComparisonError says
        what would not be honest: experiments that share events, different pools, unpriced costs, samples.
        """
        chosen = [self.get_experiment(one) for one in listed("experiment_ids", experiment_ids)]
        if isinstance(control := options.get("control"), Experiment):
            options["control"] = control.id
        return await compare(chosen, asked(metric, options), where)

    async def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        experiments: Iterable[str | Experiment] | None = None,
        files: Iterable[Source] | None = None,
        memory_bytes: int = MEMORY_BYTES,
        timeout_s: float | None = None,
    ) -> QueryResult:
        """The answer to one SQL query (DuckDB, extra ``[sql]``) over these experiments, by id, or over all.

        `files`: exported files (Parquet, Arrow, JSON Lines, CSV) and archives (folders, or URLs as `restore` takes
        them), read into memory and verified; without `experiments` these alone are asked.

        ``events`` has a column for each field of `Event` (`time` is a UTC timestamp; `fields`,
        `measurements`, `metadata` are JSON: ``metadata->>'prompt_id'``), ``trials`` their records with
        ``scores['correct']`` as numbers, ``experiments`` one row each. ``$1`` or ``$name`` in the query
        stand for `parameters`. It sees what was emitted before the call, and reads only: anything but a
        query, and any file, is refused (`QueryError`), as is what needs more than `memory_bytes` or `timeout_s`.
        """
        chosen = [] if files is not None else list(self._experiments)
        if experiments is not None:
            chosen = listed("experiments", experiments)
        those: list[Questions] = [self.get_experiment(one) for one in chosen]
        those += await read_in(files or (), type(self))
        with anyio.move_on_after(timeout_s):
            return await query_experiments(those, query, parameters, memory_bytes)
        raise QueryError("sql", f"it took more than {timeout_s:g} s")
