"""Test data that many tests share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crucible_telemetry.events.columns import DTYPES, ENDS, FILL, LLM, Columns, Payload
from crucible_telemetry.events.event import Event, Identity, Outcome


def columns(n: int, first_seq: int = 1, **given: Any) -> Columns:
    """`n` rows: ends of llm operations that went well, a microsecond apart, unless said otherwise.

    Arrays may be given by column name, as scalars or sequences; optional ones are absent by default.
    The payload of row `i` is its seq as text.
    """
    defaults: dict[str, Any] = {
        "timestamp_us": np.arange(first_seq, first_seq + n) + 1_700_000_000_000_000,
        "shape": 1,
        "flags": ENDS | LLM,
        "outcome": Outcome.OK,
        "model": 0,
        "trial": 0,
        "error": 0,
    }
    arrays = {
        name: np.array(np.broadcast_to(value, (n,)), DTYPES[name])
        for name, value in {**defaults, **given}.items()
        if value is not None
    }
    assert set(given) <= set(defaults) | set(FILL)
    return Columns(first_seq, Payload.of([str(first_seq + i).encode() for i in range(n)]), arrays)


class PlainReader:
    """A Reader over `columns` made above: shape `k` is named ``event.k``, model `m` is ``model-m``."""

    condition = "default"
    tags = ("t",)

    def keys(self, shape: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return ("seq",), ()

    def identity(self, trial: int) -> Identity:
        return (f"item-{trial}" if trial else None, *[None] * 5)

    def name(self, shape: int) -> str:
        return f"event.{shape}"

    def model(self, model: int) -> tuple[str | None, str | None]:
        return ("provider", f"model-{model}") if model else (None, None)

    def error(self, error: int) -> str:
        return f"Error{error}"

    def row_name(self, columns: Columns, index: int) -> str:
        return self.name(int(columns.shape[index]))

    def fields(self, columns: Columns) -> dict[str, Any]:
        """None, unless a subclass knows some."""
        return {}

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        return [self._event(columns, int(i)) for i in indices]

    def _event(self, columns: Columns, i: int) -> Event:
        outcome = Outcome(int(columns.outcome[i]))
        latency = None if columns.latency_ns is None else int(columns.latency_ns[i])
        return Event(
            seq=columns.first_seq + i,
            event_id=columns.payload[i].decode(),
            timestamp_us=int(columns.timestamp_us[i]),
            event_name=self.row_name(columns, i),
            measurements={"seq": columns.first_seq + i},
            metadata={},
            experiment_id="e",
            experiment_name="e",
            condition=self.condition,
            tags=self.tags,
            sample_id=self.identity(int(columns.trial[i]))[0],
            latency_ms=None if latency is None or latency < 0 else latency / 1e6,
            success=outcome.success,
            outcome=outcome.label,
            provider=self.model(int(columns.model[i]))[0],
            model=self.model(int(columns.model[i]))[1],
        )
