"""Values as they were measured → latency, cost, tokens and outcome, a column at a time. PURE.

A `Plan` says, once per shape, where each figure is read. The readers below take whole columns: their
quick way is a type check and the column itself, since most producers send what is expected.
Units come from the key or the catalog, never from the size of a number. Durations become integer ns,
costs integer pico-dollars; what is negative, not finite or beyond int64 stays raw and is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any, Final

from crucible_telemetry.events.catalog import known
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.events.fields import dig
from crucible_telemetry.events.known import NS_PER, EventInfo
from crucible_telemetry.events.outcome import OUTCOME_KEYS

MISSING: Final = -(2**63)
NO_TOKENS: Final = -1
_LIMIT: Final = 2**62
_TOKEN_LIMIT: Final = 2**31
_INT: Final = {int}
_NULL: Final = {type(None)}
_STR: Final = {str}
PICO: Final = 10**12

Column = Sequence[Any]
Place = tuple[int, tuple[str, ...]]
"""Which value of a row, and the path inside it."""

TOKEN_KEYS: Final = {
    "prompt": ("tokens.prompt", "tokens.input", "usage.input_tokens", "usage.prompt_tokens",
               "input_tokens", "prompt_tokens", "gen_ai.usage.input_tokens"),
    "completion": ("tokens.completion", "tokens.output", "usage.output_tokens",
                   "usage.completion_tokens", "output_tokens", "completion_tokens",
                   "gen_ai.usage.output_tokens"),
    "total": ("tokens.total", "usage.total_tokens", "total_tokens"),
    "cached": ("tokens.cached_input", "tokens.cached", "usage.cached_tokens",
               "usage.cache_read_tokens", "cached_tokens", "gen_ai.usage.cache_read.input_tokens"),
    "reasoning": ("tokens.reasoning", "usage.reasoning_tokens", "reasoning_tokens",
                  "gen_ai.usage.reasoning.output_tokens"),
}  # fmt: skip
_HASHABLE: Final = frozenset({str, int, bool, type(None)})
FIRST_CHUNK_KEYS: Final = ("streaming.time_to_first_chunk",)
"""Time to first token as req_llm reports it, in ns."""
COST_KEYS: Final = ("cost_usd", "cost", "total_cost", "usage.total_cost")


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
        self, name: str, measurement_keys: Sequence[str], metadata_keys: Sequence[str]
    ) -> None:
        self.known: EventInfo = known(name)
        numbers = {key: at for at, key in enumerate(measurement_keys)}
        words = {key: at + len(measurement_keys) for at, key in enumerate(metadata_keys)}
        first_words = {**numbers, **words}
        first_numbers = {**words, **numbers}
        self.keys = (*measurement_keys, *metadata_keys)
        self.latency = _durations(first_numbers, "duration", self.known.unit) or _durations(
            first_numbers, "latency", self.known.latency_unit
        )
        self.span_of = self._start_and_stop(first_numbers)
        self.streaming = _durations(first_numbers, "ttft", "ns") + [
            (place, NS_PER["ns"]) for place in _places(first_words, FIRST_CHUNK_KEYS)
        ]
        self.itl = _durations(first_numbers, "itl", "ns")
        self.cost = _places(
            first_words, (key for key in COST_KEYS if key != "cost" or self.known.money)
        )
        self.tokens = {
            field: places
            for field, keys in TOKEN_KEYS.items()
            if (places := _places(first_words, keys))
        }
        self.model = {
            "provider": _places(
                first_words, ("provider", "gen_ai.provider.name", "gen_ai.system", "model.provider")
            ),
            "model": _places(
                first_words,
                ("model", "model_name", "gen_ai.response.model", "gen_ai.request.model"),
            ),
        }
        # A start has no outcome, whatever it carries.
        keys = () if self.known.suffix == "start" else OUTCOME_KEYS
        self.outcome = [(key, at) for key in keys for at, _ in _places(first_words, (key,))]

    def _start_and_stop(self, at: dict[str, int]) -> tuple[int, int, int] | None:
        for unit, factor in {**NS_PER, "": NS_PER[self.known.unit]}.items():
            tail = f"_{unit}" if unit else ""
            for start, stop in (
                ("start", "stop"),
                ("started_at", "ended_at"),
                ("start_time", "end_time"),
            ):
                if start + tail in at and stop + tail in at:
                    return at[start + tail], at[stop + tail], factor
        return None


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


def _places(at: dict[str, int], keys: Iterable[str]) -> list[Place]:
    """Where dotted keys may be: the key as it is, or a path into a container."""
    found: list[Place] = []
    for key in keys:
        head, _, tail = key.partition(".")
        if key in at:
            found.append((at[key], ()))
        elif tail and head in at:
            found.append((at[head], tuple(tail.split("."))))
    return found


def column_at(columns: Sequence[Column], place: Place) -> Column:
    """One value of each row."""
    position, path = place
    column = columns[position]
    return [dig(value, path) for value in column] if path else column


def whole(column: Column, factor: int, odd: Counter[str], limit: int = _LIMIT) -> Column | None:
    """Numbers × `factor` as integers from 0 to below `limit`, `MISSING` where there is none.

    None when no row has one.
    """
    kinds = set(map(type, column))
    if kinds == _INT:
        scaled = column if factor == 1 else [value * factor for value in column]
        if min(scaled) >= 0 and max(scaled) < limit:
            return scaled
    if kinds == _NULL:
        return None
    scaled = [_whole(value, factor, odd, limit) for value in column]
    return scaled if any(value != MISSING for value in scaled) else None


def _whole(value: Any, factor: int, odd: Counter[str], limit: int) -> int:
    if type(value) is float:
        if not isfinite(value):
            odd["not_finite"] += 1
            return MISSING
        number = round(value * factor) if abs(value) < limit else limit  # 1e308 s is inf ns
    elif type(value) is int:
        number = value * factor
    else:
        return MISSING
    if number < 0:
        odd["negative"] += 1
        return MISSING
    if number >= limit:
        odd["beyond_int64"] += 1
        return MISSING
    return number


def means(column: Column) -> Column:
    """Lists of inter-token latencies as the mean of their numbers; other values as they are."""
    if list not in set(map(type, column)):
        return column
    return [_mean(value) if type(value) is list else value for value in column]


def _mean(values: list[Any]) -> float | None:
    numbers = [value for value in values if type(value) in (int, float)]
    return sum(numbers) / len(numbers) if numbers else None


def first_of(found: list[Column]) -> Column | None:
    """Row by row the first column that has a value."""
    if len(found) <= 1:
        return found[0] if found else None
    return [next((v for v in row if v != MISSING), MISSING) for row in zip(*found, strict=True)]


def durations(
    columns: Sequence[Column], places: list[tuple[Place, int]], odd: Counter[str]
) -> Column | None:
    """A latency-like figure in ns."""
    found = [whole(column_at(columns, place), factor, odd) for place, factor in places]
    return first_of([column for column in found if column is not None])


def inter_token(
    columns: Sequence[Column], places: list[tuple[Place, int]], odd: Counter[str]
) -> Column | None:
    """Inter-token latency in ns, one number a call: a list of them counts as its mean."""
    found = [whole(means(column_at(columns, place)), factor, odd) for place, factor in places]
    return first_of([column for column in found if column is not None])


def latency(columns: Sequence[Column], plan: Plan, odd: Counter[str]) -> Column | None:
    """Latency in ns: the duration, or stop − start in rows that have none."""
    given = durations(columns, plan.latency, odd)
    if plan.span_of is None or (given is not None and MISSING not in given):
        return given
    start, stop, factor = plan.span_of
    known = given or [MISSING] * len(columns[start])
    rows = zip(known, columns[start], columns[stop], strict=True)
    spans = [_minus(b, a) if ns == MISSING else None for ns, a, b in rows]
    between = whole(spans, factor, odd)
    return first_of([column for column in (given, between) if column is not None])


def _minus(stop: Any, start: Any) -> Any:
    numbers = (int, float)
    return stop - start if type(stop) in numbers and type(start) in numbers else None


def cost(columns: Sequence[Column], plan: Plan, odd: Counter[str]) -> Column | None:
    """Cost in pico-dollars, where a row says it."""
    found = [whole(column_at(columns, place), PICO, odd) for place in plan.cost]
    return first_of([column for column in found if column is not None])


def tokens(columns: Sequence[Column], places: list[Place], odd: Counter[str]) -> Column | None:
    """Token counts, `NO_TOKENS` where there is none."""
    found = [whole(column_at(columns, place), 1, odd, _TOKEN_LIMIT) for place in places]
    merged = first_of([column for column in found if column is not None])
    if merged is None or type(merged) is tuple:  # a tuple is a column as it was: nothing is missing
        return merged
    return [NO_TOKENS if value == MISSING else value for value in merged]


def models(columns: Sequence[Column], plan: Plan) -> tuple[Column, Column] | None:
    """(providers, models) of the rows; None when the shape names neither."""
    providers = _candidates(columns, plan.model["provider"])
    names = _candidates(columns, plan.model["model"])
    if not providers and not names:
        return None
    count = len(columns[0])
    return _texts(providers, count, "provider"), _texts(names, count, "id")


def _candidates(columns: Sequence[Column], places: list[Place]) -> list[Column]:
    """The columns that may name it; a path into a column that holds texts leads nowhere."""
    return [
        column_at(columns, place)
        for place in places
        if not place[1] or _holds(dict, columns[place[0]])
    ]


def _texts(columns: list[Column], count: int, inside: str) -> Column:
    """Row by row the first text; a column of nothing but texts is the answer itself."""
    if not columns:
        return [None] * count
    first = columns[0]
    if type(first[0]) is str and (constant(first) or set(map(type, first)) == _STR) and all(first):
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
    """Whether all rows share one value: `count` compares in C, 5 ns a row where a set takes 15."""
    return column.count(column[0]) == len(column)


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
    """What the name alone says: ``.stop`` is ok, ``.exception`` an error; other events end nothing."""
    if not plan.known.ends:
        return Outcome.NONE
    by_suffix = {
        "stop": Outcome.OK, "complete": Outcome.OK, "completed": Outcome.OK,
        "timeout": Outcome.TIMEOUT, "cancelled": Outcome.CANCELLED,
    }  # fmt: skip
    return by_suffix.get(plan.known.suffix, Outcome.ERROR)
