"""Where `await execute` waits while a mailbox is full, and a batch until the price library is loaded."""

from collections import deque
from typing import Final

import anyio
from anyio.lowlevel import checkpoint

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.collect.library import LIBRARY
from crucible_telemetry.events.mailbox import Attendant, Mailbox
from crucible_telemetry.runtime.loops import LoopHandle, Signal

LOOK_S: Final = 0.05
"""How long a flush waits for another's drain before it looks again."""
FOREIGN_WAIT_S: Final = 0.1
"""How long an emit on another loop waits for the lab's loop before it drains itself."""


class WaitingRoom(Attendant):
    """The part of an attendant that lets emitters wait, each with a signal of its own."""

    box: Mailbox
    loop: LoopHandle

    def __init__(self) -> None:
        self._waiting: deque[Signal] = deque()
        self.put_off = False
        """Whether a batch waits for the price library; what may not wait for that loads it on its thread."""

    def drain_now(self, target: int) -> bool:
        """See `Collector.drain_now`."""
        raise AttributeError("drain_now")

    async def wait_for_room(self) -> None:
        """Wait until the mailbox is no longer full, on whatever loop the caller runs."""
        while self.box.full and self.box.gate is None:
            if self.loop.closed:
                self.drain_here()
                return
            # One signal each, queued before the second look: a flag that waiters share and lower
            # would let one waiter take another's wake-up.
            room = Signal()
            self._waiting.append(room)
            if self.box.full and self.box.gate is None:
                self.wake()
                self.hurry()
                await self._has_room(room)

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
        self._waiting.append(released)
        with anyio.move_on_after(LOOK_S):
            await released.wait()

    async def _has_room(self, room: Signal) -> None:
        if self.loop.is_here():
            await room.wait()
            await (
                checkpoint()
            )  # who came to be due during the drain goes first, then as many events again
            return
        with anyio.move_on_after(FOREIGN_WAIT_S):
            await room.wait()
        if self.box.full:  # the lab's own loop is busy, or stands still
            self.drain_now(self.box.accepted)

    def release(self) -> None:
        """Let everybody look again who waits for room."""
        waiting = self._waiting
        while waiting:
            try:
                waiting.popleft().set()
            except IndexError:
                return  # another thread released the last one
