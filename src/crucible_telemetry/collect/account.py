"""A collector's account: what became of every event, and how collecting goes."""

from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.progress import Counts, Health
from crucible_telemetry.events.mailbox import Gate
from crucible_telemetry.stores.base import StoreHealth
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.lasting import Lasting


def counts_of(collector: Collector) -> Counts:
    """Read once; see `Counts` for when it is exact."""
    box, progress = collector.box, collector.progress
    refusals = {gate: tally.value for gate, tally in box.refusals.items()}
    earlier = collector.earlier
    return Counts(
        emitted=earlier.emitted + box.ticks.value,
        stored=progress.stored,
        filtered=progress.filtered,
        sampled_out=progress.sampled_out,
        skipped=earlier.skipped + refusals[Gate.SKIPPED],
        dropped=earlier.dropped + refusals["dropped"],
        quarantined=progress.quarantined,
        late=earlier.late + refusals[Gate.LATE],
        refused=earlier.refused + refusals[Gate.REFUSED],
        in_flight=box.accepted - progress.consumed,
    )


def health_of(collector: Collector, state: str, failed_metrics: dict[str, str]) -> Health:
    """Read once."""
    box, progress, store = collector.box, collector.progress, collector.store
    return Health(
        state=state,
        in_flight=box.accepted - progress.consumed,
        mailbox_capacity=box.capacity,
        mailbox_peak=max(box.peak, len(box)),
        batches=collector.batches,
        drained_by_emitters=collector.drained_by_emitters,
        mean_batch=progress.consumed / max(collector.batches, 1),
        drain_ms_last=collector.drain_ns_last / 1e6,
        drain_ms_max=collector.drain_ns_max / 1e6,
        lag_ms=collector.lag_ns / 1e6,
        restarts=max(collector.runs - 1, 0),
        scope_leaks=box.scope_leaks,
        marks=marks_of(collector),
        quarantine=progress.quarantine,
        errors={**collector.preparer.guard.first_error, **failed_metrics},
        store=store.health() if isinstance(store, Lasting) else StoreHealth(),
    )


def marks_of(collector: Collector) -> dict[str, int]:
    """What was replaced, by kind, and events that are ``lost`` or ``missing`` in a store."""
    store = collector.store
    damage = store.damage.marks if isinstance(store, KeptStore) else {}
    return {**collector.progress.marks, **damage}
