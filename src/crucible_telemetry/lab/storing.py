"""Which store has the events of an experiment: memory, the lab's keep, or one of the user's own."""

from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.errors import ConfigurationError, StoreError
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.lab.durable import Durable, Found, heard
from crucible_telemetry.stores.absent import AbsentStore
from crucible_telemetry.stores.base import Store
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.memory import MemoryStore
from crucible_telemetry.stores.own import Factory, OwnStore, factory_of, opened


class Stores:
    """Makes the stores of a lab. `own`: that of each experiment which has none of its own.

    With a store of one's own a lab that lasts keeps record and trials all the same, beside it.
    """

    def __init__(self, durable: Durable | None, own: Factory | None) -> None:
        self._durable, self._own = durable, own

    def new(self, experiment_id: str, reader: ExperimentReader) -> Store:
        """For an experiment that begins."""
        own, kept = self._own_of(reader.spec), None
        if self._durable is not None:
            nothing = KeptExperiment(id=experiment_id, record=b"", words=[], trials=[], blocks=[])
            kept = self._durable.store(nothing, reader)
        if own is not None:
            return _opened(own, reader, kept)
        return MemoryStore(reader) if kept is None else kept

    def found(self, found: Found, reader: ExperimentReader, kept: KeptStore) -> Store:
        """For one of an earlier process, which `kept` is of; what cannot be opened is told of."""
        name, events = found.record.store, found.record.counts.stored
        if name is None:
            return kept
        if found.elsewhere is not None:
            return AbsentStore(name, events, kept, f"it is written by {found.elsewhere}")
        if self._own is None:
            return AbsentStore(name, events, kept)
        try:
            return _opened(self._own, reader, kept)
        except StoreError as error:
            log.warning("experiment %r is without its events: %s", kept.id, error)
            return AbsentStore(name, events, kept, str(error))

    def given(self, store: Store, spec: ExperimentSpec, reader: ExperimentReader) -> Store:
        """For one that is gone on with: `ConfigurationError` when its store has not been given."""
        if not isinstance(store, AbsentStore):
            return store
        own = self._own_of(spec)
        if own is None:
            raise ConfigurationError(
                "store", f"{spec.name!r} was started with {store.name}: give it again to go on"
            )
        return _opened(own, reader, store.beside)

    def _own_of(self, spec: ExperimentSpec) -> Factory | None:
        return self._own if spec.store is None else factory_of(spec.store)


def _opened(own: Factory, reader: ExperimentReader, beside: KeptStore | None) -> OwnStore:
    store = opened(own, reader.experiment_id, reader, beside)
    store.committer.tell = heard(f"the {store.name} of {reader.experiment_id}")
    return store
