"""The pieces of one experiment's collecting, put together."""

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.pricelist import Own, read_prices
from crucible_telemetry.collect.pricing import Pricer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.stores.memory import MemoryStore


def assembled(experiment_id: str, spec: ExperimentSpec, prices: Own, key: bytes) -> Collector:
    """The collector of a new experiment: `prices` are the lab's, `key` is of its hashes.

    `ConfigurationError` when the experiment's own prices are wrong.
    """
    reader = ExperimentReader(experiment_id, spec, Trials())
    guard = Guard(spec, key)
    own = prices if spec.prices is None else read_prices(spec.prices)
    preparer = Preparer(reader, guard, Pricer.of(own, reader, guard))
    return Collector(reader, preparer, MemoryStore(reader), spec.mailbox_size)
