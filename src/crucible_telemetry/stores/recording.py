"""What the library's own stores of training metrics have in common: a point is checked and stamped when it is recorded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, SupportsFloat, SupportsIndex

from crucible_telemetry.clock import wall_us
from crucible_telemetry.stores.series import MetricPoint, make_point


class Recording(ABC):
    """The first verb of a `MetricsStore`."""

    def record(
        self,
        run_id: str,
        metric: str,
        value: SupportsFloat,
        *,
        step: SupportsIndex | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """See `MetricsStore.record`."""
        self._take(make_point(run_id, metric, value, step, metadata, wall_us()))

    @abstractmethod
    def _take(self, point: MetricPoint) -> None:
        """Keep a point."""
