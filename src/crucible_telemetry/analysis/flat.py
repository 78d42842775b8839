"""Metrics at rest of more events than memory should hold: passes over the store, a part at a time."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from anyio.lowlevel import checkpoint
from msgspec import Struct

from crucible_telemetry.events.columns import Columns, Reader
from crucible_telemetry.metrics.board import MOST_NAMES, Board
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.metrics.grouping import Rows, measured
from crucible_telemetry.metrics.narrowing import Narrowing

Span = tuple[int | None, int | None]
NO_SPAN: Final[Span] = (None, None)


class FirstPass(Struct, frozen=True):
    """Everything but exact quantiles, and the time of the first and the last event."""

    board: Board
    span_us: Span

    @property
    def crowded(self) -> bool:
        """Whether events may have been counted under another name, so that no second pass finds them."""
        return len(self.board.cells) >= MOST_NAMES


async def first_pass(parts: AsyncIterator[Columns], reader: Reader) -> FirstPass:
    """Count all parts, which come in seq order."""
    board, span_us = Board.empty(), NO_SPAN
    async for part in parts:
        if span_us is NO_SPAN:
            board = Board.empty(since_seq=part.first_seq - 1)
        span_us = widened(span_us, part)
        board = board.plus(part, reader)
        await checkpoint()
    return FirstPass(board, span_us)


def widened(span_us: Span, part: Columns) -> Span:
    """The span with the times of one more part."""
    first, last = span_us
    low, high = int(part.timestamp_us.min()), int(part.timestamp_us.max())
    return (low if first is None else min(first, low), high if last is None else max(last, high))


async def in_passes(
    board: Board,
    made: Callable[[Board], Summary],
    parts: Callable[[], AsyncIterator[Columns]],
    reader: Reader,
) -> Summary:
    """What is `made` of the first pass's board, quantiles exact: pass after pass over the same rows."""
    narrowing = Narrowing()
    asking = narrowing.asking(board)
    made(asking)
    while not narrowing.done:
        narrowing.begin_pass()
        async for part in parts():
            for key, name, values in measured(Rows.of(part, reader), reader):
                narrowing.take(key, name, values)
            await checkpoint()
        for settle in narrowing.end_pass():
            settle()
            await checkpoint()
    return made(asking)
