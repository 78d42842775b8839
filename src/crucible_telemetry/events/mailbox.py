"""The queue between all emitters and one experiment's collector.

Rules of this file, each measured or learnt by losing events:

- `rows` is one list for ever; it is never replaced (swapping lists lost 185 of 800,000 events from four
  threads). Its first item is the number of rows that have left it, so that taking a batch and counting
  it is one slice assignment: an exception between the two cannot exist.
- A batch stays in the mailbox until it is committed; a crash therefore loses nothing.
- Emitters test one number, `mark`: above it they call `attend`, which wakes the collector (asleep),
  cuts its lingering short (enough rows for a batch) or says that the mailbox is full. The collector
  lowers `mark` *before* it looks for rows a last time; emitters append before they read it. So one of
  the two always sees the other: no wake-up is lost, and no lock is taken.
"""

import itertools
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec import Struct

# No NullHandler: a researcher who loses events must read it, and Python's handler of last resort
# prints warnings when nothing is configured.
log: Final = logging.getLogger("crucible_telemetry")

FLAT: Final = frozenset({int, float, str, bool, type(None), bytes})
LARGE_ROW: Final = 512
"""Bytes above which a row is looked at twice: counted by size, checked for depth and for the limit."""


class Gate(StrEnum):
    """Why a mailbox takes nothing; the word is the name of the count."""

    SKIPPED = "skipped"
    LATE = "late"
    REFUSED = "refused"


class Tally:
    """A counter any thread may bump without a lock: one C call, which the interpreter does not divide."""

    __slots__ = ("_count", "add")

    def __init__(self) -> None:
        self._count = itertools.count()
        self.add = self._count.__next__

    @property
    def value(self) -> int:
        """How often `add` was called."""
        return int(repr(self._count)[6:-1])  # "count(5)": reading it otherwise would count


class Quota(Protocol):
    """Says how much may still start."""

    def admits(self, name: str, trial: int, *, starts: bool) -> bool:
        """Whether an event in this trial, or that starts or ends an operation, may come in."""
        ...


class Attendant:
    """What a mailbox asks of whoever empties it; the collector is the one that answers."""

    owner: Any = None
    """The experiment behind it, for `ct.current_experiment`."""

    def wake(self) -> None:
        """Rows have come to an empty mailbox. From any thread."""
        raise AttributeError

    def dropped(self) -> None:
        """The first event was dropped. From any thread."""
        raise AttributeError

    def hurry(self) -> None:
        """Enough rows for a batch are there. From any thread."""
        raise AttributeError

    def drain_here(self) -> None:
        """The mailbox is full and the emitter does not wait: empty it in the emitter's thread."""
        raise AttributeError

    async def wait_for_room(self) -> None:
        """The mailbox is full and the emitter waits, on whatever loop it runs."""
        raise AttributeError

    def sweep(self) -> None:
        """A row has come after the end; count it."""
        raise AttributeError


class Began(Struct, frozen=True, eq=False):
    """Whom the start of a span reached; and who would not take it, and why. Its end follows suit."""

    heard_by: "tuple[Mailbox, ...]"
    unheard_by: "dict[Mailbox, str]"


class Mailbox:
    """Bounded in rows (`capacity`) and in bytes of large rows (`capacity_bytes`)."""

    __slots__ = (
        "_gate", "alone", "append", "attendant", "batch_rows", "capacity", "capacity_bytes", "closed", "dropping",
        "large_bytes", "mark", "max_event_bytes", "open_spans", "peak", "quota", "refusals", "rows",
        "scope_leaks", "slow", "tick", "ticks", "wants", "warning",
    )  # fmt: skip

    def __init__(
        self,
        attendant: Attendant,
        *,
        capacity: int = 2048,
        capacity_bytes: int = 64 * 2**20,
        batch_rows: int = 512,
        max_event_bytes: int = 2**20,
        wants: Callable[[str], bool] | None = None,
    ) -> None:
        self.rows: list[Any] = [0]
        self.alone = Began((self,), {})
        self.append = self.rows.append
        self.attendant = attendant
        self.batch_rows = min(batch_rows, capacity)
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.max_event_bytes = max_event_bytes
        self.wants = wants
        self._gate: Gate | None = None
        self.closed = False
        self.dropping = False
        self.quota: Quota | None = None
        self.mark = 1
        self.peak = 0
        self.large_bytes = 0
        self.scope_leaks = 0
        self.warning: str | None = None
        self.open_spans: dict[int, Any] = {}
        self.ticks = Tally()
        self.tick = self.ticks.add
        self.refusals: dict[str, Tally] = {gate: Tally() for gate in Gate} | {"dropped": Tally()}
        self.slow = False
        self.settle()

    def follows(self, former: "Mailbox") -> None:
        """Count on where the one before it counts: what still reaches that one is not lost."""
        self.ticks, self.tick, self.refusals = former.ticks, former.tick, former.refusals

    @property
    def gate(self) -> Gate | None:
        """Why nothing is taken; None while everything is."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate | None) -> None:
        self._gate = gate
        self.settle()

    def settle(self) -> None:
        """Sum up, after a change, whether an emit must go the careful way: one look instead of four."""
        self.slow = bool(self._gate or self.dropping or self.quota or self.wants)

    def admits(self, name: str, trial: int, *, starts: bool) -> bool:
        """Whether the sample still takes this event."""
        return self.quota is None or self.quota.admits(name, trial, starts=starts)

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def accepted(self) -> int:
        """How many rows have ever been appended."""
        rows = self.rows
        while True:
            gone = rows[0]
            accepted = int(gone) + len(rows) - 1
            if rows[0] == gone:  # no batch has left between the two looks
                return accepted

    @property
    def full(self) -> bool:
        """Whether emitters must wait or drain."""
        waiting = len(self.rows) - 1
        # Bytes are summed without a lock and may err by a row or two; with no row waiting they are none.
        return waiting >= self.capacity or (waiting > 0 and self.large_bytes > self.capacity_bytes)

    def takes_large(self, row: bytes, measurements: Any, metadata: Any) -> bool:
        """Whether a large row may come in as it is: within the limit, and nothing in it nests."""
        if len(row) > self.max_event_bytes or not FLAT.issuperset(
            map(type, (*measurements.values(), *metadata.values()))
        ):
            return False
        self._add_large(row)
        return True

    def _add_large(self, row: bytes) -> None:
        self.large_bytes += len(row)
        if self.large_bytes > self.capacity_bytes:
            self.mark = 0  # full by bytes, however few the rows: whoever appends attends

    def refuse(self, gate: str) -> None:
        """Count an event that was offered and not taken."""
        try:
            first = self.refusals[gate].add() == 0
        finally:  # an alarm may strike between the two
            self.tick()
        if first and gate == "dropped":
            self.attendant.dropped()
        if self.warning is not None:
            text, self.warning = self.warning, None
            log.warning(text)

    def offer(self, row: bytes, *, began: bool = False) -> bool:
        """Take a row, or count why not; True when the mailbox is full now.

        `began` marks the end of a span that began before a pause: it is stored.
        """
        gate = self._gate
        if gate is not None and not (began and gate is Gate.SKIPPED):
            self.refuse(gate)
            return False
        if self.dropping and self.full:
            self.refuse("dropped")
            return False
        if len(row) > LARGE_ROW:
            self._add_large(row)
        try:
            self.append(row)
        finally:  # an alarm may strike between the two
            self.tick()
        # Who may drop neither waits for room nor makes it.
        return len(self.rows) > self.mark and self.attend() and not self.dropping

    def attend(self) -> bool:
        """Called above `mark`: wake, hurry or sweep; True when the mailbox is full."""
        if self.closed:
            self.attendant.sweep()
            return False
        waiting = len(self.rows) - 1
        self.peak = max(self.peak, waiting)
        # The mark before the wake-up, and always a wake-up: whoever raises the mark answers for it.
        self.mark = self.batch_rows if waiting < self.batch_rows else self.capacity
        self.attendant.wake()
        if self.closed:
            # Closed between the look and the new mark: what comes after this row must be swept too.
            self.mark = 0
            self.attendant.sweep()
            return False
        if waiting >= self.batch_rows:
            self.attendant.hurry()
        return self.full

    def sleep(self) -> bool:
        """The collector is about to wait: emitters wake it again. False when rows came meanwhile."""
        self.mark = 1
        return len(self.rows) == 1

    def remove(self, upto: int) -> None:
        """Let go of rows up to the `upto`-th ever appended; doing it again changes nothing."""
        rows = self.rows
        count = upto - rows[0]
        if count > 0:
            # One C call: the count and the rows change together, whatever interrupts.
            rows[: count + 1] = [upto]
            if self.large_bytes:
                self.large_bytes = sum(n for row in rows[1:] if (n := len(row)) > LARGE_ROW)
