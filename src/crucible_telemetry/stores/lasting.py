"""What stores have in common whose events wait in memory until a committer has made them durable."""

from abc import ABC, abstractmethod
from typing import Final

from anyio.lowlevel import checkpoint

from crucible_telemetry.clock import wall_us
from crucible_telemetry.errors import StoreError
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.stores.base import StoreHealth
from crucible_telemetry.stores.committing import Committer, state_of

FULL_ROWS: Final = 262_144
"""Events that may wait for a commit; then the collector leaves further ones in the mailbox."""
FULL_BYTES: Final = 256 * 2**20
"""Bytes of events that may, where these are large."""


class Lasting(ABC):
    """The waiting half of a `Store`: room, commit, health."""

    spilled_rows = 0
    """Events in a temporary file, since the disk or server has been unavailable for long."""
    spilled_total = 0
    """Events that were ever there."""

    def __init__(self, committer: Committer, written_seq: int) -> None:
        self._committer = committer
        self.written_seq = written_seq
        """The greatest seq that is durable."""
        self.room = Signal()
        self.given_up: StoreError | None = None
        """Why nothing is ever made durable again; None: it is."""
        self._own_trouble: tuple[StoreError, int] | None = None
        """What of it a commit failed of, and since when (µs since the epoch), while others were committed."""

    def troubled(self, error: StoreError | None) -> None:
        """Something of it was what the last commit failed of (None: no longer); it is tried again."""
        since_us = wall_us() if self._own_trouble is None else self._own_trouble[1]
        self._own_trouble = None if error is None else (error, since_us)

    def give_up(self, error: StoreError) -> None:
        """Nothing is ever made durable again: who waits for that is told why, who waits for room does not."""
        self.given_up = error
        self.troubled(error)
        self.room.set()

    @property
    @abstractmethod
    def last_seq(self) -> int:
        """The greatest seq appended; 0 when empty."""

    @property
    def waiting_rows(self) -> int:
        """Events that are not durable yet."""
        return self.last_seq - self.written_seq

    @property
    def waiting_bytes(self) -> int:
        """Bytes of them, as far as that is known."""
        return 0

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should come."""
        much = self.waiting_rows >= FULL_ROWS or self.waiting_bytes >= FULL_BYTES
        return much and self.given_up is None

    async def has_room(self) -> None:
        """Wait while so much waits that no more should come."""
        while self.full:
            self.room.clear()
            if self.full:
                self._committer.hurry()
                await self.room.wait()

    async def settled(self) -> StoreError | None:
        """Wait for a commit that begins after this call; the error when it failed."""
        return self.given_up or await self._committer.settled()

    async def commit(self) -> None:
        """Return when all that was appended before is durable; `StoreError` when it cannot be now."""
        target = self.last_seq
        while self.written_seq < target:
            trouble = await self.settled()
            if trouble is not None and self.written_seq < target:
                raise trouble
        await checkpoint()

    def health(self) -> StoreHealth:
        """How keeping goes."""
        committer = self._committer
        trouble, since_us = self._own_trouble or (committer.trouble, committer.trouble_since_us)
        return StoreHealth(
            state=state_of(trouble),
            reason=None if trouble is None else str(trouble),
            since_us=since_us,
            waiting=self.waiting_rows,
            spilled=self.spilled_rows,
            spilled_total=self.spilled_total,
            commits=committer.commits,
            commit_ms_last=committer.commit_ns_last / 1e6,
            commit_ms_max=committer.commit_ns_max / 1e6,
        )
