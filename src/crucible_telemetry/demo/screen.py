"""What the demo shows: tables from figures. Nothing is measured or computed here."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from crucible_telemetry.demo.figures import Figures, Reproduced
from crucible_telemetry.stats import Result

_NONE = "–"


_FORMS = {"s": ".3f", "ms": ".1f", "tokens": ",.0f", "rate": ".1%"}


def figure(value: float | None, unit: str) -> str:
    """A value with its unit (``"s"``, ``"ms"``, ``"tokens"``, ``"rate"``); a dash where there is none."""
    if value is None or math.isnan(value):
        return _NONE
    return format(value, _FORMS[unit]) + (f" {unit}" if unit in ("s", "ms") else "")


def _cells(shown: Figures, total: int) -> dict[str, str]:
    return {
        "events": str(shown.events),
        "calls done": f"{shown.calls} of {total}",
        "latency p50": figure(shown.p50_s, "s"),
        "latency p99": figure(shown.p99_s, "s"),
        "first token p50": figure(shown.ttft_p50_s, "s"),
        "between tokens p50": figure(shown.itl_p50_ms, "ms"),
        "output tokens": figure(shown.output_tokens, "tokens"),
        "success rate": figure(shown.success_rate, "rate"),
    }


def live_table(arms: Mapping[str, Figures], total: int, title: str) -> Table:
    """One column for each experiment, one row for each figure."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in arms:
        table.add_column(name, justify="right", min_width=14)
    columns = [_cells(shown, total) for shown in arms.values()]
    for row in _cells(next(iter(arms.values())), total):
        table.add_row(row, *(column[row] for column in columns))
    return table


def live_line(arms: Mapping[str, Figures], total: int) -> str:
    """The same in one line, for where there is no terminal."""
    return " | ".join(
        f"{name}: {shown.calls}/{total} calls, p50 {figure(shown.p50_s, 's')}, p99 {figure(shown.p99_s, 's')}"
        for name, shown in arms.items()
    )


def reproduced_table(rows: Sequence[Reproduced], title: str) -> Table:
    """Replayed beside published, and how far apart."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("replayed", "published", "off by"):
        table.add_column(column, justify="right")
    for row in rows:
        off = _NONE if row.error is None else f"{row.error:+.2%}"
        replayed, published = (figure(value, row.unit) for value in (row.replayed, row.published))
        table.add_row(row.name, replayed, published, off)
    return table


def difference(result: Result, published_s: float) -> str:
    """The comparison as a sentence, or why there is none."""
    estimate = f"mean latency, treatment − control: {result.estimate:+.3f} s"
    if result.notes:
        return f"{estimate}; no interval: {'; '.join(result.notes)}"
    low, high = result.interval
    p_value = "p < 0.001" if result.p_value < 0.001 else f"p = {result.p_value:.3f}"
    return (
        f"{estimate}, {result.confidence:.0%} interval {low:+.3f} to {high:+.3f} s "
        f"({result.test}, df = {result.df[0]:.1f}, {p_value}; published {published_s:+.3f} s)"
    )
