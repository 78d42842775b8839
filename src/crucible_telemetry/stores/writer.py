"""The writer of a durable lab: one supervised actor that commits for all of its experiments.

Stores take batches at once and keep them in memory; every `interval_s`, or sooner when somebody waits, the
writer gathers what is new of each into one transaction. What could not be written stays where it is
and is gathered again. What waits is bounded: a store that holds too much is `full`, and its collector then
leaves events in the mailbox.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.errors import StoreError, StoreTaken
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.committing import INTERVAL_S, Committer
from crucible_telemetry.stores.keeping import ExperimentChange, Keep

SWEEP_NS: Final = 1_000_000_000
"""A member that was not touched is asked as often as this while there are commits."""


class Member(Protocol):
    """What the writer asks of a store."""

    @property
    def last_seq(self) -> int:
        """The greatest seq appended."""
        ...

    @property
    def written_seq(self) -> int:
        """The greatest seq that is on the disk."""
        ...

    @property
    def given_up(self) -> StoreError | None:
        """Why it is never written again; None: it is."""
        ...

    def give_up(self, error: StoreError) -> None:
        """It is never written again."""
        ...

    async def gather(self) -> ExperimentChange | None:
        """What is new since the last `written`; None when nothing is."""
        ...

    def written(self, infos: Sequence[BlockInfo]) -> None:
        """The change gathered last has been committed, its parts as these blocks."""
        ...


class Writer(Committer):
    """Commits for its members, in one transaction of a keep."""

    def __init__(self, keep: Keep, interval_s: float = INTERVAL_S) -> None:
        super().__init__(interval_s)
        self.keep = keep
        self.members: dict[str, Member] = {}
        self._touched: dict[str, None] = {}
        self._swept_ns: int | None = None
        self.lost: Callable[[str, StoreTaken], Any] = lambda _id, _error: None
        """Told when another lab has taken an experiment over: it is written by nobody here any more."""

    def touch(self, member_id: str) -> None:
        """Something of this member is to be written. From any thread."""
        self._touched[member_id] = None
        self.wake()

    def sweep(self) -> None:
        """Have the next commit ask all members, whether touched or not."""
        self._swept_ns = None

    async def _commit(self) -> None:
        # One dict for ever, emptied one by one: other threads add to it meanwhile.
        touched: dict[str, None] = {}
        while self._touched:
            touched.update([self._touched.popitem()])
        try:
            await self._write(self._due(touched))
        except BaseException:
            self._touched.update(touched)
            self.sweep()
            raise

    def _due(self, touched: Iterable[str]) -> list[Member]:
        """The members that were touched; once in a while all, since records change without a word."""
        now_ns = monotonic_ns()
        if self._swept_ns is None or now_ns - self._swept_ns > SWEEP_NS:
            self._swept_ns = now_ns
            return list(self.members.values())
        return [self.members[one] for one in touched if one in self.members]

    async def _write(self, due: Sequence[Member]) -> None:
        gathered, changes = [], []
        for member in due:
            change = None if member.given_up else await member.gather()
            if change is not None:
                gathered.append(member)
                changes.append(change)
        if not changes:
            return
        began_ns = monotonic_ns()
        try:
            infos = await self.keep.write(tuple(changes))
        except StoreTaken as error:
            self.members[error.experiment_id].give_up(error)
            self.lost(error.experiment_id, error)
            await self._write(due)  # the others
            return
        for member, blocks in zip(gathered, infos, strict=True):
            member.written(blocks)
        self._took(began_ns)
