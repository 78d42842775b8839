"""What comparing asks of an experiment, running or read from a file: its trials, columns and summary."""

from collections.abc import Sequence
from typing import Final

import anyio.to_thread
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.analysis.pools import Pools
from crucible_telemetry.clock import wall_us
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.trials import TrialRecord, identity_of
from crucible_telemetry.compare.custom import custom_values
from crucible_telemetry.compare.design import Arm
from crucible_telemetry.compare.measures import Events, call_units, measured
from crucible_telemetry.compare.metric import Metric
from crucible_telemetry.compare.units import CENSORED, Units, Watched, score_of, trial_units
from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.events.event import IDENTITY, Outcome
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.metrics.figures import Cost
from crucible_telemetry.stats.arguments import Floats
from crucible_telemetry.stores.base import Where
from crucible_telemetry.stores.kept import KeptStore

_FAILED: Final = (Outcome.ERROR, Outcome.TIMEOUT)


class Gathered(Struct, frozen=True, eq=False):
    """One experiment, read once: every metric is worked out from this."""

    id: str
    name: str
    condition: str
    process_wide: bool
    where: Where | None
    records: list[TrialRecord]
    events: Events
    custom: CustomMetrics
    sampled: bool
    costs: Cost | None
    """What its summary says of cost, where cost is asked for."""
    units: Units
    at: NDArray[np.intp]
    """Positions of the calls, where calls are the units."""
    watched: Watched
    damage: tuple[str, ...]
    """What is not there of it, in words: of a lab that reads on all the same."""

    @property
    def retried(self) -> bool:
        """Whether some trial has several attempts."""
        return len({(*record.key, record.attempt) for record in self.records}) > len(self.units)

    def attempts(self) -> Units:
        """Each attempt as a unit."""
        return trial_units(self.records, self.watched, attempts=True)

    def arm(self, metric: Metric, units: Units | None = None) -> tuple[Arm, bool]:
        """The metric of each unit, and whether its values are True and False only."""
        chosen = self.units if units is None else units
        if metric.source == "custom" and not chosen.keys:
            return self._whole(metric)
        values, rate = self._values(metric, chosen)
        arm = Arm(self.name, values, chosen.items)
        if metric.kind == "time":
            arm = _followed(arm, chosen, seen_before=metric.key == "ttft")
        elif metric.kind == "ratio":
            arm = _over_successes(arm, chosen)
        return arm, rate

    def _whole(self, metric: Metric) -> tuple[Arm, bool]:
        """A custom metric where nothing ran in trials: one value, of the experiment."""
        everything = np.zeros(len(self.events.column("trial")), np.int64)
        values, _ = custom_values(self.events, self.custom, metric, everything, 1)
        return Arm(self.name, values, None), False

    def _values(self, metric: Metric, units: Units) -> tuple[Floats, bool]:
        if metric.source == "score":
            return (
                score_of(units, metric.key)
                if units.scores
                else (np.full(len(units), np.nan), False)
            )
        if metric.source == "success":
            return _successes(units), True
        if metric.key == "latency_ms":
            return units.elapsed_ms, False
        n = len(units)
        if metric.source == "custom":
            unit_of = self.events.unit_of(units.keys)
            return custom_values(self.events, self.custom, metric, unit_of, n)
        if units.keys:
            return measured(self.events, metric, self.events.unit_of(units.keys), n), False
        own = np.full(len(self.events.column("trial")), -1, np.int64)
        own[self.at] = np.arange(n)
        return measured(self.events, metric, own, n), False


def _successes(units: Units) -> Floats:
    """1 for ok, 0 for failures, NaN for what is neither."""
    values = np.full(len(units), np.nan)
    values[units.outcome == Outcome.OK] = 1.0
    values[np.isin(units.outcome, _FAILED)] = 0.0
    return values


def _followed(arm: Arm, units: Units, *, seen_before: bool) -> Arm:
    """Time to success: failures never succeed; what was cut off is censored at its elapsed time.

    What was `seen_before` the cut (a first token) is no less seen for it.
    """
    outcome, values = units.outcome, arm.values
    cut = np.isin(outcome, CENSORED)
    observed = (outcome == Outcome.OK) | (cut & ~np.isnan(values) & seen_before)
    times = np.where(cut & np.isnan(values), units.elapsed_ms, values)
    times = np.where(outcome == Outcome.ERROR, np.inf, times)
    if arm.items is not None:
        return Arm(arm.name, times, arm.items, observed=observed)
    order = np.argsort(times)  # calls of nobody have no order of their own, and what follows sorts
    return Arm(arm.name, times[order], None, observed=observed[order])


def _over_successes(arm: Arm, units: Units) -> Arm:
    return Arm(arm.name, arm.values, arm.items, below=(units.outcome == Outcome.OK).astype(float))


def _asked_for(record: TrialRecord, where: Where | None) -> bool:
    """Whether a trial has the identity that `where` asks for, as its events must."""
    if where is None:
        return True
    of = dict(zip(IDENTITY, identity_of(record), strict=True))
    return all(of[name] in choices for name, choices in where.identity.items())


def _counted(
    ran: list[TrialRecord], where: Where | None, watched: Watched, events: Events
) -> tuple[list[TrialRecord], Units, NDArray[np.intp]]:
    """The trials asked for, the units, and where the calls are that stand for units; not on the loop."""
    records = [record for record in ran if _asked_for(record, where)]
    if ran:
        return records, trial_units(records, watched), np.zeros(0, np.intp)
    return records, *call_units(events)


async def gathered(
    experiment: Questions, where: Where | None, metrics: Sequence[Metric]
) -> Gathered:
    """Everything of one experiment; trials if there are any, else the calls of its pool."""
    priced = any(metric.key == "cost_usd" for metric in metrics)
    costs = (await experiment.metrics(where)).cost if priced else None
    ran = await experiment.trials()
    parts, reader = await experiment._parts(where)
    config = experiment.spec.metrics_config
    events = Events(parts, reader, Pools(config, reader))
    life = experiment._life
    watched = Watched(wall_us() if life.ended_us is None else life.ended_us, tuple(life.gaps_us))
    records, units, at = await anyio.to_thread.run_sync(_counted, ran, where, watched, events)
    if ran and not records:
        raise ComparisonError(metrics[0].name, f"no trial of {experiment.name} fits `where`")
    if not len(units) and any(metric.source != "custom" for metric in metrics):
        raise ComparisonError(metrics[0].name, f"{experiment.name} has no trials and no operations")
    return Gathered(
        id=experiment.id,
        name=experiment.name,
        condition=experiment.spec.condition,
        process_wide=experiment.spec.capture == "process",
        where=where,
        records=records,
        events=events,
        custom=experiment._custom,
        sampled=experiment.spec.sampled,
        costs=costs,
        units=units,
        at=at,
        watched=watched,
        damage=_damage(experiment),
    )


def _damage(experiment: Questions) -> tuple[str, ...]:
    store, _ = experiment._reading.source
    return store.damage.told() if isinstance(store, KeptStore) else ()
