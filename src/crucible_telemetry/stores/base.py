"""The Store port: what it keeps, in which order it answers, and how one asks. PURE.

**Writing a store.** A lab calls the class or factory once for each experiment, on its loop, with
``(experiment_id, reader)``; what opening raises is raised by `start_experiment`. Everything needed is in
`crucible_telemetry.stores`; ``examples/custom_store.py`` is a whole one.

*What comes.* `append` is given `Columns`: rows in seq order, contiguous from `first_seq`. Typed arrays stand
beside `payload`, the encoded events, which are the truth. Numbers in `shape`, `model`, `error` and `trial` stand
for words that only this process knows: `reader.name`, `keys`, `model`, `error`, `identity` say which.
``encode(columns, reader)`` makes bytes of rows and of the words they need, ``decode(block, reader)`` gives equal
columns in any process; ``digest`` tells torn or changed bytes. A store whose back-end holds rows apart keeps
`payload[i]` and what it wants typed, and makes words of numbers the same way.

*What is answered.* `Event`s, which ``reader.events(columns, positions)`` decodes, and columns. Order is
``(timestamp_us, seq)``; what a filter means is ``matches(where, event)``, and ``query.bounds_us()`` are its bounds in
time. A store may begin from `MemoryStore`, which answers everything, and add how its rows are kept.

*Who calls.* `append` is called by one thread at a time, which may be any: an emitter that finds the mailbox
full drains it. It must not wait, and what it raises (but for the errors below) counts as a crash of the
collector. All other verbs are awaited on the lab's loop, while appends go on: they must not block it (files and
sockets in ``anyio.to_thread.run_sync``), and see the store as it is at one moment.

*Commits.* An actor calls `commit` at most every 200 ms while there is something new, `flush` at once; never two
at a time. What it raises is trouble: it is told in `health().store` and by ``crucible.store.waiting`` and tried again,
0.1 to 2 s later; `StoreUnavailable` says that waiting may help, `StoreRefused` that it will not. Events stay in the
store's memory meanwhile; beyond 262,144 of them `await execute` waits (`execute_nowait` does not: nothing of it is
dropped, and the store's memory is what bounds it).

*Going on.* A store that opens with events in it (`last_seq` above 0) is gone on with: the experiment's figures begin
with them. What a lab keeps of an experiment beside its events (options, state, counts, trials) is not a store's: a lab
that lasts, ``Lab("runs.db", store=Mine)``, keeps that itself and asks for the store of each experiment again when it
is opened (of one that another lab runs at that moment it does not). In a lab in memory only the events last.
"""

import math
import operator
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final, Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import force_setattr

from crucible_telemetry.errors import ConfigurationError, QueryError, StoreError
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event
from crucible_telemetry.metrics.rollups import Bucket
from crucible_telemetry.stores.comparison import Comparison, Ge, Gt, Le, Lt, Ne, OneOf
from crucible_telemetry.stores.where import (
    INT64_MAX,
    MICROSECOND,
    Instant,
    Where,
    check_bounds,
    instant_us,
    matches,
)

__all__ = [
    "Between", "Comparison", "Ge", "Gt", "Last", "LastN", "Le", "Lt", "Ne", "OneOf", "Page",
    "Position", "Query", "Store", "StoreHealth", "Where", "Window", "committed", "instant_us", "matches", "to_us", "window_query",
]  # fmt: skip

Position = tuple[int, int]
"""Where an event stands in stored order: (timestamp_us, seq)."""

INT64: Final = range(-(2**63), 2**63)
DAY_S: Final = 86_400


def to_us(duration: timedelta | float, argument: str) -> int:
    """A duration (timedelta, or seconds) in µs, rounded; less than one µs, NaN or inf is a `QueryError`."""
    if isinstance(duration, timedelta):
        micros = duration // MICROSECOND
    elif isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise QueryError(argument, f"want a timedelta or seconds, not {duration!r}")
    elif not math.isfinite(duration):
        raise QueryError(argument, f"want a finite duration, not {duration!r}")
    else:
        micros = duration * 1_000_000 if isinstance(duration, int) else round(duration * 1e6)
    if not 0 < micros <= INT64_MAX:
        raise QueryError(
            argument, f"want a duration above zero (and below 292,000 years), not {duration!r}"
        )
    return micros


class Last(Struct, frozen=True, kw_only=True):
    """The time up to now: ``Last(minutes=5)``; several units add up, both ends are inclusive.

    `now` (datetime with a zone, or µs) fixes the end; without it the reader says what now is.
    """

    minutes: float = 0
    seconds: float = 0
    hours: float = 0
    days: float = 0
    now: Instant | None = None

    def __post_init__(self) -> None:
        units = ("minutes", "seconds", "hours", "days")
        for unit in units:
            value = getattr(self, unit)
            if value != 0:
                to_us(value, unit)
        if self.duration_s <= 0:
            raise QueryError("Last", f"say how long, in {', '.join(units)}")
        if self.now is not None:
            force_setattr(self, "now", instant_us(self.now, "now"))

    @property
    def duration_s(self) -> float:
        """All units together, in seconds."""
        return self.seconds + 60 * self.minutes + 3600 * self.hours + DAY_S * self.days


class LastN(Struct, frozen=True):
    """The last `n` events in stored order, counted after the filter."""

    n: int

    def __post_init__(self) -> None:
        check_count(self.n, "n")


class Between(Struct, frozen=True):
    """Everything from `since_us` to `until_us`, both inclusive; µs or datetimes with a zone."""

    since_us: Instant
    until_us: Instant

    def __post_init__(self) -> None:
        since_us = instant_us(self.since_us, "since_us")
        until_us = instant_us(self.until_us, "until_us")
        check_bounds(since_us, until_us)
        force_setattr(self, "since_us", since_us)
        force_setattr(self, "until_us", until_us)


Window = Last | LastN | Between


class Query(Struct, frozen=True, kw_only=True):
    """What a reader asks a store for; bounds are inclusive and hold together with those of `where`.

    `last_n`: only the last n that fit. `after_seq`: only events with a greater seq, in *seq* order
    (for live subscribers). `upto_seq`: only events up to this seq, so that pages of a store that
    grows meanwhile add up to one moment's content.
    """

    since_us: int | None = None
    until_us: int | None = None
    where: Where | None = None
    last_n: int | None = None
    after_seq: int | None = None
    upto_seq: int | None = None

    def __post_init__(self) -> None:
        check_bounds(self.since_us, self.until_us)
        if not isinstance(self.where, Where | None):
            raise QueryError("where", f"want ct.Where(...), not {self.where!r}")
        if self.last_n is not None:
            check_count(self.last_n, "last_n")
            if self.after_seq is not None:
                raise QueryError(
                    "after_seq", "cannot stand together with last_n: one order at a time"
                )

    def bounds_us(self) -> tuple[int, int]:
        """The tightest (since, until) of the query and its filter, inclusive; may be empty (since > until)."""
        where = self.where
        lows = (self.since_us, where.since_us if where else None)
        highs = (self.until_us, where.until_us if where else None)
        return (
            max([low for low in lows if low is not None], default=-INT64_MAX),
            min([high for high in highs if high is not None], default=INT64_MAX),
        )


def window_query(window: object, where: Where | None = None, *, now_us: int) -> Query:
    """The query a window stands for; `now_us` ends a `Last` that does not fix its own end."""
    if isinstance(window, Last):
        until_us = now_us if window.now is None else instant_us(window.now, "now")
        since_us = max(until_us - to_us(window.duration_s, "Last"), -INT64_MAX)
        return Query(since_us=since_us, until_us=until_us, where=where)
    if isinstance(window, LastN):
        return Query(last_n=window.n, where=where)
    if isinstance(window, Between):
        low = instant_us(window.since_us, "since_us")
        return Query(since_us=low, until_us=instant_us(window.until_us, "until_us"), where=where)
    raise QueryError("window", f"want Last, LastN or Between, not {window!r}")


def whole_number(argument: str, value: Any) -> int:
    """A whole number of any kind, NumPy's too, as one that every store keeps; else ConfigurationError."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigurationError(argument, f"want a whole number, not {value!r:.80}") from None
    if number not in INT64:
        raise ConfigurationError(argument, f"want a number of 64 bits, not {value!r:.80}")
    return number


def check_count(value: object, argument: str) -> None:
    """Refuse what is no whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise QueryError(argument, f"want a whole number above zero, not {value!r}")


class Page(Struct, frozen=True):
    """Some events in the query's order, and where the last of them stands (None when there is none).

    A page with fewer events than were asked for is the last one.
    """

    events: list[Event]
    position: Position | None


class StoreHealth(Struct, frozen=True, kw_only=True):
    """How keeping goes. Sizes in events, times in ms; memory is always ``ok`` with nothing waiting.

    `state`: ``ok``; ``waiting`` (the disk or server cannot take anything now; it is tried again) or ``refused``
    (trying again will hardly help), with the `reason` and since when (`since_us`, µs since the epoch).
    `waiting`: stored, and not durable yet. `spilled`: of these in a temporary file, `spilled_total` so far.
    `damage`: what is not there as it was written, in words; empty when all is.
    """

    state: str = "ok"
    reason: str | None = None
    since_us: int | None = None
    waiting: int = 0
    spilled: int = 0
    spilled_total: int = 0
    commits: int = 0
    commit_ms_last: float = 0.0
    commit_ms_max: float = 0.0
    damage: tuple[str, ...] = ()


class Store(Protocol):
    """Keeps one experiment's events, ordered by `(timestamp_us, seq)`: late ones find their place.

    One writer at a time; readers may be other tasks or threads and see a store as it was at one
    moment. What a filter means is `matches`; what a back-end evaluates itself must agree with it.
    The module says when and where each verb is called.
    """

    @property
    def last_seq(self) -> int:
        """The greatest seq appended; 0 when empty. Seqs are 1, 2, 3 … without a gap."""
        ...

    def append(self, columns: Columns) -> None:
        """Take a batch, all of it or (when this raises) nothing; never waits.

        Idempotent by seq: rows up to `last_seq` are known and left out (`following` cuts them away). A batch
        that begins after `last_seq + 1` raises `SequenceGap`, one after `close` raises `LabClosed`. The batch
        belongs to the store afterwards. Readers see it at once; it is durable after `commit`.
        """
        ...

    async def commit(self) -> None:
        """Return when everything appended before this call will survive the process (if the store lasts).

        After an error the same is asked again, with what has come since. Cancelled, it may have written all or
        nothing; the next one makes it whole.
        """
        ...

    async def page(self, query: Query, after: Position | None, limit: int) -> Page:
        """Up to `limit` events in order, beginning behind the position `after` (None: at the start).

        Order is `(timestamp_us, seq)`, with `query.after_seq` it is seq. Shorter than `limit` only
        at the end. With `last_n` the n are those of this call's moment: fix it with `upto_seq`.
        A limit that is no whole number above zero is a `QueryError`; what a predicate of the filter raises
        reaches the caller. What cannot be read is an error (`StoreDamaged` names the events), never left out.
        """
        ...

    async def count(self, query: Query) -> int:
        """How many events the pages of this query hold together."""
        ...

    def columns(self, query: Query) -> AsyncIterator[Columns]:
        """The rows of a query (without `last_n`) as columns, for figures; decodes only what a filter needs.

        One part at a time, as the store was at the first: memory need not hold them all. Parts follow
        each other in seq order and are in seq order inside. Other rows are cut away (`taken` does);
        `Columns.seqs` knows the gaps. `after_seq` and `upto_seq` cut by seq, at the cost of the result.
        An async generator; parts have at least one row.
        """
        ...

    async def close(self, *, delete: bool = False) -> None:
        """Commit and take nothing more; with `delete` also forget everything. Closing twice is once.

        Whether reads answer afterwards is the store's choice: memory does. A lab closes its stores when it
        is closed itself, and one store with `delete` at `cleanup`.
        """
        ...


@runtime_checkable
class BucketStore(Protocol):
    """What a store may offer beside: roll-ups, so that windows of a long run need not read its rows."""

    async def buckets(self, level_s: int) -> dict[int, Bucket] | None:
        """Buckets of ``metrics.rollups.LEVELS_S`` that count all events, by their start in µs.

        None when there are none that do: then windows are made from the rows.
        """
        ...


async def committed(store: Store) -> int:
    """Commit; how many events could not be made durable now, and wait for a better time; 0: all is.

    At least 1 when something could not, if only what stands beside the events.
    """
    try:
        await store.commit()
    except StoreError:
        return max(int(getattr(store, "waiting_rows", 1)), 1)
    return 0
