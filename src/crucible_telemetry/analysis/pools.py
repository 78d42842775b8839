"""Which rows figures are of, by the rules that `metrics.summary` has for cells. PURE."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.events.columns import ENDS, LLM, Columns, Reader, counted_once
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.metrics.config import BILLED, POOLS, Chosen, MetricsConfig, fits

Mask = NDArray[np.bool_]


class Pools(Struct, frozen=True):
    """The choice of an experiment's `metrics_config`; the reader names its shapes."""

    config: MetricsConfig = MetricsConfig()
    reader: Reader | None = None

    def pooled(self, parts: Sequence[Columns], flags: NDArray[np.uint8]) -> Mask:
        """Rows that latency and success are of; `flags` are those of all parts together."""
        pool = self.config.pool
        ends: Mask = (flags & ENDS) != 0
        if pool not in POOLS:
            return ends & self._named(parts, pool)
        calls: Mask = ends & ((flags & LLM) != 0)
        return calls if pool == "llm" or (pool == "auto" and calls.any()) else ends

    @property
    def named(self) -> bool:
        """Whether the choice goes by the names of events, which roll-ups do not hold."""
        pool, billed = self.config.pool, self.config.billed
        return pool not in POOLS or billed not in BILLED

    def billed(self, parts: Sequence[Columns], flags: NDArray[np.uint8], reports: Mask) -> Mask:
        """Rows that cost is of; `reports` says which have one."""
        billed = self.config.billed
        if billed == "auto":
            return counted_once(flags, reports) & reports
        chosen: Mask = (flags & ENDS) != 0 if billed == "all" else self._named(parts, billed)
        return chosen & reports

    def _named(self, parts: Sequence[Columns], chosen: Chosen) -> Mask:
        patterns = (chosen,) if isinstance(chosen, str) else chosen
        return np.concatenate([_fitting(part, patterns, self.reader) for part in parts])


def _fitting(part: Columns, patterns: tuple[str, ...], reader: Reader | None) -> Mask:
    """Rows of one part whose event's name fits; of the generic shape each has its own."""
    if reader is None:
        raise AssertionError("patterns need a reader, which names the shapes")
    shapes, places = np.unique(part.shape, return_inverse=True)
    named = [n != GENERIC_SHAPE and fits(patterns, reader.name(n)) for n in shapes.tolist()]
    mask: Mask = np.array(named, np.bool_)[places]
    for at in np.flatnonzero(part.shape == GENERIC_SHAPE).tolist():
        mask[at] = fits(patterns, reader.row_name(part, at))
    return mask


AUTO: Final = Pools()
