"""Values as they were measured → latency, cost, tokens and outcome, a column at a time. PURE.

A `Plan` says, once per shape, where each figure is read; the readers below take whole columns.
Units come from the key or the catalog, never from the size of a number. Durations become integer ns,
costs integer pico-dollars.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from crucible_telemetry.events.event import Outcome
from crucible_telemetry.events.known import known
from crucible_telemetry.events.numbers import (
    MISSING,
    Column,
    Place,
    Wholes,
    column_at,
    first_of,
    places_of,
    whole,
)
from crucible_telemetry.events.outcome import OUTCOME_KEYS, by_word
from crucible_telemetry.events.rows import NS_PER, EventInfo
from crucible_telemetry.events.tokens import TokenPlan

_STR: Final = {str}
PICO: Final = 10**12

_HASHABLE: Final = frozenset({str, int, bool, type(None)})
FIRST_CHUNK_KEYS: Final = ("streaming.time_to_first_chunk",)
"""Time to first token as req_llm reports it, in ns."""
OTEL_DURATIONS: Final = ("gen_ai.client.operation.duration", "gen_ai.server.request.duration")
"""Metrics of the OpenTelemetry GenAI conventions, all in seconds."""
OTEL_FIRST: Final = (
    "gen_ai.server.time_to_first_token",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.response.time_to_first_chunk",
)
OTEL_NEXT: Final = (
    "gen_ai.server.time_per_output_token",
    "gen_ai.client.operation.time_per_output_chunk",
)
COST_KEYS: Final = ("cost_usd", "cost", "total_cost", "usage.total_cost", "usage.cost")
PROVIDER_KEYS: Final = (
    "provider", "gen_ai.provider.name", "gen_ai.system", "custom_llm_provider", "ls_provider",
    "model.provider",
)  # fmt: skip
MODEL_KEYS: Final = (
    "model", "model_name", "gen_ai.response.model", "gen_ai.request.model", "ls_model_name",
)  # fmt: skip
_PAIRS: Final = (("start", "stop"), ("started_at", "ended_at"), ("start_time", "end_time"))


class Plan:
    """Where the figures of one shape are read. Built once per shape."""

    __slots__ = (
        "cost",
        "itl",
        "keys",
        "known",
        "latency",
        "model",
        "outcome",
        "span_of",
        "streaming",
        "tokens",
    )

    def __init__(
        self,
        name: str,
        measurement_keys: Sequence[str],
        metadata_keys: Sequence[str],
        *,
        of_span: bool = False,
    ) -> None:
        """`of_span`: for ends of our own spans, whose plain durations are ns whatever the catalog says."""
        self.known: EventInfo = known(name)
        unit = "ns" if of_span else self.known.unit
        numbers = {key: at for at, key in enumerate(measurement_keys)}
        words = {key: at + len(measurement_keys) for at, key in enumerate(metadata_keys)}
        first_words = {**numbers, **words}
        first_numbers = {**words, **numbers}
        self.keys = (*measurement_keys, *metadata_keys)
        self.latency = (
            _durations(first_numbers, "duration", unit)
            or _durations(first_numbers, "latency", self.known.latency_unit)
            or _in_seconds(first_numbers, OTEL_DURATIONS)
        )
        self.span_of = _start_and_stop(first_numbers, unit)
        self.streaming = [
            *_durations(first_numbers, "ttft", "ns"),
            *((place, NS_PER["ns"]) for place in places_of(first_words, FIRST_CHUNK_KEYS)),
            *_in_seconds(first_numbers, OTEL_FIRST),
        ]
        self.itl = [*_durations(first_numbers, "itl", "ns"), *_in_seconds(first_numbers, OTEL_NEXT)]
        self.cost = places_of(
            first_words, (key for key in COST_KEYS if key != "cost" or self.known.money)
        )
        self.tokens = TokenPlan(first_words)
        self.model = {
            "provider": places_of(first_words, PROVIDER_KEYS),
            "model": places_of(first_words, MODEL_KEYS),
        }
        # A start has no outcome, whatever it carries.
        keys = () if self.known.suffix == "start" else OUTCOME_KEYS
        self.outcome = [(key, at) for key in keys for at, _ in places_of(first_words, (key,))]


def _start_and_stop(at: dict[str, int], plain_unit: str) -> tuple[int, int, int] | None:
    """(start, stop, ns per unit): the first pair of keys that is there."""
    for unit, factor in {**NS_PER, "": NS_PER[plain_unit]}.items():
        tail = f"_{unit}" if unit else ""
        for start, stop in _PAIRS:
            if start + tail in at and stop + tail in at:
                return at[start + tail], at[stop + tail], factor
    return None


def _in_seconds(at: dict[str, int], keys: Sequence[str]) -> list[tuple[Place, int]]:
    return [(place, NS_PER["s"]) for place in places_of(at, keys)]


def _durations(at: dict[str, int], stem: str, plain_unit: str | None) -> list[tuple[Place, int]]:
    """(place, ns per unit) of ``stem_ns``, ``stem_us`` … and of plain ``stem`` in its catalog's unit."""
    found: list[tuple[Place, int]] = [
        ((at[key], ()), factor)
        for unit, factor in NS_PER.items()
        if (key := f"{stem}_{unit}") in at
    ]
    if plain_unit is not None and stem in at:
        found.append(((at[stem], ()), NS_PER[plain_unit]))
    return found


def means(column: Column) -> Column:
    """Lists of inter-token latencies as the mean of their numbers; other values as they are."""
    if list not in set(map(type, column)):
        return column
    return [_mean(value) if type(value) is list else value for value in column]


def _mean(values: list[Any]) -> float | None:
    numbers = [value for value in values if type(value) in (int, float)]
    return sum(numbers) / len(numbers) if numbers else None


def durations(
    columns: Sequence[Column], places: list[tuple[Place, int]], odd: Counter[str]
) -> Wholes | None:
    """A latency-like figure in ns."""
    found = [whole(column_at(columns, place), factor, odd) for place, factor in places]
    return first_of([column for column in found if column is not None])


def inter_token(
    columns: Sequence[Column], places: list[tuple[Place, int]], odd: Counter[str]
) -> Wholes | None:
    """Inter-token latency in ns, one number a call: a list of them counts as its mean."""
    found = [whole(means(column_at(columns, place)), factor, odd) for place, factor in places]
    return first_of([column for column in found if column is not None])


def latency(columns: Sequence[Column], plan: Plan, odd: Counter[str]) -> Wholes | None:
    """Latency in ns: the duration, or stop − start in rows that have none."""
    given = durations(columns, plan.latency, odd)
    if plan.span_of is None or (given is not None and MISSING not in given):
        return given
    start, stop, factor = plan.span_of
    known = [MISSING] * len(columns[start]) if given is None else given.tolist()
    rows = zip(known, columns[start], columns[stop], strict=True)
    spans = [_minus(b, a) if ns == MISSING else None for ns, a, b in rows]
    between = whole(spans, factor, odd)
    return first_of([column for column in (given, between) if column is not None])


def _minus(stop: Any, start: Any) -> Any:
    numbers = (int, float)
    return stop - start if type(stop) in numbers and type(start) in numbers else None


def cost(columns: Sequence[Column], plan: Plan, odd: Counter[str]) -> Wholes | None:
    """Cost in pico-dollars, where a row says it."""
    found = [whole(column_at(columns, place), PICO, odd) for place in plan.cost]
    return first_of([column for column in found if column is not None])


def models(columns: Sequence[Column], plan: Plan) -> tuple[Column, Column] | None:
    """(providers, models) of the rows, one alone where all share it; None when the shape names neither."""
    providers = _candidates(columns, plan.model["provider"])
    names = _candidates(columns, plan.model["model"])
    if not providers and not names:
        return None
    return _texts(providers, "provider"), _texts(names, "id")


def _candidates(columns: Sequence[Column], places: list[Place]) -> list[Column]:
    """The columns that may name it; a path into a column that holds texts leads nowhere."""
    return [
        column_at(columns, place)
        for place in places
        if not place[1] or _holds(dict, columns[place[0]])
    ]


def _texts(columns: list[Column], inside: str) -> Column:
    """Row by row the first text; a column of nothing but texts is the answer itself."""
    if not columns:
        return [None]
    first = columns[0]
    if type(first[0]) is str and first[0] and constant(first):
        return first[:1]
    if set(map(type, first)) == _STR and all(first):
        return first
    return [
        next((t for v in row if (t := _text(v, inside))), None)
        for row in zip(*columns, strict=True)
    ]


def _text(value: Any, inside: str) -> str | None:
    if type(value) is dict:
        value = value.get(inside) or value.get("name")
    return value if type(value) is str else None


def constant(column: Column) -> bool:
    """Whether all rows share one value: `count` compares in C, 5 ns a row where a set takes 15.

    Most columns that vary show it in their ends.
    """
    first = column[0]
    return bool(first == column[-1]) and column.count(first) == len(column)


def _holds(kind: type, column: Column) -> bool:
    if type(column[0]) is not kind and constant(column):
        return False
    return kind in set(map(type, column))


def mapped(column: Column, judge: Callable[[Any], Any]) -> list[Any]:
    """`judge` of each value, asked once per distinct one; most columns hold one value throughout."""
    if type(column[0]) is str and constant(column):
        return [judge(column[0])] * len(column)
    kinds = set(map(type, column))
    if len(kinds) > 1 or not kinds <= _HASHABLE:
        return [judge(value) for value in column]
    answers = {value: judge(value) for value in set(column)}
    return [answers[value] for value in column]


def default_outcome(plan: Plan) -> Outcome:
    """What the name alone says: the word it ends in, else (``.stop``, ``.finished`` …) ok; NONE where nothing ends."""
    if not plan.known.ends:
        return Outcome.NONE
    return by_word(plan.known.suffix) or Outcome.OK
