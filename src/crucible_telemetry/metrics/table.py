"""A summary as text: aligned lines that fit a terminal, empty parts left out. PURE."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from crucible_telemetry.metrics.figures import FieldFigures, Latency, Summary

SPREADS: Final = ("count", "mean", "p50", "p90", "p99", "max", "std_dev")
"""Figures of a spread that a line shows."""
MOST_LINES: Final = 12
"""Event names, models or custom results shown; the rest is counted in one line."""
WIDEST: Final = 60
"""Characters shown of a custom result that is no number."""
GONE: Final = ("missing", "lost")
"""Marks for events that a damaged store no longer has: whoever reads the figures is to know."""
NONE: Final = "-"


def rendered(summary: Summary) -> str:
    """The summary as lines of text, without a newline at the end; figures that are None show as ``-``."""
    parts = (
        _head(summary),
        _spreads(summary),
        _reliability(summary),
        _cost(summary),
        _tokens(summary),
        _listed(
            "not finite", {name: of.left_out for name, of in summary.fields.items() if of.left_out}
        ),
        _listed("events", summary.events.counts),
        _listed("custom", summary.custom),
        _foot(summary),
    )
    return "\n".join(line for part in parts for line in part)


def number(value: object) -> str:
    """A figure in at most eleven characters: whole numbers with commas, others with five digits."""
    if value is None:
        return NONE
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**8 else f"{value:.4g}"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.5g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:.4g}"


def percent(rate: float | None) -> str:
    """A share as percent, with enough digits to tell 99.9998 from 100."""
    if rate is None:
        return NONE
    forms = (f"{rate * 100:.{digits}g}" for digits in (4, 6, 8, 12))
    return f"{next((text for text in forms if text != '100' or rate == 1), '100')} %"


def _line(name: str, figures: Mapping[str, str]) -> str:
    said = "   ".join(f"{word} {value}" for word, value in figures.items())
    return f"{name:<12}{said}"


def _head(summary: Summary) -> Iterable[str]:
    seen = summary.summary
    lasted = "" if seen.duration_seconds is None else f" over {number(seen.duration_seconds)} s"
    yield f"{number(seen.total_events)} events{lasted}; {summary.pool}"
    gone = {name: number(seen.marks[name]) for name in GONE if seen.marks.get(name)}
    if gone:
        yield _line("damaged", gone)


def _spreads(summary: Summary) -> Iterable[str]:
    rows: dict[str, Any] = {"latency ms": summary.latency}
    others = summary.latency.by_outcome.items()
    rows |= {f"  {outcome}": figures for outcome, figures in others if outcome != "ok"}
    rows |= {"ttft ms": summary.streaming.ttft, "itl ms": summary.streaming.itl}
    named = {f"  {_word(name)}": of.latency for name, of in summary.events.by_event.items()}
    fields = {_word(name): figures for name, figures in summary.fields.items()}
    rows |= fields | named
    lines = [_spread(name, figures) for name, figures in rows.items() if figures.count]
    if lines:
        yield from _aligned([("", *SPREADS), *lines])


def _spread(name: str, figures: Latency | FieldFigures) -> tuple[str, ...]:
    return (name, *(number(getattr(figures, word)) for word in SPREADS))


def _aligned(lines: list[tuple[str, ...]]) -> Iterable[str]:
    """Names to the left, figures to the right, no column wider than it must be: 80 characters mostly do."""
    name, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    for line in lines:
        cells = (f"{cell:>{width + 2}}" for cell, width in zip(line[1:], others, strict=True))
        yield f"{line[0]:<{max(name, 10)}}" + "".join(cells)


def _reliability(summary: Summary) -> Iterable[str]:
    ended = summary.reliability
    if not ended.total_requests:
        return
    counts = ("total_requests", "successful", "failed", "timeouts", "cancelled")
    yield _line("operations", {word: number(getattr(ended, word)) for word in counts})
    if ended.success_rate_ci is not None:
        low, high = ended.success_rate_ci
        bounds = f"{percent(ended.success_rate)} (95 % interval {percent(low)} to {percent(high)})"
        yield _line("success", {"rate": bounds})
    yield from _listed("errors", ended.error_types)


def _cost(summary: Summary) -> Iterable[str]:
    cost = summary.cost
    if not (cost.count or cost.unpriced):
        return
    words = {
        "total": cost.total,
        "mean": cost.mean_per_request,
        "per success": cost.cost_per_success,
    }
    yield _line(
        "cost USD", {word: number(v) for word, v in words.items()} | _unpriced(cost.unpriced)
    )
    if len(cost.by_model) > 1:
        yield from _listed("  by model", {m: of.total for m, of in cost.by_model.items()})


def _unpriced(count: int) -> dict[str, str]:
    return {"unpriced": number(count)} if count else {}


def _tokens(summary: Summary) -> Iterable[str]:
    tokens = summary.tokens
    if not tokens.count:
        return
    words = {
        "total": tokens.total, "prompt": tokens.total_prompt, "completion": tokens.total_completion,
        "cached": tokens.cached, "reasoning": tokens.reasoning,
        "per second": summary.streaming.tokens_per_second,
    }  # fmt: skip
    yield _line("tokens", {word: number(v) for word, v in words.items() if v is not None})


def _listed(title: str, values: Mapping[str, Any]) -> Iterable[str]:
    """A line for each name, as many as fit; the rest in one."""
    shown = list(values.items())[:MOST_LINES]
    width = min(48, max((len(_word(name)) for name, _ in shown), default=0))
    for at, (name, value) in enumerate(shown):
        yield f"{title if at == 0 else '':<12}{_word(name):<{width}}  {_word(number(value))[:WIDEST]}"
    if len(values) > len(shown):
        yield f"{'':<12}and {number(len(values) - len(shown))} more"


def _word(name: str) -> str:
    """A name that breaks no line and moves no cursor."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in name)


def _foot(summary: Summary) -> Iterable[str]:
    if summary.switched_off:
        yield f"switched off: {', '.join(summary.switched_off)}"
    sampling = summary.summary.sampling
    if sampling is not None:
        yield f"a sample: {percent(sampling.share)} of the events offered were kept"
    if not summary.exact:
        near = percent(summary.quantile_error)
        yield f"live, up to event {number(summary.upto_seq)}; quantiles within {near}"
