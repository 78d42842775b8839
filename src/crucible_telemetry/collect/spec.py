"""What an experiment is asked to do, and what its state allows. PURE.

The life cycle is one table; a missing entry is a `LifecycleError`. Options are checked when the
experiment starts, never later.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec import Struct

from crucible_telemetry.collect.formats import format_of
from crucible_telemetry.errors import ConfigurationError, LifecycleError, NotBuiltYet
from crucible_telemetry.events.event import event_patterns, matches_pattern
from crucible_telemetry.metrics.config import MetricsConfig, make_config

EventFilter = Callable[[str, dict[str, Any], dict[str, Any]], bool]
"""(event, measurements, metadata) → keep it?  Sync; may run in any thread, never two at once."""

Enricher = Callable[[str, dict[str, Any], dict[str, Any]], Mapping[str, Any] | None]
"""(event, measurements, metadata) → metadata to add, or None.  Sync; sees the redacted event."""

Redact = Callable[[str, dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
"""A user's own redaction: (event, measurements, metadata) → (measurements, metadata) to keep."""


class State(StrEnum):
    """Where an experiment is in its life."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


LIVING: Final = (State.RUNNING, State.PAUSED)
"""States in which an experiment may still be given events."""

TRANSITIONS: Final[dict[State, dict[str, State]]] = {
    State.RUNNING: {
        "pause": State.PAUSED,
        "stop": State.STOPPED,
        "fail": State.FAILED,
        "interrupt": State.INTERRUPTED,
    },
    State.PAUSED: {"resume": State.RUNNING, "stop": State.STOPPED, "fail": State.FAILED},
    State.STOPPED: {
        "stop": State.STOPPED,
        "reopen": State.RUNNING,
        "archive": State.ARCHIVED,
        "cleanup": State.STOPPED,
    },
    State.ARCHIVED: {
        "stop": State.ARCHIVED,
        "archive": State.ARCHIVED,
        "cleanup": State.ARCHIVED,
    },
    State.INTERRUPTED: {
        "reopen": State.RUNNING,
        "archive": State.ARCHIVED,
        "cleanup": State.INTERRUPTED,
    },
    State.FAILED: {
        "stop": State.FAILED,
        "fail": State.FAILED,
        "archive": State.ARCHIVED,
        "cleanup": State.FAILED,
    },
}
"""state → command → next state.  Stopping what has stopped changes nothing and is allowed."""


def next_state(experiment_id: str, state: State, command: str) -> State:
    """The state a command leads to; `LifecycleError` names experiment, state and command."""
    try:
        return TRANSITIONS[state][command]
    except KeyError:
        raise LifecycleError(experiment_id, state.value, command) from None


class ExperimentSpec(Struct, frozen=True, kw_only=True):
    """The options of an experiment, checked. See `Lab.start_experiment` for what each means."""

    name: str
    hypothesis: str | None = None
    condition: str = "default"
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = {}
    sample_size: int | None = None
    stop_at_sample_size: bool = False
    capture: Literal["scope", "process"] = "process"
    events: tuple[str, ...] | None = None
    event_filter: EventFilter | None = None
    sampling_rate: float = 1.0
    sampling_strategy: EventFilter | None = None
    metrics_config: MetricsConfig = MetricsConfig()
    custom_metrics: Mapping[str, Any] = {}
    enrichers: tuple[Enricher, ...] = ()
    privacy: Literal["none", "metadata", "full"] = "metadata"
    privacy_sees: Literal["redacted", "raw"] = "redacted"
    redact: Redact | None = None
    mailbox_size: int = 2048
    overflow: Literal["wait", "drop_newest"] = "wait"
    seed: int = 0
    on_existing: Literal["new", "resume", "error"] = "new"
    export_on_exit: Any = None
    prices: Any = None
    store: Any = None

    @property
    def sampled(self) -> bool:
        """Whether some events may be left out on purpose."""
        return self.sampling_rate < 1.0 or self.sampling_strategy is not None

    def hears(self, name: str) -> bool:
        """Whether this event is offered to the experiment at all."""
        return self.events is None or any(matches_pattern(p, name) for p in self.events)


LATER: Final = {
    "alerts": "alert rules come with the ledger",
    "budget": "budgets come with the ledger",
    "system_metrics": "sampling the machine comes with the integrations",
    "cluster": "many machines come last",
}
"""Options of the contract whose part is not built yet, and what they wait for."""

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "capture": ("scope", "process"),
    "privacy": ("none", "metadata", "full"),
    "privacy_sees": ("redacted", "raw"),
    "overflow": ("wait", "drop_newest"),
    "on_existing": ("new", "resume", "error"),
}
_MAPPINGS: Final = ("metadata", "custom_metrics")
_CALLABLE: Final = ("event_filter", "sampling_strategy", "redact")


def make_spec(name: object, options: Mapping[str, Any]) -> ExperimentSpec:
    """Check every option and make the spec; `ConfigurationError` names the first that is wrong."""
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError("name", f"want a non-empty string, not {name!r}")
    given = dict(options)
    known = set(ExperimentSpec.__struct_fields__) - {"name"}
    for option in given:
        if option in LATER:
            raise NotBuiltYet(option, LATER[option])
        if option not in known:
            raise ConfigurationError(
                option, f"unknown option; known are {', '.join(sorted(known))}"
            )
    _check_choices(given)
    _check_numbers(given)
    _check_containers(given)
    _check_file(given.get("export_on_exit"))
    _check_callables(given)
    given["tags"] = _strings("tags", () if given.get("tags") is None else given["tags"])
    if given.get("events") is not None:
        given["events"] = event_patterns("events", given["events"])
    _check_words(given)
    given["metrics_config"] = make_config(given.get("metrics_config"))
    given["enrichers"] = tuple(given.get("enrichers", ()))
    for mapping in _MAPPINGS:
        given[mapping] = MappingProxyType(dict(given.get(mapping) or {}))
    return ExperimentSpec(name=name, **given)


def _check_words(given: Mapping[str, Any]) -> None:
    if not isinstance(given.get("condition", ""), str):
        raise ConfigurationError("condition", f"want a string, not {given['condition']!r}")
    if not isinstance(given.get("hypothesis"), str | None):
        raise ConfigurationError("hypothesis", f"want a string, not {given['hypothesis']!r}")


def _check_choices(given: Mapping[str, Any]) -> None:
    for option, choices in _CHOICES.items():
        if option in given and given[option] not in choices:
            raise ConfigurationError(
                option, f"want one of {', '.join(choices)}, not {given[option]!r}"
            )


def _check_numbers(given: Mapping[str, Any]) -> None:
    for option in ("sample_size", "mailbox_size"):
        value = given.get(option)
        if value is not None and (
            not isinstance(value, int) or isinstance(value, bool) or value < 1
        ):
            raise ConfigurationError(option, f"want a whole number ≥ 1, not {value!r}")
    rate = given.get("sampling_rate", 1.0)
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 <= rate <= 1:
        raise ConfigurationError("sampling_rate", f"want a share from 0 to 1, not {rate!r}")
    if not isinstance(given.get("stop_at_sample_size", False), bool):
        raise ConfigurationError(
            "stop_at_sample_size", f"want True or False, not {given['stop_at_sample_size']!r}"
        )
    if given.get("stop_at_sample_size") and given.get("sample_size") is None:
        raise ConfigurationError("stop_at_sample_size", "needs sample_size to say where to stop")
    seed = given.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigurationError("seed", f"want a whole number, not {seed!r}")


def _check_containers(given: Mapping[str, Any]) -> None:
    for option in _MAPPINGS:
        if not isinstance(given.get(option), Mapping | None):
            raise ConfigurationError(option, f"want a mapping, not {given[option]!r}")
    if not isinstance(given.get("enrichers", ()), Sequence):
        raise ConfigurationError("enrichers", f"want a list, not {given['enrichers']!r}")


def _check_file(path: object) -> None:
    """Found out now, not when the run is over."""
    if path is None:
        return
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        raise ConfigurationError("export_on_exit", f"want a path, not {path!r}")
    try:
        format_of(str(path))
    except ConfigurationError as error:
        raise type(error)(f"export_on_exit={str(path)!r}", error.reason) from None


def _check_callables(given: Mapping[str, Any]) -> None:
    for option in _CALLABLE:
        if given.get(option) is not None:
            _check_sync(option, given[option])
    for enricher in given.get("enrichers", ()):
        _check_sync("enrichers", enricher)
    for metric in dict(given.get("custom_metrics") or {}).values():
        _check_metric(metric)


def _check_metric(metric: object) -> None:
    if isinstance(metric, type):
        raise ConfigurationError(
            "custom_metrics", f"{metric.__name__} is a class; want an instance, {metric.__name__}()"
        )
    if not (hasattr(metric, "calculate") or (hasattr(metric, "add") and hasattr(metric, "result"))):
        raise ConfigurationError(
            "custom_metrics",
            f"{type(metric).__name__} has neither calculate(events) nor add(event) and result()",
        )
    for verb in ("calculate", "add", "result"):
        if hasattr(metric, verb):
            _check_sync("custom_metrics", getattr(metric, verb))


def _check_sync(option: str, value: object) -> None:
    import inspect  # noqa: PLC0415 - asked once per experiment

    if not callable(value):
        raise ConfigurationError(option, f"must be callable, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value):
        raise ConfigurationError(
            option, "is an async function; it is called where nothing can wait for it"
        )


def _strings(option: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (Sequence, set, frozenset)):
        raise ConfigurationError(option, f"want a list of strings, not {value!r}")
    if not all(isinstance(item, str) for item in value):
        raise ConfigurationError(option, f"want strings only, not {value!r}")
    return tuple(value)
