"""An actor that commits again and again: each interval, or at once when somebody waits.

What it commits is a subclass's matter. What could not be committed stays where it is and is tried again: a crash
of the actor, a full disk or a server that is away lose nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.errors import StoreError, StoreUnavailable
from crucible_telemetry.runtime.loops import LoopHandle, Signal

INTERVAL_S: Final = 0.2
RETRY_S: Final = (0.1, 2.0)
"""The first and the longest wait before a write that failed is tried again."""


class Committer(ABC):
    """Commits one at a time; `run` is supervised, the rest outlives its crashes."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self.trouble: StoreError | None = None
        """Why the last commit failed; None when it did not."""
        self.trouble_since_us: int | None = None
        """When trouble began, µs since the epoch."""
        self.tell: Callable[[StoreError | None], Any] = lambda _trouble: None
        """Told when trouble begins (the error) and when it is over (None)."""
        self.commits = 0
        self.commit_ns_last = self.commit_ns_max = 0
        self._interval_s = interval_s
        self._dirty, self._hurry = Signal(), Signal()
        self._asked = self._answered = 0
        self._turn = Signal()
        self._running = False
        self._one = anyio.Lock()
        self._loop: LoopHandle | None = None

    @abstractmethod
    async def _commit(self) -> None:
        """Make durable what is there now; `StoreError` when that cannot be done now."""

    # -- what stores ask ------------------------------------------------------------------------

    def wake(self) -> None:
        """Something is to be written. From any thread."""
        self._dirty.set()

    def hurry(self) -> None:
        """Wait no longer: somebody waits, or a store is full."""
        self._dirty.set()
        self._hurry.set()

    async def settled(self) -> StoreError | None:
        """Wait for a commit that begins after this call; the error when it failed."""
        if not self._running:
            return await self.commit()
        self._asked += 1
        mine = self._asked
        while self._answered < mine and self._running:
            self.hurry()
            await self._turn.wait()
        return self.trouble if self._answered >= mine else await self.commit()

    def retire(self) -> None:
        """The actor writes no more: who waits, and the last commit, do so themselves.

        It may have died with its loop, in the middle of a commit that never ended; on a loop that lives
        the one it is at comes to its end first, or keeps whoever waits until his time is up.
        """
        if self._loop is None or not self._loop.is_here():
            self._one = anyio.Lock()
        self._running = False
        self._answer(self._answered)

    # -- the actor ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit, for ever. A crash is the supervisor's to answer."""
        self._running, self._loop = True, LoopHandle.current()
        try:
            await self._serve()
        finally:
            self._running = False
            self._answer(self._answered)  # who waits commits for himself

    async def _serve(self) -> None:
        wait_s = RETRY_S[0]
        self.hurry()  # what was gathered before a crash
        while True:
            await self._dirty.wait()
            with anyio.move_on_after(self._interval_s):
                await self._hurry.wait()
            if await self.commit() is None:
                wait_s = RETRY_S[0]
            else:
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_S[1])
                self._dirty.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """While what is durable is to stay as it is, for a moment."""
        async with self._one:
            yield

    async def commit(self) -> StoreError | None:
        """Write what is new now; the error when it could not be written."""
        async with self._one:
            return await self._committed()

    async def _committed(self) -> StoreError | None:
        self._dirty.clear()
        self._hurry.clear()
        asked = self._asked
        try:
            await self._commit()
        except StoreError as error:
            self._report(error)
            return error
        else:
            self._report(None)
        finally:
            self._answer(asked)
        return None

    def _took(self, began_ns: int) -> None:
        """A commit that wrote something has ended."""
        self.commits += 1
        self.commit_ns_last = monotonic_ns() - began_ns
        self.commit_ns_max = max(self.commit_ns_max, self.commit_ns_last)

    def _report(self, trouble: StoreError | None) -> None:
        before, self.trouble = self.trouble, trouble
        if (before is None) != (trouble is None):
            self.trouble_since_us = None if trouble is None else wall_us()
            self.tell(trouble)

    def _answer(self, asked: int) -> None:
        self._answered = max(self._answered, asked)
        turn, self._turn = self._turn, Signal()
        turn.set()


def state_of(trouble: StoreError | None) -> str:
    """``ok``, ``waiting`` (a later try may do) or ``refused``."""
    if trouble is None:
        return "ok"
    return "waiting" if isinstance(trouble, StoreUnavailable) else "refused"
