"""The writer of a durable lab: one supervised actor that commits for all of its experiments.

Stores take batches at once and keep them in memory; every `interval_s`, or sooner when somebody waits, the
writer gathers what is new of each into one transaction. What could not be written stays where it is
and is gathered again. What waits is bounded: a store that holds too much is `full`, and its collector then
leaves events in the mailbox.
"""

from collections.abc import Sequence
from typing import Protocol

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.committing import INTERVAL_S, Committer
from crucible_telemetry.stores.keeping import ExperimentChange, Keep


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

    async def _commit(self) -> None:
        gathered, changes = [], []
        for member in list(self.members.values()):
            change = await member.gather()
            if change is not None:
                gathered.append(member)
                changes.append(change)
        if not changes:
            return
        began_ns = monotonic_ns()
        infos = await self.keep.write(tuple(changes))
        for member, blocks in zip(gathered, infos, strict=True):
            member.written(blocks)
        self._took(began_ns)
