"""The actor that empties one experiment's mailbox: batch → wanted? → private → enriched → priced → store and board.

Whoever holds the lock drains: the actor on the lab's loop, or an emitter that finds the mailbox full.
A batch is prepared (users' code; no effect), given to the store (idempotent by seq) and then becomes the
new `Progress` in one assignment. It leaves the mailbox only after that, so that a crash at any line loses
nothing and counts nothing twice.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from msgspec.structs import replace

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.collect.careful import MAX_BATCH, Careful, announce_first
from crucible_telemetry.collect.followers import Followers
from crucible_telemetry.collect.library import LIBRARY
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.progress import Counts, Prepared, Progress, advanced
from crucible_telemetry.collect.quota import Quota
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.room import WaitingRoom
from crucible_telemetry.collect.wanted import INTERRUPTS
from crucible_telemetry.events.mailbox import Gate, Mailbox, log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.scope import current_scope
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.runtime.loops import LoopHandle, Signal
from crucible_telemetry.stores.base import Store
from crucible_telemetry.stores.lasting import Lasting

LINGER_S: Final = 0.02
MAX_FAILURES: Final = 4
"""Drains in a row that may fail at one event before a stop goes on without it."""
PATIENCE_S: Final = 0.05
"""How long an emitter waits for another thread's drain: users' code in that may wait for the emitter."""
ASIDE_S: Final = 0.001
"""How long the actor lets an emitter drain before it looks again; the loop goes on meanwhile."""

_here = threading.local()
"""`depth`: whether this thread is inside a drain, of whatever experiment."""


class Collector(WaitingRoom):
    """Owns one experiment's mailbox, store and board; `run` is supervised, the rest outlives its crashes."""

    def __init__(
        self, reader: ExperimentReader, preparer: Preparer, store: Store, mailbox_size: int = 2048
    ) -> None:
        self.reader, self.preparer, self.store = reader, preparer, store
        self.box = Mailbox(self, capacity=mailbox_size, wants=self._wants())
        self.box.dropping = reader.spec.overflow == "drop_newest"
        if reader.spec.stop_at_sample_size:
            self.box.quota = Quota(reader.spec.sample_size or 0)
        self.box.settle()
        self.progress = Progress(live=Board.empty())
        self.earlier = Counts()
        """What processes before this one counted."""
        self.owner: Any = None  # the Experiment, for ct.current_experiment()
        self.loop = LoopHandle.current()
        self.batches = self.drained_by_emitters = self.runs = 0
        self.drain_ns_last = self.drain_ns_max = 0
        self.woken_ns = self.lag_ns = 0
        self.followers = Followers()
        super().__init__()
        self._awake, self._hurry = Signal(), Signal()
        self._lock = threading.RLock()
        self._busy = False
        self._prepared: Prepared | None = None
        self.careful = Careful(preparer)

    def _wants(self) -> Callable[[str], bool] | None:
        return None if self.reader.spec.events is None else self.reader.spec.hears

    # -- the actor ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Wait, linger, drain; for ever. A crash is the supervisor's to answer."""
        self.runs += 1
        self._recover()
        box = self.box
        while True:
            if box.sleep():
                await self._awake.wait()
            self._awake.clear()
            if len(box) < box.batch_rows:
                with anyio.move_on_after(LINGER_S):
                    await self._hurry.wait()
            self._hurry.clear()
            await checkpoint()  # who came to be due while emitters ran goes first
            while len(box):
                if isinstance(self.store, Lasting):  # it waits for its disk, and emitters for us
                    await self.store.has_room()
                if not self._drain_as_actor():
                    await anyio.sleep(ASIDE_S)
                elif self.put_off:
                    await LIBRARY.wait()
                else:
                    await checkpoint()

    def _drain_as_actor(self) -> bool:
        """One batch; False when another thread drains, for which the loop must not stand still."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._busy:
                return False
            outside = (getattr(_here, "depth", 0), current_scope.get())
            try:
                self._drain(MAX_BATCH)
            finally:
                self._settle(outside)
        finally:
            self._lock.release()
        return True

    def _settle(self, outside: tuple[int, Any]) -> None:
        """After a drain, however it ended: an interrupt may hit its own clean-up."""
        self._busy = self.careful.guest = False
        _here.depth = outside[0]
        if current_scope.get() is not outside[1]:
            current_scope.set(outside[1])
        # A drain that failed after its commit has made room all the same, and the actor finds nothing to do.
        self.release()

    def _recover(self) -> None:
        """After a crash: what must hold does hold, or is made to."""
        with self._lock:
            self._busy = False
            self.box.remove(self.progress.consumed)
            ahead = self.store.last_seq - self.progress.stored
            prepared = self._prepared
            expected = 0 if prepared is None or prepared.columns is None else len(prepared.columns)
            if ahead not in (0, expected):
                raise AssertionError(f"the store is {ahead} events ahead, not {expected}")
            # The crash may have come between a commit and saying so.
            self.followers.tell(self._prepared, self.progress.stored)
        self.release()

    # -- what the mailbox asks ------------------------------------------------------------------

    def wake(self) -> None:
        """Rows have come."""
        if not self.woken_ns:
            self.woken_ns = monotonic_ns()
        self._awake.set()

    def dropped(self) -> None:
        """The first event was dropped, by choice."""
        log.warning(
            'experiment %r drops events: its mailbox of %d is full and overflow is "drop_newest"',
            self.reader.experiment_id,
            self.box.capacity,
        )

    def hurry(self) -> None:
        """A batch is there: linger no longer."""
        self._hurry.set()

    def drain_here(self) -> None:
        """Empty a full mailbox in the emitter's thread, or let who is at it finish.

        Inside any drain an emit only appends: two drains that wait for each other would wait for ever.
        So would an emitter that holds a lock (of a logging handler, say) which users' code in the drain
        wants: it goes on after `PATIENCE_S`, its event accepted. While the price library is being loaded
        it waits for that, on the loop's thread too: nothing else bounds what it appends.
        """
        while self.box.full and not self.box.closed:
            inside = getattr(_here, "depth", 0) > 0
            if not self._lock.acquire(timeout=0 if inside else PATIENCE_S):
                return
            try:
                if self._busy or not (self._drain_as_guest() or self.load_prices()):
                    return
                self.drained_by_emitters += 1
            finally:
                self._lock.release()
                self.release()

    def _drain_as_guest(self, *, blame: bool = False) -> bool:
        """One batch in an emitter's thread; False when it is left to the actor (or, to `blame`, to a retry)."""
        outside = (getattr(_here, "depth", 0), current_scope.get())
        try:
            self.careful.guest = not blame
            drained = self._drain(MAX_BATCH)
        except INTERRUPTS:
            raise
        except BaseException as error:  # noqa: BLE001 - the emitter's program is not ours to break
            # Also RecursionError and MemoryError of a deep or starved caller: no event is to blame.
            log.debug(
                "a drain in an emitter's thread failed and is left to the collector: %s",
                placed(error),
            )
            self.wake()
            return False
        finally:
            self._settle(outside)
        return drained

    def sweep(self) -> None:
        """Rows that came after the end are counted as what they are."""
        with self._lock:
            if self._busy or not self.box.closed:
                return
            gate = self.box.gate or Gate.LATE
            upto = self.box.accepted
            count = upto - self.progress.consumed
            for _ in range(count):
                self.box.refusals[gate].add()
            self.progress = replace(self.progress, consumed=upto)
            self.box.remove(upto)

    def make_inert(self) -> None:
        """In a child of `fork`: what is queued is the parent's, locks may be held by nobody."""
        self._lock = threading.RLock()
        self._busy = False
        self.box.gate = Gate.REFUSED
        self.box.warning = (
            f"experiment {self.reader.experiment_id!r} belongs to the parent process: what this child "
            "emits is counted as refused, not collected"
        )

    def close(self, gate: Gate) -> None:
        """Take nothing any more: rows that are still there, or come later, count as `gate`."""
        box = self.box
        with self._lock:
            box.gate = gate
            box.closed = True
            box.mark = 0
            self.sweep()
        self.release()

    # -- draining -------------------------------------------------------------------------------

    def drain_now(self, target: int) -> bool:
        """One batch on the calling thread; False when another drains, or the actor must answer a crash."""
        if self.progress.consumed >= target or not self._lock.acquire(blocking=False):
            return False
        try:
            return not self._busy and self._drain_as_guest()
        finally:
            self._lock.release()
            self.release()  # also after the lock: who waits for it finds it free

    def drain_all(self) -> None:
        """Everything accepted so far, on the calling thread; waits only for another drain in progress.

        A crash is tried again, as the supervisor would: twice for the batch, then event by event. What
        fails for another reason than an event (no stack, no memory) stays where it is.
        """
        target, failures, where = self.box.accepted, 0, -1
        with self._lock:
            while not self._busy and self.progress.consumed < target and failures < MAX_FAILURES:
                if self.progress.consumed != where:
                    where, failures = self.progress.consumed, 0
                failures += not (self._drain_as_guest(blame=True) or self.load_prices())
            if not self._busy:
                self._drain_as_guest()  # what a crash has left untold

    def reset_live(self) -> None:
        """Begin the live board anew after what has been drained."""
        with self._lock:
            progress = self.progress
            empty = Board.empty(progress.stored)
            self.progress = replace(progress, live=empty, live_us=(None, None))

    def _drain(self, limit: int) -> bool:
        """One batch, under the lock; False when there was none. Outside any scope."""
        _here.depth = getattr(_here, "depth", 0) + 1
        self._busy = True
        scope = current_scope.set(None)
        began_ns, before = monotonic_ns(), self.progress.consumed
        try:
            taken = self._batch(limit)
        finally:
            self._busy = False
            _here.depth -= 1
            current_scope.reset(scope)
        if taken:
            self._measure(began_ns, self.progress.consumed - before)
            self.release()
        return taken

    def _measure(self, began_ns: int, rows: int) -> None:
        ended_ns = monotonic_ns()
        self.careful.pace(rows, ended_ns - began_ns)
        self.batches += 1
        self.drain_ns_last = ended_ns - began_ns
        self.drain_ns_max = max(self.drain_ns_max, self.drain_ns_last)
        if self.woken_ns:
            self.lag_ns, self.woken_ns = ended_ns - self.woken_ns, 0

    def _batch(self, limit: int) -> bool:
        box, progress = self.box, self.progress
        consumed = progress.consumed
        self.followers.tell(self._prepared, self.progress.stored)
        box.remove(consumed)
        rows = box.rows[1 : 1 + min(self.careful.limit(consumed), limit)]
        if not rows:
            return False
        try:
            prepared = self._prepared
            if prepared is None or prepared.consumed != consumed:
                prepared = self.careful.prepare(rows, progress.stored + 1, consumed)
                self._prepared = prepared
            priced = self.preparer.priced(prepared)
            self.put_off = priced is None
            if priced is None:
                return False
            self._prepared = prepared = priced
            self._commit(prepared, progress)
        except Exception as error:
            if self.store.last_seq == progress.stored:
                self._prepared = None
            self.careful.blame(consumed, len(rows), error)
            raise
        box.remove(self.progress.consumed)
        if prepared.casualties and not progress.quarantined:
            announce_first(prepared.casualties[0], self.reader.experiment_id)
        self.followers.tell(self._prepared, self.progress.stored)
        return True

    def _commit(self, prepared: Prepared, progress: Progress) -> None:
        after = advanced(progress, prepared, self.reader)
        # What can fail has been done: the store takes the batch or not, then one assignment.
        if prepared.columns is not None:
            self.store.append(prepared.columns)
        self.progress = after
