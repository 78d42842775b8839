"""Metrics at rest: the same board over stored columns, its spreads the values themselves. PURE."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from msgspec import Struct

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.metrics.accumulators import Ints
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Summary, Timing
from crucible_telemetry.metrics.summary import Figures, Pool, summarised

FOLD_ROWS: Final = 2**16
"""Rows counted at once: enough that the cost of a pass is the rows', not the call's."""


class Exact(Struct, frozen=True, eq=False, gc=False):
    """A spread that keeps every value, as pieces of the sorted columns: 8 bytes each, no copy."""

    parts: tuple[Ints, ...]

    @classmethod
    def by_group(cls, values: Ints, starts: Ints) -> "list[Exact]":
        """One a group: views, so that nothing is copied."""
        edges = pairwise([*starts.tolist(), len(values)])
        return [cls((values[start:stop],)) for start, stop in edges]

    def plus(self, other: "Exact") -> "Exact":
        """Both together."""
        return Exact(self.parts + other.parts)

    def quantiles(self, fractions: Sequence[float], _low: int, _high: int) -> list[float]:
        """Type 7 of the values; only the ranks asked for are put in their places (no full sort)."""
        values = np.concatenate(self.parts)
        last = len(values) - 1
        positions = [last * fraction for fraction in fractions]
        ranks = {min(int(position) + k, last) for position in positions for k in (0, 1)}
        values.partition(sorted(ranks))
        return [_type_7(values, position) for position in positions]


def _type_7(placed: Ints, position: float) -> float:
    below = int(position)
    lower, upper = int(placed[below]), int(placed[min(below + 1, len(placed) - 1)])
    return lower + (upper - lower) * (position - below)


def at_rest(
    parts: Sequence[Columns],
    reader: Reader,
    timing: Timing,
    *,
    custom: Mapping[str, Any] | None = None,
    by_event: bool = False,
    pool: Pool = "auto",
) -> Summary:
    """The figures of stored columns, quantiles exact; linear in rows but for one sort per quantile pool.

    `parts` in any order; `since_seq` is the event before the first of them.
    """
    since_seq = min((part.first_seq for part in parts), default=1) - 1
    board = Board.empty(since_seq, spread=Exact, fold_rows=FOLD_ROWS)
    for part in parts:
        board = board.plus(part, reader)
    return summarised(
        board, Figures(reader, timing, pool), custom=custom, by_event=by_event, exact=True
    )
