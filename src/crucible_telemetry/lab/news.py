"""What a keep is told of an experiment beside its events: the record, and the trials that have changed."""

from collections.abc import Callable
from typing import Any, Final

from crucible_telemetry.clock import monotonic_ns, wall_us
from crucible_telemetry.collect.account import counts_of
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.trials import TrialRecord, Trials, before_its_end
from crucible_telemetry.lab.records import (
    Lived,
    Owner,
    Record,
    code_of,
    options_of,
    packed,
    trial_bytes,
)
from crucible_telemetry.stores.lasting import Lasting
from crucible_telemetry.stores.own import name_of

FORMAT_VERSION: Final = "1"


class News:
    """What is to be written of one experiment beside its events, when something of it has changed.

    A trial is written as ended with its last event or after it, never before: who goes on after a crash skips
    what was done, and its events would be missing for ever.
    """

    def __init__(self, collector: Collector, life: Life, owner: Owner) -> None:
        self._collector, self._life, self._owner = collector, life, owner
        self._seen: Any = None
        self._record = b""
        self._trials: dict[int, Any] = {}
        self._dirty: set[int] = set(collector.reader.trials.records)
        self._asked: set[int] = set()
        self._sent: dict[int, Any] = {}
        self._ends: dict[int, int] = {}
        """Trials that ended: how many rows the mailbox had taken by then."""
        self._last_seqs: dict[int, int] = {}
        """Of those whose rows have left the mailbox: no event of theirs has a greater seq."""
        self.waits = False

    def inherit(self, former: "News") -> None:
        """What the one before it wrote, and what it had still to write."""
        self._trials, self._dirty = former._trials, former._dirty

    def changed(self, number: int) -> None:
        """A trial's record has changed. From any thread."""
        record = self._collector.reader.trials.records.get(number)
        if record is not None and record.ended_us is not None:
            self._ends.setdefault(number, self._collector.box.accepted)
        self._dirty.add(number)

    def look(self) -> None:
        """See `stores.keeping.News.look`."""
        progress, records = self._collector.progress, self._collector.reader.trials.records
        for number in self._dirty.copy() - self._last_seqs.keys():
            record = records.get(number)
            if record is None or record.ended_us is None:
                continue
            # One that ended in this moment may not have been noted yet.
            end = self._ends.setdefault(number, self._collector.box.accepted)
            if progress.consumed >= end:
                self._last_seqs[number] = progress.stored

    def __call__(
        self, numbers: set[int], upto_seq: int
    ) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
        """See `stores.keeping.News`."""
        life, progress = self._life, self._collector.progress
        seen = (progress, life.state, len(life.pauses_us), self._collector.box.ticks.value)
        if seen != self._seen:
            self._seen, self._record = seen, packed(self.now())
        trials = self._collector.reader.trials
        self._asked = numbers | self._dirty.copy()
        records = {n: r for n in self._asked if (r := trials.find(n)) is not None}
        store = self._collector.store
        far = max(upto_seq, store.written_seq) if isinstance(store, Lasting) else upto_seq
        shown = {n: self._shown(n, r, far) for n, r in records.items()}
        self.waits = any(shown[n] is not r for n, r in records.items())
        self._sent = {n: r for n, r in shown.items() if self._trials.get(n) is not r}
        return self._record, tuple(
            (n, trial_bytes(r, own=n in trials.records)) for n, r in self._sent.items()
        )

    def _shown(self, number: int, record: TrialRecord, upto_seq: int) -> TrialRecord:
        """The record, or while some of its events are not durable, what it was before it ended."""
        last = self._trials.get(number)
        if record.ended_us is None or number not in self._collector.reader.trials.records:
            return record
        if last is not None and last.ended_us is not None:
            return record
        seq = self._last_seqs.get(number)
        if seq is not None and seq <= upto_seq:
            return record
        return last or before_its_end(record)

    def written(self) -> None:
        """What was given last is on the disk."""
        self._trials.update(self._sent)
        for number, record in self._sent.items():
            if record.ended_us is not None:
                self._ends.pop(number, None)
                self._last_seqs.pop(number, None)
        find = self._collector.reader.trials.find
        for number in self._asked:
            # Forgotten before it is looked at: a change that comes between is seen, or notes itself.
            self._dirty.discard(number)
            if find(number) is not self._trials.get(number):
                self._dirty.add(number)

    def now(self) -> Record:
        """The record as it is at this moment."""
        life, spec = self._life, self._collector.reader.spec
        active_ns, paused_ns = life.spent_ns(monotonic_ns())
        return Record(
            name=spec.name,
            state=life.state.value,
            started_us=life.started_us,
            ended_us=life.ended_us,
            saved_us=wall_us(),
            options=options_of(spec),
            code=code_of(spec),
            lived=Lived(
                active_ns=active_ns,
                paused_ns=paused_ns,
                pauses_us=life.pauses(wall_us())[: len(life.pauses_us)],
                gaps_us=list(life.gaps_us),
            ),
            counts=counts_of(self._collector),
            marks=dict(self._collector.progress.marks),
            quarantine=list(self._collector.progress.quarantine),
            owner=self._owner,
            version=FORMAT_VERSION,
            store=name_of(self._collector.store),
        )


def trials_as_of(trials: Trials) -> Callable[[set[int]], list[tuple[int, bytes]]]:
    """What gives the trials as bytes as they are now, and those with certain numbers, which are open yet.

    Asked later: who started or ended since has events that are not among those of this moment.
    """
    known = dict(trials.records)

    def given(numbers: set[int]) -> list[tuple[int, bytes]]:
        found = []
        for number in known.keys() | numbers:
            own = number in trials.records
            record = known.get(number) or trials.find(number)
            if record is not None:
                shown = before_its_end(record) if own and number not in known else record
                found.append((number, trial_bytes(shown, own=own)))
        return found

    return given
