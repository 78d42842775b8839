"""Preparing a batch that may hold a bad event: find it, try it once more, set it aside; keep the others.

How many rows are tried at once shrinks to the bad event and doubles again with each success, so that a run
of bad events costs a few attempts each and not a whole batch each.
"""

from collections import Counter
from typing import Final

from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.progress import Prepared, Quarantined
from crucible_telemetry.collect.wanted import BLAMELESS, INTERRUPTS
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.raised import frames_of
from crucible_telemetry.events.shape import decode_rows, dictionaries

MAX_BATCH: Final = 2048
"""Rows of one drain: 2–3 ms without users' code; larger is no faster."""
FIRST_BATCH: Final = 32
"""Before anything is known of what users' callables cost; it doubles with each batch. Without any, the
first batch is as large as any other: small ones cost up to ten times as much an event."""
PACE_NS: Final = 20_000_000
"""How long one drain may take: what users' callables cost shrinks the next batch to fit."""
MIN_PACED: Final = 16
MIN_OWN: Final = 512
"""No batch is made smaller than this when no users' code runs in it: 1–2 ms. If it took longer, others had
the processor, and smaller batches, which cost more an event, would make that worse."""


class Careful:
    """The preparing of one experiment's batches, with memory of what went wrong. Under the drain's lock.

    `guest` is True while an emitter's thread drains: what its stack or memory cannot bear is not the
    event's fault.
    """

    __slots__ = ("_careful_until", "_reason", "_stride", "_suspect", "guest", "preparer")

    def __init__(self, preparer: Preparer) -> None:
        self.preparer = preparer
        self.guest = False
        self._stride = FIRST_BATCH if preparer.calls_users else MAX_BATCH
        self._careful_until = 0
        self._suspect = -1
        self._reason: BaseException = RuntimeError("it crashed the collector twice")

    def limit(self, consumed: int) -> int:
        """How many rows the next batch may have: one, where a batch crashed the collector."""
        return 1 if consumed < self._careful_until else self._stride

    def pace(self, rows: int, took_ns: int) -> None:
        """Learn from a batch of so many rows that took so long."""
        least = MIN_PACED if self.preparer.calls_users else MIN_OWN
        if took_ns > PACE_NS and rows > least:
            self._stride = max(least, rows * PACE_NS // took_ns)

    def blame(self, consumed: int, count: int, error: Exception) -> None:
        """Remember what a crash was about: next time one by one, and who crashes alone is a suspect."""
        if self.guest:
            return  # the collector answers for a crash, and spends its restart budget on it
        if count == 1 and consumed < self._careful_until:  # it was in the last crash too
            self._suspect, self._reason = consumed, error
        self._careful_until = max(self._careful_until, consumed + count)

    def prepare(self, rows: list[bytes], seq: int, consumed: int) -> Prepared:
        """Prepare a batch; one that fails is halved down to its event, tried once more, quarantined."""
        if len(rows) == 1 and consumed == self._suspect:
            return self._casualty(rows[0], consumed, self._reason)
        self.preparer.guard.guest = self.guest
        try:
            prepared = self.preparer.prepare(rows, seq, consumed)
        except BaseException as error:  # noqa: BLE001 - whatever it is, one event is the reason
            self._pass_on(error)
            return self._halved(rows, seq, consumed)
        self._stride = min(2 * self._stride, MAX_BATCH)
        return prepared

    def _halved(self, rows: list[bytes], seq: int, consumed: int) -> Prepared:
        """The good part of a batch, up to its first bad event, or that event in quarantine."""
        good = len(rows) // 2
        while good:
            self._stride = good
            try:
                return self.preparer.prepare(rows[:good], seq, consumed)
            except BaseException as error:  # noqa: BLE001 - smaller still
                self._pass_on(error)
                good //= 2
        self._stride = 1
        try:
            return self.preparer.prepare(rows[:1], seq, consumed)
        except BaseException as error:  # noqa: BLE001 - twice: this event cannot be collected
            self._pass_on(error)
            return self._casualty(rows[0], consumed, error)

    def _pass_on(self, error: BaseException) -> None:
        """Interrupts are nobody's; in a guest's thread lack of stack or memory is the guest's.

        A CancelledError here comes from a user's callable (`task.result()`): nothing in a drain waits.
        """
        blameless = isinstance(error, BLAMELESS) or not isinstance(error, Exception)
        if isinstance(error, INTERRUPTS) or (self.guest and blameless):
            raise error

    def _casualty(self, row: bytes, consumed: int, error: BaseException) -> Prepared:
        try:
            name = dictionaries(decode_rows([row])[0])[0]
        except Exception:  # noqa: BLE001 - a row that cannot be decoded has no name
            name = "(unreadable)"
        entry = Quarantined(
            position=consumed,
            event_name=name,
            error=self.preparer.guard.told(error),
            frames=tuple(frames_of(error, 8)),
        )
        return Prepared(consumed, 1, None, 0, 0, 1, Counter(), (entry,))


def announce_first(entry: Quarantined, experiment_id: str) -> None:
    """One warning an experiment; the others are counted, and the first of them kept in `health()`."""
    log.warning(
        "experiment %r: event %r is quarantined: %s (further ones are counted in counts.quarantined)",
        experiment_id,
        entry.event_name,
        entry.error,
    )
