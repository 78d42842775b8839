"""A user's own store: found by class, factory or dotted name, checked, and committed for by an actor of its own.

In a lab that lasts the store has the events, and the lab keeps what stands beside them: record and trials.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any, Final

from msgspec.structs import replace

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.errors import ConfigurationError, StoreError, StoreRefused, StoreUnavailable
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.raised import told
from crucible_telemetry.stores.absent import AbsentStore
from crucible_telemetry.stores.base import Page, Position, Query, Store, StoreHealth
from crucible_telemetry.stores.committing import Committer
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.lasting import Lasting
from crucible_telemetry.stores.portable import StoreReader

Factory = Callable[[str, StoreReader], Store]
"""Makes the store of one experiment: ``(experiment_id, reader)``."""

VERBS: Final = ("append", "commit", "page", "count", "columns", "close")
_AWAITED: Final = ("commit", "page", "count", "close")


def factory_of(store: object) -> Factory:
    """The factory that ``store=`` stands for: a `Store` class, a callable, or its ``"package.module:Name"``.

    `ConfigurationError` says what is wrong with it: it cannot be imported, lacks a verb, or cannot be
    called with ``(experiment_id, reader)``.
    """
    made = _imported(store) if isinstance(store, str) else store
    if not callable(made):
        raise ConfigurationError(
            "store",
            f"want a Store class, a factory (experiment_id, reader) -> Store or its dotted name, not {store!r}",
        )
    if isinstance(made, type):
        _check_verbs(made, made.__name__)
    _check_signature(made)
    factory: Factory = made
    return factory


def _imported(name: str) -> Any:
    module, there, attribute = name.partition(":")
    if not (there and module and attribute):
        raise ConfigurationError("store", f"want 'package.module:Class', not {name!r}")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # a user's module may raise anything when it is imported
        raise ConfigurationError("store", f"cannot import {name!r}: {told(error)}") from error
    return found


def _check_verbs(store: object, name: str) -> None:
    missing = [verb for verb in VERBS if not callable(getattr(store, verb, None))]
    missing += [] if hasattr(store, "last_seq") else ["last_seq"]
    if missing:
        raise ConfigurationError(
            "store", f"{name} lacks {', '.join(missing)}: see crucible_telemetry.stores.Store"
        )
    if inspect.iscoroutinefunction(store.append):  # type: ignore[attr-defined]
        raise ConfigurationError("store", f"{name}.append is async; it must take a batch at once")
    sync = [verb for verb in _AWAITED if _is_plain(getattr(store, verb))]
    if sync:
        raise ConfigurationError("store", f"{name}: {', '.join(sync)} must be async")


def _is_plain(verb: object) -> bool:
    """Whether it is surely not awaitable: a plain function that says it returns nothing to wait for."""
    return inspect.isfunction(verb) and not inspect.iscoroutinefunction(inspect.unwrap(verb))


def _check_signature(made: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(made):
        raise ConfigurationError("store", "the factory is async; want one that returns the store")
    try:
        signature = inspect.signature(made)
    except (TypeError, ValueError):
        return  # written in C: the call will tell
    try:
        signature.bind("experiment_id", "reader")
    except TypeError as error:
        raise ConfigurationError(
            "store", f"{_called(made)} cannot be called with (experiment_id, reader): {error}"
        ) from None


def _called(made: object) -> str:
    return getattr(made, "__name__", None) or type(made).__name__


def opened(
    factory: Factory, experiment_id: str, reader: StoreReader, beside: KeptStore | None = None
) -> "OwnStore":
    """The store of an experiment; `StoreError` when it cannot be opened. `beside`: see `OwnStore`."""
    name = _called(factory)
    try:
        store = factory(experiment_id, reader)
    except StoreError:
        raise
    except Exception as error:
        raise StoreRefused(name, f"cannot be opened: {told(error)}") from error
    _check_verbs(store, f"what {name} returned" if store is None else type(store).__name__)
    return OwnStore(store, type(store).__name__, beside)


class OwnCommitter(Committer):
    """Calls a user's `commit` each interval; whatever it raises is trouble, and tried again."""

    def __init__(self, store: "OwnStore") -> None:
        super().__init__()
        self._store = store

    async def _commit(self) -> None:
        own = self._store
        target = own.last_seq
        if target == own.written_seq:
            return
        began_ns = monotonic_ns()
        await own.as_errors(own.inner.commit())
        own.written_seq = target
        own.room.set()
        self._took(began_ns)


class OwnStore(Lasting):
    """A user's `Store` behind the port: its commits are scheduled, what it raises has a name."""

    def __init__(self, inner: Store, name: str, beside: KeptStore | None = None) -> None:
        self.inner, self.name = inner, name
        self.beside = beside
        """What a lab that lasts keeps of the experiment: all but events."""
        self.committer = OwnCommitter(self)
        self._closed = False
        super().__init__(self.committer, inner.last_seq)

    @property
    def last_seq(self) -> int:
        """See `Store.last_seq`."""
        return self.inner.last_seq

    def append(self, columns: Columns) -> None:
        """See `Store.append`; the committer hears of it."""
        self.inner.append(columns)
        self.committer.wake()
        if self.full:
            self.committer.hurry()

    async def page(self, query: Query, after: Position | None, limit: int) -> Page:
        """See `Store.page`."""
        return await self.inner.page(query, after, limit)

    async def count(self, query: Query) -> int:
        """See `Store.count`."""
        return await self.inner.count(query)

    def columns(self, query: Query) -> AsyncIterator[Columns]:
        """See `Store.columns`."""
        return self.inner.columns(query)

    async def commit(self) -> None:
        """See `Store.commit`; what stands beside the events too."""
        if self.beside is not None:
            self.beside.look()
        await super().commit()
        if self.beside is not None:
            await self.beside.commit()

    async def settled(self) -> StoreError | None:
        """See `Lasting.settled`; what stands beside the events too."""
        trouble = await super().settled()
        also = None if self.beside is None else await self.beside.settled()
        return trouble or also

    def health(self) -> StoreHealth:
        """How keeping goes: the store's trouble, else that of what stands beside it."""
        health = super().health()
        if health.state != "ok" or self.beside is None:
            return health
        beside = self.beside.health()
        return replace(health, state=beside.state, reason=beside.reason, since_us=beside.since_us)

    async def close(self, *, delete: bool = False) -> None:
        """See `Store.close`; closed also when something could not be saved, which a `StoreError` then says."""
        if self._closed and not delete:
            return
        self._closed = True
        try:
            if not delete:
                await self.commit()
        finally:
            await self.as_errors(self.inner.close(delete=delete))
        if delete and self.beside is not None:
            await self.beside.close(delete=True)

    async def finish(self) -> StoreError | None:
        """The last commit, by nobody but us, and the end; what could not be done."""
        self.committer.retire()
        try:
            await self.close()
        except StoreError as error:
            return error
        return None

    async def abandon(self) -> None:
        """Close it, whatever comes of that: no experiment came to be."""
        trouble = await self.finish()
        if trouble is not None:
            log.warning("a store that was not used could not be closed: %s", trouble)

    async def as_errors(self, work: Any) -> Any:
        """The result of a verb; what it raises as a `StoreError`, unless it is one."""
        try:
            return await work
        except StoreError:
            raise
        except Exception as error:
            raise StoreUnavailable(self.name, told(error)) from error


def kept_of(store: Store) -> KeptStore | None:
    """What a lab that lasts keeps of the experiment of this store; None: nothing."""
    if isinstance(store, OwnStore | AbsentStore):
        return store.beside
    return store if isinstance(store, KeptStore) else None


def name_of(store: Store) -> str | None:
    """What a store of one's own is called; None: it is none."""
    return store.name if isinstance(store, OwnStore | AbsentStore) else None
