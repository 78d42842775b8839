"""What an experiment's summary shows, and of which operations: checked once, at its start. PURE."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.event import event_patterns, matches_pattern

PARTS: Final = ("latency", "cost", "reliability", "tokens", "streaming")
"""Parts of a summary that can be switched off."""
POOLS: Final = ("auto", "llm", "all")
BILLED: Final = ("auto", "all")
MOST_FIELDS: Final = 64
"""Named fields an experiment may have: each is a column of its own."""

Chosen = str | tuple[str, ...]


class MetricsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``metrics_config=`` of an experiment: which operations figures are of, which parts and fields it has.

    `pool`: operations that latency, reliability and streaming are of: ``"auto"`` (calls to a model if
    any was seen, else all), ``"llm"``, ``"all"``, or event patterns (``["req_llm.*"]``). `billed`:
    operations that cost and tokens are of: ``"auto"`` (those that wrap no counted one), ``"all"``, or
    event patterns. A part set to False shows as empty, and the summary names it in `switched_off`.
    `custom`: further measured fields to summarise, as ``["accuracy", "score.bleu"]``: looked up in
    the measurements, then the metadata, dots lead into mappings. Any real number counts (True as 1,
    False as 0), of every event that has one, whether or not it ends an operation; the metadata of
    ``.start`` events are left out, since their end repeats them, and scores of trials are no events.
    """

    pool: Chosen = "auto"
    billed: Chosen = "auto"
    latency: bool = True
    cost: bool = True
    reliability: bool = True
    tokens: bool = True
    streaming: bool = True
    custom: tuple[str, ...] = ()

    @property
    def switched_off(self) -> tuple[str, ...]:
        """Parts that are not shown."""
        return tuple(part for part in PARTS if not getattr(self, part))


def make_config(given: object) -> MetricsConfig:
    """A config from a mapping, a `MetricsConfig` or None, every value checked."""
    if given is None:
        return MetricsConfig()
    if isinstance(given, MetricsConfig):
        given = {name: getattr(given, name) for name in given.__struct_fields__}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            "metrics_config", f"want a mapping or ct.MetricsConfig, not {given!r}"
        )
    known = MetricsConfig.__struct_fields__
    for key in given:
        if key not in known:
            raise ConfigurationError(
                "metrics_config", f"unknown key {key!r}; known are {', '.join(sorted(known))}"
            )
    return MetricsConfig(
        pool=_chosen("pool", given.get("pool", "auto"), POOLS),
        billed=_chosen("billed", given.get("billed", "auto"), BILLED),
        custom=_fields(given.get("custom", ())),
        **{part: _switch(part, given.get(part, True)) for part in PARTS},
    )


def fits(chosen: Chosen, name: str) -> bool:
    """Whether an event name is among those chosen by patterns."""
    return any(matches_pattern(pattern, name) for pattern in chosen)


def _chosen(key: str, value: Any, words: tuple[str, ...]) -> Chosen:
    """One of the words, or patterns; a lone pattern needs a dot or a star, so that a typing error is none."""
    if isinstance(value, str):
        if value in words:
            return value
        if "." not in value and "*" not in value:
            raise ConfigurationError(
                "metrics_config", f"{key}: want {', '.join(words)} or event patterns, not {value!r}"
            )
    return event_patterns(f"metrics_config[{key!r}]", value)


def _switch(part: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError("metrics_config", f"{part}: want True or False, not {value!r}")
    return value


def _fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigurationError("metrics_config", f"custom: want a list of names, not {value!r}")
    for name in value:
        if not isinstance(name, str) or not name or not all(name.split(".")):
            raise ConfigurationError(
                "metrics_config", f"custom: want names, with dots between keys, not {name!r}"
            )
    names = tuple(dict.fromkeys(value))
    if len(names) > MOST_FIELDS:
        raise ConfigurationError(
            "metrics_config", f"custom: want at most {MOST_FIELDS} fields, not {len(names)}"
        )
    return names
