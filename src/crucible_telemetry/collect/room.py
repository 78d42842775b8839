"""Where `await execute` waits while a mailbox is full, and a batch until the price library is loaded."""

import itertools
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.collect.library import LIBRARY
from crucible_telemetry.events.mailbox import Attendant, Mailbox
from crucible_telemetry.runtime.loops import LoopHandle, Signal

T = TypeVar("T")

LOOK_S: Final = 0.05
"""How long a flush waits for another's drain before it looks again."""
FEW: Final = 4
"""Emitters that are woken at once; the first may take all the room there is."""
FOREIGN_WAIT_S: Final = 0.1
"""How long an emit on another loop waits for the lab's loop before it drains itself."""


class WaitingRoom(Attendant):
    """The part of an attendant that lets emitters wait, each with a signal of its own.

    A drain wakes a few, and who leaves and does not fill it has a few more woken: a thousand tasks that emit
    without a pause cost each drain some wake-ups and not a thousand (measured: a third of the rate, and a
    loop that was 70 ms late). Who finds the mailbox full again keeps the place in the queue.
    """

    box: Mailbox
    loop: LoopHandle

    def __init__(self) -> None:
        self._queue: list[tuple[int, _Place]] = []
        """A heap: a push and a pop are one C call each, so that threads and signal handlers may come between."""
        self._numbers = itertools.count()
        self._watching: deque[Signal] = deque()
        self.put_off = False
        """Whether a batch waits for the price library; what may not wait for that loads it on its thread."""

    def drain_now(self, target: int) -> bool:
        """See `Collector.drain_now`."""
        raise AttributeError("drain_now")

    async def wait_for_room(self) -> None:
        """Wait until the mailbox is no longer full, on whatever loop the caller runs."""
        place, number = _Place(here=self.loop.is_here()), next(self._numbers)
        try:
            while self.box.full and self.box.gate is None:
                if self.loop.closed:
                    self.drain_here()
                    return
                # Queued before the second look; a signal each: a flag that waiters share and lower
                # would let one waiter take another's wake-up.
                if place.room.is_set:
                    place.room.clear()
                    heappush(self._queue, (number, place))
                if self.box.full and self.box.gate is None:
                    self.wake()
                    self.hurry()
                    await self._has_room(place)
        finally:
            place.wanted = False
            # Later, when he has emitted what he has: he may fill it, and they were woken for nothing.
            if self._queue and not self.loop.run_soon(self._wake_more):
                self._wake_few()

    def load_prices(self) -> bool:
        """Where a batch waits for the price library, load it here; False where none does."""
        waits, self.put_off = self.put_off, False
        if waits:
            LIBRARY.load()
        return waits

    async def drain_in_slices(self) -> None:
        """What was accepted so far, a batch at a time; the loop goes on in between, however slow users' code is.

        Waits for the price library where a batch needs it. Leaves what another thread drains, or a crash.
        """
        target = self.box.accepted
        while True:
            if self.drain_now(target):
                await checkpoint()
            elif self.put_off and not LIBRARY.ready:
                await LIBRARY.wait()
            else:
                return

    def drain_for(self, limit_ns: int) -> None:
        """What was accepted so far, at once, as far as the time allows; loading prices does not count."""
        target, until_ns = self.box.accepted, monotonic_ns() + limit_ns
        while monotonic_ns() < until_ns:
            if self.drain_now(target):
                continue
            if not self.load_prices():
                return
            until_ns = monotonic_ns() + limit_ns

    async def until_release(self) -> None:
        """Wait until somebody has drained, or `LOOK_S`: no drain that ended just before is waited for for ever."""
        released = Signal()
        self._watching.append(released)
        with anyio.move_on_after(LOOK_S):
            await released.wait()

    async def _has_room(self, place: "_Place") -> None:
        if place.here:
            await place.room.wait()
            await (
                checkpoint()
            )  # who came to be due during the drain goes first, then as many events again
            return
        with anyio.move_on_after(FOREIGN_WAIT_S):
            await place.room.wait()
        if self.box.full:  # the lab's own loop is busy, or stands still
            self.drain_now(self.box.accepted)

    def release(self) -> None:
        """After a drain, or the end of taking: who watches is told, and who waits for room looks again."""
        while (signal := _taken(self._watching.popleft)) is not None:
            signal.set()
        self._wake_few()

    def _wake_more(self) -> None:
        if not self.box.full:
            self._wake_few()

    def _wake_few(self) -> None:
        """The next few in the queue; all of them when nothing is taken any more.

        Who waits on another loop is woken too and not counted: that loop may be busy for long.
        """
        woken = 0
        while woken < FEW or self.box.gate is not None:
            first = _taken(lambda: heappop(self._queue))
            if first is None:
                return
            _, place = first
            place.room.set()
            woken += place.wanted and place.here


class _Place:
    """Of one emitter in the queue; `room` is raised while it is not queued, `wanted` until it has left."""

    __slots__ = ("here", "room", "wanted")

    def __init__(self, *, here: bool) -> None:
        self.here, self.wanted, self.room = here, True, Signal()
        self.room.set()


def _taken(take: Callable[[], T]) -> T | None:
    """What `take` gives; None where nothing is left, or another thread took it."""
    try:
        return take()
    except IndexError:
        return None
