"""What an event is, for those who read it back. PURE.

On its way an event is a row of bytes (`shape.py`) and a line in columns (`columns.py`); an `Event` is
made only when somebody asks for one.
"""

from enum import IntEnum
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.fields import read_fields
from crucible_telemetry.events.known import known

GENERIC_SHAPE: Final = 0
"""Shape id of rows that carry their own name and keys (the table of shapes was full)."""


class Outcome(IntEnum):
    """How an operation ended; ``NONE`` for events that end nothing."""

    NONE = 0
    OK = 1
    ERROR = 2
    TIMEOUT = 3
    CANCELLED = 4
    UNKNOWN = 5

    @property
    def success(self) -> bool | None:
        """True for ok, False for error and timeout, None where neither can be said."""
        if self is Outcome.OK:
            return True
        return False if self in (Outcome.ERROR, Outcome.TIMEOUT) else None

    @property
    def label(self) -> str | None:
        """The word users see: ``ok``, ``error`` …; None where nothing ended."""
        return None if self is Outcome.NONE else self.name.lower()


IDENTITY: Final = ("sample_id", "repeat", "attempt", "session_id", "user_id", "cohort")
"""The fields that say whose an event is; metadata keys of these names come before what the trial says."""
Identity = tuple[str | None, int | None, int | None, str | None, str | None, str | None]
"""Their values, of a trial: (item, repeat, attempt, session, user, cohort)."""


class CategoryField:
    """A field of `Event.fields` as an attribute: None where the event's category has no such field."""

    __slots__ = ("name",)
    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, event: "Event | None", owner: type) -> Any:
        return self if event is None else event.fields.get(self.name)


class Event(Struct, frozen=True, gc=False, omit_defaults=True):
    """One stored event: what was measured, what was computed from it, and whose it is.

    `timestamp_us` counts microseconds since the Unix epoch (UTC); stored order is `(timestamp_us, seq)`.
    `latency_ms`, `ttft_ms`, `itl_ms` are milliseconds, `cost_usd` dollars. The mappings are the
    reader's own: nothing else refers to them. `epoch`, `loss`, `consensus` and the like are read from
    them when asked for; `fields` has all that the event's category promises.
    """

    seq: int
    event_id: str
    timestamp_us: int
    event_name: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]
    experiment_id: str
    experiment_name: str
    condition: str
    tags: tuple[str, ...]
    category: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    itl_ms: float | None = None
    cost_usd: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    success: bool | None = None
    outcome: str | None = None
    error_type: str | None = None
    provider: str | None = None
    model: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    sample_id: str | None = None
    repeat: int | None = None
    attempt: int | None = None
    cohort: str | None = None
    span_id: str | None = None
    parent_id: str | None = None
    trace_id: str | None = None

    epoch = CategoryField()
    batch = CategoryField()
    step = CategoryField()
    learning_rate = CategoryField()
    loss = CategoryField()
    accuracy = CategoryField()
    gradient_norm = CategoryField()
    checkpoint_path = CategoryField()
    model_name = CategoryField()
    model_version = CategoryField()
    input_size = CategoryField()
    output_size = CategoryField()
    batch_size = CategoryField()
    pipeline_id = CategoryField()
    stage_name = CategoryField()
    stage_index = CategoryField()
    consensus = CategoryField()
    strategy = CategoryField()
    votes = CategoryField()
    hedged = CategoryField()
    hedge_won = CategoryField()
    delay_ms = CategoryField()
    attempts = CategoryField()

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of the event's category, or of its row in the catalog, by name; those it lacks left out."""
        return read_fields(known(self.event_name).fields, self.measurements, self.metadata)


def event_name(name: object) -> str:
    """The dotted form of a name given as ``"a.b.c"`` or ``("a", "b", "c")``."""
    if type(name) is str:
        return name
    try:
        if isinstance(name, (tuple, list)):
            return ".".join(str(part) for part in name)
        return str(name)
    except Exception:  # noqa: BLE001 - an object without words is a name all the same
        return f"<{type(name).__qualname__}>"


def event_names(events: Any) -> tuple[str, ...]:
    """The dotted forms of a name, a pattern, or several of them; TypeError for what is neither.

    ``("a", "b")`` is one name when none of its parts has a dot or a star; else it is several names.
    """
    if isinstance(events, str) or _is_tuple_name(events):
        return (event_name(events),)
    return tuple(event_name(name) for name in events)


def event_patterns(option: str, events: Any) -> tuple[str, ...]:
    """`event_names` for those who listen; `ConfigurationError` for none at all and for a ``*`` inside."""
    try:
        patterns = event_names(events)
    except TypeError:
        raise ConfigurationError(option, f"want names or patterns, not {events!r}") from None
    if not patterns:
        raise ConfigurationError(option, 'want at least one event name or pattern; "*" hears all')
    for pattern in patterns:
        if not pattern or "*" in pattern[:-1]:
            raise ConfigurationError(option, f"{pattern!r}: a pattern is a name, or ends in one *")
    return patterns


def _is_tuple_name(events: object) -> bool:
    return (
        isinstance(events, tuple)
        and bool(events)
        and all(isinstance(part, str) and "." not in part and "*" not in part for part in events)
    )


def matches_pattern(pattern: str, name: str) -> bool:
    """Whether a dotted name fits a pattern: equal, or the pattern ends in ``*`` and its stem begins the name.

    ``"req_llm.*"`` fits everything below ``req_llm``; ``"*"`` fits all.
    """
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return pattern == name
