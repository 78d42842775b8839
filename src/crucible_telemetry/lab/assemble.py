"""The pieces of one experiment's collecting, put together."""

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.pricelist import Own, read_prices
from crucible_telemetry.collect.pricing import Pricer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.stores.base import Query, Store

Span = tuple[int | None, int | None]


def assembled(reader: ExperimentReader, store: Store, prices: Own, key: bytes) -> Collector:
    """The collector of an experiment: `prices` are the lab's, `key` is of its hashes.

    `ConfigurationError` when the experiment's own prices are wrong.
    """
    spec: ExperimentSpec = reader.spec
    guard = Guard(spec, key)
    own = prices if spec.prices is None else read_prices(spec.prices)
    preparer = Preparer(reader, guard, Pricer.of(own, reader, guard))
    return Collector(reader, preparer, store, spec.mailbox_size)


async def recounted(store: Store, reader: ExperimentReader) -> tuple[Board, Span]:
    """The live board of what a store holds, and the time of its first and last event (µs)."""
    board, first_us, last_us = Board.empty(), None, None
    async for part in store.columns(Query()):
        board = board.plus(part, reader)
        low, high = int(part.timestamp_us.min()), int(part.timestamp_us.max())
        first_us = low if first_us is None else min(first_us, low)
        last_us = high if last_us is None else max(last_us, high)
    return board, (first_us, last_us)
