"""Users' callables in the drain, and privacy: which events are kept, and what of them may be.

A callable that raises never loses an event: the event is kept and marked. None of them can change what
others see, since each gets dictionaries of its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.events.odd import MARK_CUT, MARK_INTEGER, MARK_REPR, plain_mapping, told
from crucible_telemetry.events.privacy import Redactor
from crucible_telemetry.events.raised import placed
from crucible_telemetry.events.scope import mix
from crucible_telemetry.events.sensitive import sensitive
from crucible_telemetry.events.shape import decode_rows, dictionaries, recode

_NUMBERS: Final = frozenset({int, float, bool})
_MARKS: Final = {MARK_REPR: "repr", MARK_CUT: "cut", MARK_INTEGER: "integer"}
FLAGGED: Final = frozenset({*_MARKS.values(), "enricher", "redact"})
"""Marks that flag their row: what is read there is not what was emitted, or less than was asked for."""

BLAMELESS: Final = (RecursionError, MemoryError)
INTERRUPTS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Guard:
    """The choices and the privacy of one experiment."""

    def __init__(self, spec: ExperimentSpec, key: bytes) -> None:
        self.spec = spec
        self.chooses = spec.event_filter is not None or spec.sampled
        self.redacts = spec.privacy != "full"
        self.looks_at_all = bool(spec.enrichers) or spec.privacy == "none"
        self._redactor = Redactor(key, full=spec.privacy == "full")
        self._threshold = int(spec.sampling_rate * 2**64)
        self._seed = mix(spec.seed & (2**64 - 1))
        self._trial_redactor = Redactor(key, full=spec.privacy == "full")
        self.guest = False
        """Whether an emitter's thread drains; see `Careful`."""
        self.first_error: dict[str, str] = {}

    # -- wanted? --------------------------------------------------------------------------------

    def choose(
        self, decoded: list[list[Any]], consumed: int, marks: "Counter[str]"
    ) -> tuple[list[int], int, int]:
        """(positions to keep, filtered, sampled out)."""
        keep: list[int] = []
        filtered = sampled_out = 0
        for at, row in enumerate(decoded):
            if not self._passes(self.spec.event_filter, row, "filter", marks):
                filtered += 1
            elif not self._sampled_in(row, consumed + at, marks):
                sampled_out += 1
            else:
                keep.append(at)
        return keep, filtered, sampled_out

    def _passes(
        self, fn: Callable[..., Any] | None, row: list[Any], kind: str, marks: "Counter[str]"
    ) -> bool:
        if fn is None:
            return True
        # Decoded again for the callable alone: what it changes, nobody else sees.
        name, measurements, metadata = dictionaries(row)
        try:
            return bool(fn(name, _copy(measurements), _copy(metadata)))
        except BaseException as error:  # noqa: BLE001 - anything, a cancelled task's error too
            self.failed(kind, error, marks)
            return True

    def _sampled_in(self, row: list[Any], ordinal: int, marks: "Counter[str]") -> bool:
        if not self._passes(self.spec.sampling_strategy, row, "sampling", marks):
            return False
        if self.spec.sampling_rate >= 1.0:
            return True
        link = row[3]
        # Whole traces stay together; an event outside any span is a trace of its own.
        root = ordinal if link is None else link[2]
        number = int(root[16:], 16) if isinstance(root, str) else root
        return mix(number ^ self._seed) < self._threshold

    def failed(
        self, kind: str, error: BaseException, marks: "Counter[str]", events: int = 1
    ) -> None:
        """A user's callable raised: so many events are marked, and the first reason is kept."""
        if isinstance(error, INTERRUPTS) or (self.guest and isinstance(error, BLAMELESS)):
            raise error  # a guest's stack or memory is short; the collector's may do
        marks[kind] += events
        self.first_error.setdefault(kind, self.told(error))

    def told(self, error: BaseException) -> str:
        """An error in words; its text only where texts may be kept, since it may quote an event."""
        return told(error) if self.spec.privacy == "full" else placed(error)

    # -- what may be kept ------------------------------------------------------------------------

    def redacted(self, key: str, value: Any, marks: "Counter[str]") -> Any:
        """The value to keep under a key when privacy alone decides."""
        return self._counted(lambda judge: judge.value(key, value), marks)

    def _counted(self, judge: Callable[[Redactor], Any], marks: "Counter[str]") -> Any:
        before = self._redactor.redacted
        kept = judge(self._redactor)
        if self._redactor.redacted > before:
            marks["redacted"] += self._redactor.redacted - before
        return kept

    def trial_text(self, key: str, value: Any) -> Any:
        """A text of a trial as privacy lets it stand; from any thread, and counted with no event."""
        return self._trial_redactor.value(key, value)

    def score_text(self, name: str, value: Any) -> Any:
        """A score that is a text: a label (``"good"``) stays as an error's short name does, words of others do not."""
        known = self.spec.privacy == "none" or sensitive(name)
        return self.trial_text("text" if known else "reason", value)

    def rewritten(self, row: list[Any], marks: "Counter[str]") -> tuple[bytes, bool]:
        """(the row as the user's `redact` wants it, whether that failed): before all else is done with it."""
        name, measurements, metadata = dictionaries(row)
        numbers, words, failed = self._by_user(name, measurements, metadata, marks)
        return recode(row, numbers, words, name), failed

    def _by_user(
        self,
        name: str,
        measurements: dict[str, Any],
        metadata: dict[str, Any],
        marks: "Counter[str]",
    ) -> tuple[dict[str, Any], dict[str, Any], bool]:
        """What the user's `redact` lets stand; every text is replaced where it fails."""
        if self.spec.redact is None:
            return measurements, metadata, False
        try:
            numbers, words = self.spec.redact(name, _copy(measurements), _copy(metadata))
            kept = _mapping("redact", numbers), _mapping("redact", words)
            return plain_mapping(kept[0], deep=True), plain_mapping(kept[1], deep=True), False
        except BaseException as error:  # noqa: BLE001 - and what it should have hidden must not be kept
            self.failed("redact", error, marks)
            blank = self._counted(lambda judge: judge.blank([measurements, metadata]), marks)
            return blank[0], blank[1], True

    def protect(self, row: list[Any]) -> tuple[bytes, int, "Counter[str]"]:
        """(row to keep, its shape, marks by kind)."""
        marks: Counter[str] = Counter()
        name, measurements, metadata = dictionaries(row)
        if self.spec.privacy == "none":
            numbers = self._counted(lambda judge: judge.numbers(measurements), marks)
            marks["redacted"] += len(metadata)
            measurements, metadata = numbers, {}
        elif self.spec.privacy_sees == "raw":
            more = self._enriched(name, measurements, metadata, marks)
            measurements = self._private(measurements, marks)
            metadata = self._private({**metadata, **more}, marks)
        else:
            measurements = self._private(measurements, marks)
            metadata = self._private(metadata, marks)
            more = self._enriched(name, measurements, metadata, marks)
            metadata |= self._private(more, marks)
        count_marks((measurements, metadata), marks)
        encoded = recode(row, measurements, metadata, name)
        return encoded, decode_rows([encoded])[0][1], marks

    def _private(self, values: dict[str, Any], marks: "Counter[str]") -> dict[str, Any]:
        return {key: self.redacted(key, value, marks) for key, value in values.items()}

    def _enriched(
        self,
        name: str,
        measurements: dict[str, Any],
        metadata: dict[str, Any],
        marks: "Counter[str]",
    ) -> dict[str, Any]:
        """What the enrichers add, each seeing what those before it found, as the user's `redact` lets it be."""
        added: dict[str, Any] = {}
        for enricher in self.spec.enrichers:
            try:
                found = enricher(name, _copy(measurements), _copy({**metadata, **added}))
                more = plain_mapping(
                    _mapping("an enricher", {} if found is None else found), deep=True
                )
            except BaseException as error:  # noqa: BLE001 - as in `_passes`
                self.failed("enricher", error, marks)
            else:
                added |= self._by_user(name, {}, more, marks)[1]
        return added


def _mapping(who: str, found: object) -> Mapping[Any, Any]:
    """What a callable returned; TypeError when that is no mapping."""
    if not isinstance(found, Mapping):
        raise TypeError(f"{who} returns mappings, not {type(found).__name__}")
    return found


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    """A copy down to the leaves; decoded values hold nothing but dictionaries, lists and scalars."""
    return {key: _copied(value) for key, value in values.items()}


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    return value


def count_marks(values: Any, marks: "Counter[str]") -> bool:
    """Count replaced values, NaN and infinities at any depth; whether something was replaced."""
    found, level = False, [values]
    while level:
        value = level.pop()
        kind = type(value)
        if kind is dict:
            for mark, word in _MARKS.items():
                if mark in value:
                    marks[word] += 1
                    found = True
            level.extend(value.values())
        elif kind in (list, tuple):
            level.extend(value)
        elif kind is float and not isfinite(value):
            marks["nan" if value != value else "infinite"] += 1  # noqa: PLR0124 - NaN
    return found
