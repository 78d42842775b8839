"""One shape's rows → the figures of each: the columns a `Columns` is made of. PURE."""

from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.events import enrich
from crucible_telemetry.events.columns import ENDS, LLM, RANK_SHIFT, STREAMED
from crucible_telemetry.events.enrich import Plan
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.events.numbers import Column
from crucible_telemetry.events.outcome import ERROR_KEYS, JUDGES, error_type
from crucible_telemetry.events.tokens import streamed, tokens

_FAILING: Final = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.CANCELLED})


def base_flags(plan: Plan) -> int:
    """The flags a shape has by its name."""
    row = plan.known
    return (
        (ENDS if row.ends else 0)
        | (LLM if row.category == "llm" else 0)
        | (row.rank or 0) << RANK_SHIFT
    )


def figures(
    plan: Plan, values: Sequence[Column], count: int, reader: ExperimentReader, odd: "Counter[str]"
) -> dict[str, Any]:
    """Columns by name: a sequence of `count` values, or one value that all rows share.

    `values` are the columns of measurements and metadata, in the order of the plan's keys.
    """
    found: dict[str, Any] = {"flags": base_flags(plan)}
    if not count:
        return found
    found["outcome"], found["error"] = _outcomes(plan, values, count, reader)
    found["model"] = _models(values, plan, reader)
    found["latency_ns"] = enrich.latency(values, plan, odd)
    found["cost_pico"] = enrich.cost(values, plan, odd)
    found["ttft_ns"] = enrich.durations(values, plan.streaming, odd)
    found["itl_ns"] = enrich.inter_token(values, plan.itl, odd)
    found.update(tokens(values, plan.tokens, odd))
    found[STREAMED] = streamed(values, plan.tokens, odd)
    return {name: column for name, column in found.items() if column is not None}


def _numbers(words: Sequence[Any], number: Any) -> Any:
    known = {word: number(word) for word in set(words)}
    return [known[word] for word in words]


def _models(values: Sequence[Column], plan: Plan, reader: ExperimentReader) -> Any:
    """Model numbers: one for all rows when they share it."""
    if not values:
        return None
    named = enrich.models(values, plan)
    if named is None:
        return None
    if all(len(column) == 1 for column in named):
        return reader.models.number((named[0][0], named[1][0]))
    rows = zip(*(repeat(c[0], len(values[0])) if len(c) == 1 else c for c in named), strict=True)
    return _numbers(list(rows), reader.models.number)


def _outcomes(
    plan: Plan, values: Sequence[Column], count: int, reader: ExperimentReader
) -> tuple[Any, Any]:
    """(outcome, error number): one for all rows where the name or one shared value decides."""
    default = enrich.default_outcome(plan)
    verdicts: list[list[Outcome | None]] = []
    shared: list[Outcome] = []
    for key, position in plan.outcome:
        column = values[position]
        if type(column[0]) is str and enrich.constant(column):
            verdict = JUDGES[key](column[0])
            shared += [] if verdict is None else [verdict]
            continue
        found = enrich.mapped(column, JUDGES[key])
        if any(verdict is not None for verdict in found):
            verdicts.append(found)
    if not verdicts:
        default = _decide(tuple(shared), default)
        if default not in _FAILING:
            return int(default), 0
        return int(default), _errors(plan, values, [default] * count, reader)
    decided = [_decide((*shared, *row), default) for row in zip(*verdicts, strict=True)]
    errors = 0 if _FAILING.isdisjoint(decided) else _errors(plan, values, decided, reader)
    return [int(outcome) for outcome in decided], errors


def _decide(row: tuple[Outcome | None, ...], default: Outcome) -> Outcome:
    """A failure that anything names outweighs a success that something else claims.

    Whatever the order: cancelled is more precise than timeout, timeout than error, ok than unknown.
    An exception event whose producer also says "ok" is still an exception.
    """
    said = [verdict for verdict in row if verdict is not None]
    failures = [verdict for verdict in (*said, default) if verdict in _FAILING]
    return max(failures) if failures else min(said, default=default)


def _errors(
    plan: Plan, values: Sequence[Column], outcomes: list[Outcome], reader: ExperimentReader
) -> Any:
    """The number of each failing row's error type."""
    places = {key: position for key, position in plan.outcome if key in ERROR_KEYS}
    columns = [(key, values[places[key]]) for key in ERROR_KEYS if key in places]
    certain = enrich.default_outcome(plan) in _FAILING
    result = []
    for at, outcome in enumerate(outcomes):
        if outcome not in _FAILING:
            result.append(0)
            continue
        named = (error_type(key, column[at], certain=certain) for key, column in columns)
        result.append(reader.errors.number(next((n for n in named if n), outcome.label or "")))
    return result
