"""Who ran what, when, with which outcome and scores: one record per trial."""

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.events.event import Identity, Outcome


class TrialRecord(Struct, frozen=True, kw_only=True, weakref=True):
    """One run of one item in one experiment.

    `started_us`, `ended_us`: µs since the epoch; `duration_ns`: wall time of the trial on a monotonic
    clock, paused time included; `ended_us`, `duration_ns` and `outcome` are None while it is open.
    `scores` are what `trial.score` was given last; `reason` is what `trial.fail` or an exception said.
    """

    number: int
    item: str
    repeat: int = 0
    attempt: int = 0
    session: str | None = None
    user: str | None = None
    cohort: str | None = None
    started_us: int = 0
    ended_us: int | None = None
    duration_ns: int | None = None
    outcome: str | None = None
    scores: dict[str, Any] = {}
    reason: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What makes it the same trial in another arm: item and repeat."""
        return self.item, self.repeat


def identity_of(record: TrialRecord) -> Identity:
    """Whose the events of a trial are."""
    return (
        record.item, record.repeat, record.attempt, record.session, record.user, record.cohort,
    )  # fmt: skip


def before_its_end(record: TrialRecord) -> TrialRecord:
    """What it was while it was open."""
    return replace(record, ended_us=None, duration_ns=None, outcome=None, scores={}, reason=None)


_numbers = itertools.count(1)
_taken = 0
# An experiment that hears the whole process also sees events of other experiments' trials.
_everywhere: "weakref.WeakValueDictionary[int, Trials]" = weakref.WeakValueDictionary()


class Trials:
    """The trials of one experiment, by number; changed on whichever thread runs the trial."""

    __slots__ = ("__weakref__", "_done", "_unrecorded", "changed", "damage", "records")

    def __init__(self) -> None:
        self.records: dict[int, TrialRecord] = {}
        self._unrecorded: dict[int, TrialRecord] = {}
        self._done: set[tuple[str, int]] = set()
        self.changed: Callable[[int], Any] = lambda _number: None
        """Called after a record of this number has changed, on whichever thread."""
        self.damage: Exception | None = None
        """Raised to who asks for all: some are not there any more."""

    @staticmethod
    def new_number() -> int:
        """A number for a trial, unique in the process."""
        while (number := next(_numbers)) <= _taken:
            pass  # once, after trials of an earlier process have been restored
        return number

    def stamp(self, number: int, **identity: Any) -> None:
        """Know a trial that is not recorded: others who hear its events still learn whose they are."""
        self._unrecorded[number] = TrialRecord(number=number, **identity)
        _everywhere[number] = self

    def open(self, number: int, **identity: Any) -> TrialRecord:
        """Start a trial."""
        record = TrialRecord(number=number, **identity)
        self.records[record.number] = record
        _everywhere[record.number] = self
        self.changed(record.number)
        return record

    def restore(self, record: TrialRecord, own: bool) -> None:  # noqa: FBT001 - as it was written
        """Know a trial of an earlier process; numbers given from now on are greater."""
        global _taken  # noqa: PLW0603 - beside the one counter of the process
        _taken = max(_taken, record.number)
        if not own:
            self._unrecorded[record.number] = record
            return
        self.records[record.number] = record
        if record.outcome == Outcome.OK.label:
            self._done.add(record.key)

    def learn(self, number: int, identity: Identity) -> int:
        """Know whose events of an earlier process are: the number they have here, the same one if it is free."""
        own = self.records.get(number) or self._unrecorded.get(number)
        if own is not None and identity_of(own) == identity:
            return number
        here = number if own is None else self.new_number()
        item, repeat, attempt, session, user, cohort = identity
        self.restore(
            TrialRecord(
                number=here, item=item or "", repeat=repeat or 0, attempt=attempt or 0,
                session=session, user=user, cohort=cohort,
            ),
            own=False,
        )  # fmt: skip
        return here

    def close(self, number: int, **end: Any) -> TrialRecord:
        """Write down how it ended, or what was learnt of it afterwards."""
        record = replace(self.records[number], **end)
        self.records[number] = record
        if record.outcome == Outcome.OK.label:
            self._done.add(record.key)
        else:
            self._done.discard(record.key)
        self.changed(number)
        return record

    def done(self) -> set[tuple[str, int]]:
        """(item, repeat) of the trials that ended well."""
        self._check()
        return set(self._done)

    def is_done(self, item: str, repeat: int) -> bool:
        """Whether this one ended well; without a copy of all."""
        self._check()
        return (item, repeat) in self._done

    def all(self) -> list[TrialRecord]:
        """In the order they were started."""
        self._check()
        return list(self.records.values())

    def _check(self) -> None:
        if self.damage is not None:
            raise self.damage

    def find(self, number: int) -> TrialRecord | None:
        """The trial of a number, of this experiment or another in the process."""
        own = self.records.get(number) or self._unrecorded.get(number)
        if own is not None or not number:
            return own
        other = _everywhere.get(number)
        if other is None:
            return None
        return other.records.get(number) or other._unrecorded.get(number)
