"""Training metrics as events of an experiment: the lab's own `MetricsStore`."""

from typing import Final, Protocol

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.bus import execute_nowait
from crucible_telemetry.events.event import Event
from crucible_telemetry.experiment.scopes import ExperimentScope
from crucible_telemetry.stores.base import Where
from crucible_telemetry.stores.recording import Recording
from crucible_telemetry.stores.series import MetricPoint

EVENT: Final = "training.metric"


class _Kept(Protocol):
    """What of an experiment this needs."""

    async def flush(self) -> object: ...

    async def events(self, where: Where | None = None) -> list[Event]: ...


class ExperimentSeries(Recording):
    """`Experiment.series`: a `MetricsStore` whose points are events ``training.metric``.

    Each has the value as a measurement under the metric's name and run id, metric, step and details
    as metadata, so that ``metrics_config={"custom": ["loss"]}`` summarises it and exports hold it. They
    obey the experiment: filters, sampling, pauses, privacy. With ``privacy="none"`` no name would be
    kept, and `record` raises.
    """

    def __init__(self, experiment: _Kept, collector: Collector) -> None:
        self._experiment, self._collector = experiment, collector

    def _take(self, point: MetricPoint) -> None:
        """Emit an event into this experiment, in whatever scope it is called."""
        if self._collector.reader.spec.privacy == "none":
            raise ConfigurationError(
                "privacy", '"none" keeps no names, so points could not be read back'
            )
        said = {"run_id": point.run_id, "metric": point.metric, "step": point.step}
        details = {"details": point.metadata} if point.metadata else {}
        with ExperimentScope(self._collector):
            execute_nowait(
                EVENT, {point.metric: point.value}, said | details, at_us=point.timestamp_us
            )

    async def flush(self) -> None:
        """`Experiment.flush`."""
        await self._experiment.flush()

    async def read(self, run_id: str, metric: str | None = None) -> list[MetricPoint]:
        """See `MetricsStore.read`; also after the experiment has stopped."""
        where = {"run_id": run_id} if metric is None else {"run_id": run_id, "metric": metric}
        events = await self._experiment.events(Where(event=EVENT, metadata=where))
        return [_point(event) for event in events]


def _point(event: Event) -> MetricPoint:
    said = event.metadata
    return MetricPoint(
        run_id=said["run_id"],
        metric=said["metric"],
        value=event.measurements[said["metric"]],
        step=said["step"],
        timestamp_us=event.timestamp_us,
        metadata=said.get("details", {}),
    )
