"""The pieces of one experiment's collecting, put together."""

from msgspec.structs import replace

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.pricelist import Own, read_prices
from crucible_telemetry.collect.pricing import Pricer
from crucible_telemetry.collect.quota import Quota
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.recount import Recount
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.lab.records import Record, progress_of
from crucible_telemetry.stores.base import Store


def assembled(reader: ExperimentReader, store: Store, prices: Own, key: bytes) -> Collector:
    """The collector of an experiment: `prices` are the lab's, `key` is of its hashes.

    `ConfigurationError` when the experiment's own prices are wrong.
    """
    spec: ExperimentSpec = reader.spec
    guard = Guard(spec, key)
    own = prices if spec.prices is None else read_prices(spec.prices)
    preparer = Preparer(reader, guard, Pricer.of(own, reader, guard))
    return Collector(reader, preparer, store, spec.mailbox_size)


def gone_on(collector: Collector, former: Collector, record: Record, again: Recount) -> Collector:
    """A new collector that goes on where a former one, or an earlier process, ended."""
    stored = former.store.last_seq
    collector.progress = replace(progress_of(record, again.board, stored), live_us=again.span_us)
    collector.earlier = former.earlier
    collector.box.follows(former.box)
    if isinstance(collector.box.quota, Quota):
        # A trial that was cut off is no part of the sample: it is run again.
        ended = [r.number for r in former.reader.trials.records.values() if r.ended_us is not None]
        collector.box.quota.go_on(ended, again.operations)
    return collector
