"""Metrics at rest: the same board over stored columns, its spreads the values themselves. PURE."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.metrics.accumulators import Ints
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.config import MetricsConfig
from crucible_telemetry.metrics.figures import Summary, Timing
from crucible_telemetry.metrics.sketch import Floats
from crucible_telemetry.metrics.summary import DEFAULT, Figures, summarised

FOLD_ROWS: Final = 2**16
"""Rows counted at once: enough that the cost of a pass is the rows', not the call's."""


class Exact(Struct, frozen=True, eq=False, gc=False):
    """A spread that keeps every value, as pieces of the sorted columns: 8 bytes each, no copy."""

    parts: tuple[NDArray[Any], ...]

    @classmethod
    def by_group(cls, values: Ints, starts: Ints) -> "list[Exact]":
        """One a group: views, so that nothing is copied."""
        edges = pairwise([*starts.tolist(), len(values)])
        return [cls((values[start:stop],)) for start, stop in edges]

    @classmethod
    def of_reals(cls, values: Floats, starts: Ints) -> "list[ExactReals]":
        """The same for floats."""
        edges = pairwise([*starts.tolist(), len(values)])
        return [ExactReals((values[start:stop],)) for start, stop in edges]

    def plus(self, other: Self) -> Self:
        """Both together."""
        return type(self)(self.parts + other.parts)

    def quantiles(self, fractions: Sequence[float], _low: float, _high: float) -> list[float]:
        """Type 7 of the values; only the ranks asked for are put in their places (no full sort)."""
        values = np.concatenate(self.parts)
        last = len(values) - 1
        positions = [last * fraction for fraction in fractions]
        ranks = {min(int(position) + k, last) for position in positions for k in (0, 1)}
        values.partition(sorted(ranks))
        return [self._type_7(values, position) for position in positions]

    def _type_7(self, placed: NDArray[Any], position: float) -> float:
        below = int(position)
        lower, upper = placed[below].item(), placed[min(below + 1, len(placed) - 1)].item()
        return self._between(lower, upper, position - below)

    @staticmethod
    def _between(lower: Any, upper: Any, share: float) -> float:
        value: float = lower + (upper - lower) * share
        return value


class ExactReals(Exact, frozen=True, eq=False, gc=False):
    """The same for floats, whose difference may be beyond any float."""

    @staticmethod
    def _between(lower: Any, upper: Any, share: float) -> float:
        value: float = min(max(lower * (1 - share) + upper * share, lower), upper)
        return value


def at_rest(
    parts: Sequence[Columns],
    reader: Reader,
    timing: Timing,
    *,
    custom: Mapping[str, Any] | None = None,
    by_event: bool = False,
    config: MetricsConfig = DEFAULT,
) -> Summary:
    """The figures of stored columns, quantiles exact; linear in rows but for one sort per quantile pool.

    `parts` in any order; `since_seq` is the event before the first of them.
    """
    since_seq = min((part.first_seq for part in parts), default=1) - 1
    board = Board.empty(since_seq, spread=Exact, fold_rows=FOLD_ROWS)
    for part in parts:
        board = board.plus(part, reader)
    return summarised(
        board, Figures(reader, timing, config), custom=custom, by_event=by_event, exact=True
    )
