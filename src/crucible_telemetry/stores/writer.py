"""The writer of a durable lab: one supervised actor that commits for all of its experiments.

Stores take batches at once and keep them in memory; every `interval_s`, or sooner when somebody waits, the
writer gathers what is new of each into one transaction. What could not be written stays where it is
and is gathered again. What waits is bounded: a store that holds too much is `full`, and its collector then
leaves events in the mailbox.

One experiment is nobody else's trouble: what cannot be written of it, though the keep takes the others, is tried
again some times; then that experiment has failed, its events stay in memory, and the others are written on.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.errors import StoreError, StoreRefused, StoreTaken, StoreUnavailable
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.raised import placed
from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.committing import INTERVAL_S, Committer
from crucible_telemetry.stores.keeping import ExperimentChange, Keep

SWEEP_NS: Final = 1_000_000_000
"""A member that was not touched is asked as often as this while there are commits."""
ATTEMPTS: Final = 3
"""How often in a row a member may be what a commit fails of; then it is given up."""


class Member(Protocol):
    """What the writer asks of a store."""

    id: str

    @property
    def last_seq(self) -> int:
        """The greatest seq appended."""
        ...

    @property
    def written_seq(self) -> int:
        """The greatest seq that is on the disk."""
        ...

    @property
    def unwritten(self) -> str:
        """What of it is not on the disk, in words; empty when all is."""
        ...

    @property
    def given_up(self) -> StoreError | None:
        """Why it is never written again; None: it is."""
        ...

    def give_up(self, error: StoreError) -> None:
        """It is never written again."""
        ...

    def troubled(self, error: StoreError | None) -> None:
        """It was what the last commit failed of, or it is no longer."""
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
        self._failures: dict[str, int] = {}
        """How often in a row a member was what a commit failed of."""
        self.lost: Callable[[str, StoreError], Any] = lambda _id, _error: None
        """Told when an experiment is written by nobody here any more: another lab took it over, or it cannot be."""

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

    @property
    def waiting_rows(self) -> int:
        """Events of its members that are not on the disk and are still to be."""
        return sum(
            one.last_seq - one.written_seq for one in self.members.values() if not one.given_up
        )

    @property
    def failing(self) -> bool:
        """Whether some member was what the last commit failed of, and is tried again."""
        return bool(self._failures)

    async def _write(self, due: Sequence[Member]) -> None:
        gathered = [(one, change) for one in due if (change := await self._gathered(one))]
        if gathered:
            began_ns = monotonic_ns()
            await self._write_these(gathered)
            self._took(began_ns)

    async def _gathered(self, member: Member) -> ExperimentChange | None:
        if member.given_up:
            return None
        try:
            change = await member.gather()
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this member's
            self._failed(member, error)
            return None
        if change is None:
            self._went_well(member)
        return change

    async def _write_these(self, gathered: Sequence[tuple[Member, ExperimentChange]]) -> None:
        """In one transaction; when something else than the keep fails, one by one, to find out of what."""
        try:
            infos = await self.keep.write(tuple(change for _, change in gathered))
        except StoreTaken as error:
            self._give_up(self.members[error.experiment_id], error)
            rest = [one for one in gathered if not one[0].given_up]
            if rest:
                await self._write_these(rest)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whose it is comes out in the end
            if len(gathered) > 1:
                await self._write_one_by_one(gathered)
            else:
                await self._blame(gathered[0][0], error)
        else:
            for (member, _), blocks in zip(gathered, infos, strict=True):
                self._written(member, blocks)

    async def _write_one_by_one(self, gathered: Sequence[tuple[Member, ExperimentChange]]) -> None:
        refused = []
        for one in gathered:
            try:
                await self._write_these([one])
            except StoreUnavailable:
                raise
            except StoreError as error:
                refused.append((one[0], error))
        if len(refused) == len(gathered):
            raise refused[0][1]  # the keep takes nobody
        for member, refusal in refused:
            self._failed(member, refusal)

    async def _blame(self, member: Member, error: Exception) -> None:
        """It failed alone: its own fault, unless the keep takes nothing at all."""
        if member.id not in self._failures:
            if isinstance(error, StoreError):
                raise error
            await self._probe()
        self._failed(member, error)

    async def _probe(self) -> None:
        """Raise when it is the keep after all."""
        try:
            await self.keep.write(())
        except StoreError:
            raise
        except Exception as error:
            raise StoreUnavailable(self.keep.url, f"fails with {placed(error)}") from error

    def _written(self, member: Member, blocks: Sequence[BlockInfo]) -> None:
        try:
            member.written(blocks)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this member's
            self._failed(member, error)
        else:
            self._went_well(member)

    def _went_well(self, member: Member) -> None:
        if self._failures.pop(member.id, None):
            member.troubled(None)

    def _failed(self, member: Member, error: Exception) -> None:
        """A commit failed of this member alone: it is tried again, and then given up."""
        failures = self._failures.get(member.id, 0) + 1
        what = str(error) if isinstance(error, StoreError) else placed(error)
        told = StoreRefused(self.keep.url, f"experiment {member.id!r} cannot be written: {what}")
        if failures >= ATTEMPTS:
            self._give_up(member, told)
            return
        self._failures[member.id] = failures
        log.warning("%s (it is tried again)", told)
        member.troubled(told)
        self.touch(member.id)

    def _give_up(self, member: Member, error: StoreError) -> None:
        self._failures.pop(member.id, None)
        member.give_up(error)
        self.lost(member.id, error)
