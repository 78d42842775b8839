"""The Keep port: what a durable back-end does for a whole lab. PURE.

A keep knows experiments (a record each), their words (shapes, models and error types by number), their
trials, their events as blocks of columns, and roll-ups. Everything a moment changes is one `Change`, and
`write` takes it in one transaction: after a crash either all of it is there or nothing. Stores
(`kept.py`) read through `load`; nothing else is asked of a back-end, so that SQLite, PostgreSQL or another
one differ in these verbs only.
"""

from typing import Any, Protocol

from msgspec import Struct

from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores.blocks import BlockInfo


class Word(Struct, frozen=True, array_like=True):
    """One word of an experiment: ``kind`` is ``shape``, ``model`` or ``error``."""

    kind: str
    number: int
    word: Any


class Rollup(Struct, frozen=True, array_like=True, gc=False):
    """What was counted in ``[start_us, start_us + level_s)``: cells as bytes, to be put in place."""

    level_s: int
    start_us: int
    cells: bytes


class OwnerHead(Struct, frozen=True):
    """Which lab writes an experiment, as far as a keep has to know."""

    lab: str = ""


class RecordHead(Struct, frozen=True):
    """What a keep understands of an experiment's record (`ExperimentChange.record`)."""

    name: str
    state: str
    started_us: int
    owner: OwnerHead = OwnerHead()


class Tip(Struct, frozen=True, array_like=True):
    """How far an experiment goes, written with everything else that a transaction holds of it.

    `commit` counts its transactions; `words`: the greatest number by kind; `trials`: how many; `lost`: runs of
    seqs that an earlier process had committed and that were gone when it was gone on with, `doubts` those that
    it may have.
    """

    commit: int = 0
    last_seq: int = 0
    words: dict[str, int] = {}
    trials: int = 0
    lost: tuple[tuple[int, int], ...] = ()
    doubts: tuple[tuple[int, int], ...] = ()


class Mark(Struct, frozen=True, kw_only=True):
    """What is known of an experiment outside its transactions: how far its tip has been.

    `promised`: no event behind this seq was committed before the machine stopped; 0 when it has not stopped.
    """

    commit: int
    last_seq: int
    promised: int = 0


class ExperimentChange(Struct, frozen=True, kw_only=True):
    """What is new of one experiment: its record (None: unchanged), words, trials by number, parts, roll-ups."""

    id: str
    record: bytes | None = None
    words: tuple[Word, ...] = ()
    trials: tuple[tuple[int, bytes], ...] = ()
    parts: tuple[Columns, ...] = ()
    """Runs of events, shapes by the experiment's own numbers; each replaces the blocks that it covers."""
    rollups: tuple[Rollup, ...] = ()
    forget_rollups: bool = False
    """Whether roll-ups written before are void, and deleted before those above are put in place."""
    tip: Tip | None = None
    """Where it ends with this change; None: where it did."""


Change = tuple[ExperimentChange, ...]
"""Everything one transaction writes."""


class KeptExperiment(Struct, frozen=True, kw_only=True):
    """An experiment as a keep holds it: all but its events and roll-ups.

    Rows that are not as they were written are left out; see `damage.damage_of` for what tells that they are.
    """

    id: str
    record: bytes
    words: list[Word]
    trials: list[tuple[int, bytes]]
    blocks: list[BlockInfo]
    held: bool | None = None
    """Whether another lab writes it at this moment; None: this keep cannot tell, ask the record's owner."""
    tip: Tip | None = None
    mark: Mark | None = None
    flaws: tuple[str, ...] = ()
    """What could not be read, in words. A record that could not is empty."""


def deleted(url: str, experiment_id: str) -> StoreRefused:
    """The error of who asks for an experiment that another lab has deleted: nothing of it is damaged."""
    return StoreRefused(url, f"experiment {experiment_id!r} is not there any more: it was deleted")


class News(Protocol):
    """What is kept of an experiment beside its events."""

    waits: bool
    """Whether what was given last lacks something that waits for events to be written."""

    def look(self) -> None:
        """Note what is complete; before the events that are to be written are looked at."""
        ...

    def __call__(
        self, numbers: set[int], upto_seq: int
    ) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
        """(record, trials that are not written as they are).

        `numbers`: trials that new events are of; `upto_seq`: how far events are written with these.
        """
        ...

    def written(self) -> None:
        """What was given last is on the disk."""
        ...


class Keep(Protocol):
    """A durable back-end of a lab.

    `StoreUnavailable` means that a later try may succeed (disk full, locked, server away), `StoreDamaged`
    that something which was written is not there as it was, `StoreRefused` that trying again is no use
    (no database, a newer format, no permission).
    """

    @property
    def url(self) -> str:
        """Where it is, for messages: without a password."""
        ...

    async def open(self) -> list[KeptExperiment]:
        """Connect, make or check the schema, and give what is there, in the order it was started."""
        ...

    async def look(self) -> list[KeptExperiment]:
        """What is there now, as `open` gave it, all of one moment; a view goes on from there."""
        ...

    async def claim(self, experiment_id: str, before: bytes, record: bytes) -> KeptExperiment:
        """Put `record` in the place of `before`; the experiment as it is then, written by this keep from now on.

        Unless it is `held`, or another lab has written another record meanwhile: then it is as that says.
        """
        ...

    async def write(self, change: Change) -> list[list[BlockInfo]]:
        """All of the change, or (when this raises) nothing; what became of the parts of each experiment.

        Repeating a change does no harm.
        """
        ...

    async def load(self, experiment_id: str, block: BlockInfo) -> Columns:
        """The events of a block, checked: `StoreDamaged` names those that are missing."""
        ...

    async def rollups(
        self, experiment_id: str, level_s: int, since_us: int, until_us: int
    ) -> list[Rollup]:
        """Roll-ups of a level with ``since_us <= start_us < until_us``, in order of time."""
        ...

    async def size(self, experiment_id: str) -> int:
        """Bytes of an experiment's events as they are kept, indexes and free space left out."""
        ...

    async def forget(self, experiment_id: str) -> None:
        """Delete an experiment and all it has."""
        ...

    async def close(self) -> None:
        """Let go of files and connections; twice is once."""
        ...

    def disown(self) -> None:
        """In a child of `fork`: files and connections are the parent's; neither use nor close them."""
        ...
