"""What must have become of every numbered event, worked out beside the program and compared with it.

The oracle reads no context variable. An emit is bracketed by two looks at each experiment's state: what
lies between a command and its return may go either way, everything else has one right answer.
"""

import itertools
import threading
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field

from crucible_telemetry.events.event import event_name, matches_pattern

STORED, SKIPPED, LATE, GONE = "stored", "skipped", "late", "gone"
AFTER = {
    ("running", "pause"): "paused", ("paused", "resume"): "running",
    ("running", "stop"): "stopped", ("paused", "stop"): "stopped",
}  # fmt: skip
SCOPED_FATE = {"running": STORED, "paused": SKIPPED, "stopped": LATE}
# A process-wide experiment hears nothing after its stop, and while it stops one or the other.
PROCESS_FATE = {"running": STORED, "paused": SKIPPED, "stopped": GONE}


@dataclass(frozen=True)
class At:
    """Where an emit stands: experiment, item of its trial, number of its span."""

    k: int | None = None
    item: str | None = None
    span: int | None = None

    def inside(self, k):
        """In the scope of experiment `k`; entering what is innermost already changes nothing."""
        return self if self.k == k else At(k)


@dataclass
class Offer:
    """One event offered to one experiment: its key, where it stood, what may have become of it."""

    key: tuple[int, str]
    at: At
    fates: frozenset[str]
    thread: int
    ordered: bool


@dataclass
class Subject:
    """One experiment under test; `states` is its history, a set of two while a command runs."""

    exp: object
    plan: object
    state: str = "running"
    states: list[frozenset[str]] = field(default_factory=lambda: [frozenset({"running"})])
    offers: list[Offer] = field(default_factory=list)
    crashed: bool = False

    def hears(self, name):
        return self.plan.events is None or any(matches_pattern(p, name) for p in self.plan.events)

    def fates(self, states):
        """What may become of an event offered in one of these states."""
        if self.plan.capture == "scope":
            return frozenset(SCOPED_FATE[state] for state in states)
        meanwhile = {LATE} if len(states) > 1 and "stopped" in states else set()
        return frozenset(PROCESS_FATE[state] for state in states) | meanwhile

    def began(self, command):
        self.states.append(self.states[-1] | {AFTER[self.state, command]})
        self.state = AFTER[self.state, command]

    def ended(self):
        self.states.append(frozenset({self.state}))


class Oracle:
    """Collects offers and problems while a program runs; `verdict` compares with what was stored."""

    def __init__(self, subjects, scoped):
        self.subjects, self.scoped = subjects, scoped
        self.problems = []
        self.unheard_least = self.unheard_most = 0
        self.began = {}
        self._numbers = itertools.count(1).__next__
        self._lock = threading.Lock()

    def number(self):
        return self._numbers()

    @contextmanager
    def offering(self, at, number, name, phase="", *, ordered=True):
        """Around an emit: note what may become of the event, in each experiment that should hear it."""
        name = event_name(name)
        hearing = [
            s
            for k, s in enumerate(self.subjects)
            if (k == at.k or k >= self.scoped) and s.hears(name)
        ]
        looks = [len(s.states) - 1 for s in hearing]
        offers = [
            Offer((number, phase), at, frozenset(), threading.get_ident(), ordered) for _ in hearing
        ]
        with self._lock:
            for subject, offer in zip(hearing, offers, strict=True):
                subject.offers.append(offer)
        try:
            yield
        finally:
            gates = [
                frozenset().union(*s.states[look:]) for s, look in zip(hearing, looks, strict=True)
            ]
            for subject, offer, states in zip(hearing, offers, gates, strict=True):
                offer.fates = self._fates(subject, number, phase, states)
            self._count_unheard(gates)

    def _fates(self, subject, number, phase, states):
        fates = subject.fates(states)
        if phase == "start":
            self.began[id(subject), number] = fates
        if phase != "end":
            return fates
        # A span belongs to the state at its start: what began is stored though paused by now.
        start = self.began.get((id(subject), number), fates)
        after = fates & {LATE, GONE}
        ends = set(start - {STORED}) | (fates & {GONE})
        if STORED in start:
            ends |= after | ({STORED} if "running" in states or "paused" in states else set())
        if fates == {GONE}:
            return fates
        return frozenset(ends)

    def _count_unheard(self, gates):
        with self._lock:
            self.unheard_most += all("stopped" in states for states in gates)
            self.unheard_least += all(states == {"stopped"} for states in gates)

    # -- the verdict ----------------------------------------------------------------------------

    async def verdict(self):
        """Everything that is wrong, as sentences; empty when all is well."""
        spans = {}
        stored = []
        for subject in self.subjects:
            events = await subject.exp.events()
            stored.append(events)
            for event in events:
                if event.event_name.endswith(".start"):
                    spans[event.metadata["n"]] = event.span_id
        for k, (subject, events) in enumerate(zip(self.subjects, stored, strict=True)):
            self.problems += [f"experiment {k}: {p}" for p in _judged(subject, events, spans)]
        return self.problems


def _judged(subject, events, spans):
    problems = []
    found = defaultdict(list)
    for event in events:
        found[_key(event)].append(event)
    offers = {offer.key: offer for offer in subject.offers}
    for key, copies in found.items():
        offer = offers.get(key)
        if offer is None:
            problems.append(f"{key} does not belong here")
        elif STORED not in offer.fates:
            problems.append(f"{key} is stored and should be {set(offer.fates)}")
        else:
            problems += _misplaced(offer, copies[0], spans)
        if len(copies) > 1:
            problems.append(f"{key} is stored {len(copies)} times")
    problems += [
        f"{key} is missing"
        for key, offer in offers.items()
        if offer.fates == {STORED} and key not in found
    ]
    return [*problems, *_miscounted(subject, len(events)), *_disordered(subject, found)]


def _key(event):
    number = event.measurements.get("n", event.metadata.get("n"))
    last = event.event_name.rpartition(".")[2]
    return number, {"start": "start", "stop": "end", "exception": "end"}.get(last, "")


def _misplaced(offer, event, spans):
    """Whether trial and span on the event are those it was emitted in."""
    if event.sample_id != offer.at.item:
        yield f"{offer.key} carries item {event.sample_id} instead of {offer.at.item}"
    parent = offer.at.span
    if parent is None and event.parent_id is not None:
        yield f"{offer.key} hangs below a span and should not"
    if parent in spans and event.parent_id != spans[parent]:
        yield f"{offer.key} does not hang below span {parent}"


def _miscounted(subject, stored):
    yield from _fates_miscounted(subject)
    counts = subject.exp.counts
    if counts.emitted != counts.accounted:
        yield f"the law is broken: {counts}"
    surely = sum(GONE not in offer.fates for offer in subject.offers)
    perhaps = sum(offer.fates != {GONE} for offer in subject.offers)
    if not surely <= counts.emitted <= perhaps:
        yield f"{surely} to {perhaps} offered, {counts.emitted} counted"
    if counts.stored != stored:
        yield f"{stored} events, {counts.stored} counted as stored"
    if counts.in_flight:
        yield f"{counts.in_flight} in flight after the end"
    if counts.filtered + counts.dropped + counts.quarantined + counts.refused:
        yield f"some were filtered, dropped, quarantined or refused: {counts}"
    if subject.exp.health().scope_leaks:
        yield "a scope leaked"


def _fates_miscounted(subject):
    counts = subject.exp.counts
    least = Counter(next(iter(o.fates)) for o in subject.offers if len(o.fates) == 1)
    most = Counter(fate for o in subject.offers for fate in o.fates)
    for fate, count in ((SKIPPED, counts.skipped), (LATE, counts.late)):
        if not least[fate] <= count <= most[fate]:
            yield f"{count} counted {fate}, expected {least[fate]} to {most[fate]}"


def _disordered(subject, found):
    last = {}
    for offer in subject.offers:
        if not offer.ordered or offer.key not in found:
            continue
        seq = found[offer.key][0].seq
        if seq < last.get(offer.thread, 0):
            yield f"{offer.key} is out of its thread's order"
        last[offer.thread] = seq
