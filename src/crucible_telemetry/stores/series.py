"""The MetricsStore port: training metrics by step, outside or inside an experiment. PURE."""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol, SupportsFloat, SupportsIndex

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.odd import plain_mapping
from crucible_telemetry.stores.base import INT64, whole_number

MOST_LETTERS: Final = 256
"""Of a run id or the name of a metric."""


class MetricPoint(Struct, frozen=True, kw_only=True):
    """One value of one metric of one run.

    `value`: any real number, NaN and infinities included. `step`: what the caller counts by (epoch,
    batch), or None. `timestamp_us`: when it was recorded, µs since the Unix epoch (UTC).
    """

    run_id: str
    metric: str
    value: float
    step: int | None = None
    timestamp_us: int
    metadata: dict[str, Any] = {}


class MetricsStore(Protocol):
    """Records training metrics by step; many runs in one store.

    `record` is called from training loops: it is sync, from any thread, and does not wait. What was
    recorded is read back after `flush`; `read` flushes first.
    """

    def record(
        self,
        run_id: str,
        metric: str,
        value: SupportsFloat,
        *,
        step: SupportsIndex | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Take one value; `ConfigurationError` for what is no name, no number or no step."""
        ...

    async def flush(self) -> None:
        """Return when everything recorded before this call is kept as well as the store keeps it."""
        ...

    async def read(self, run_id: str, metric: str | None = None) -> list[MetricPoint]:
        """The points of a run (of one metric of it) in the order they were recorded; none is []."""
        ...


def make_point(
    run_id: str,
    metric: str,
    value: object,
    step: object,
    metadata: object,
    timestamp_us: int,
) -> MetricPoint:
    """A checked point: NumPy scalars and tensors of one number become that number."""
    return MetricPoint(
        run_id=_name("run_id", run_id),
        metric=_name("metric", metric),
        value=_number(value),
        step=_step(step),
        timestamp_us=timestamp_us,
        metadata=plain_mapping(metadata, deep=True),
    )


def _name(argument: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MOST_LETTERS:
        raise ConfigurationError(
            argument, f"want text of 1 to {MOST_LETTERS} characters, not {value!r:.80}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(argument, f"{value!r:.80} is no text in UTF-8") from None
    return str(value)


def _number(value: Any) -> float:
    """An int that 64 bits hold stays one; everything else that is a number becomes a float."""
    if type(value) in (int, float) and (isinstance(value, float) or value in INT64):
        return value  # type: ignore[no-any-return]
    try:
        return float(value if not isinstance(value, (str, bytes)) else None)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - whatever an object does when it is asked for its number
        raise ConfigurationError("value", f"want a real number, not {value!r:.80}") from None


def _step(value: Any) -> int | None:
    return None if value is None else whole_number("step", value)
