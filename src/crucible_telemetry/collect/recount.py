"""What a store holds already, counted again: for an experiment that goes on, and for `live` of one that has ended."""

from collections.abc import AsyncIterator

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.progress import widened
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.errors import StoreError
from crucible_telemetry.events.columns import ENDS, LLM, Columns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.runtime.loops import RootTask, spawn_root
from crucible_telemetry.stores.base import Query, Store

Span = tuple[int | None, int | None]


class Recount(Struct, frozen=True):
    """What a store holds, counted again: the live board, the time of its first and last event (µs), and how
    many operations ended, as (all, llm).
    """  # noqa: D205 - the summary is one sentence

    board: Board
    span_us: Span = (None, None)
    operations: tuple[int, int] = (0, 0)

    def plus(self, part: Columns, reader: ExperimentReader) -> "Recount":
        """With the next rows."""
        ends = (part.flags & ENDS) != 0
        of_llm = int((ends & ((part.flags & LLM) != 0)).sum())
        others, llm = self.operations
        return Recount(
            self.board.plus(part, reader),
            widened(self.span_us, part),
            (others + int(ends.sum()) - of_llm, llm + of_llm),
        )


async def recounting(store: Store, reader: ExperimentReader) -> AsyncIterator[Recount]:
    """Count again what a store holds, a part at a time: how far it has come."""
    found = Recount(Board.empty())
    async for part in store.columns(Query()):
        found = found.plus(part, reader)
        yield found


async def recounted(store: Store, reader: ExperimentReader) -> Recount:
    """What a store holds, counted again."""
    found = Recount(Board.empty())
    async for found in recounting(store, reader):  # noqa: B007 - the last one
        pass
    return found


class LookingBack:
    """Counts again, for `live`, the events of an experiment that nothing is added to.

    It begins when somebody looks first, and goes on by itself, a part at a time: nobody waits for it who
    does not want to.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._task: RootTask | None = None
        self._stopped = False

    def begin(self) -> None:
        """Have it count, from any thread; once."""
        loop = self._collector.loop
        if self._task is None and loop.is_here():
            self._task = spawn_root(self._count, "crucible-count-again")
        elif self._task is None:
            loop.run_soon(self.begin)

    def stop(self) -> None:
        """Show nothing more."""
        self._stopped = True

    async def wait(self) -> None:
        """Wait until all is counted. On the lab's loop."""
        self.begin()
        if self._task is not None:
            await self._task.wait()

    async def _count(self) -> None:
        collector = self._collector
        try:
            async for again in recounting(collector.store, collector.reader):
                if self._stopped:
                    return
                collector.progress = replace(
                    collector.progress, live=again.board, live_us=again.span_us
                )
        except StoreError as error:  # closed, away or damaged: `upto_seq` says how far it came
            log.warning("live figures of %r end early: %s", collector.reader.experiment_id, error)
