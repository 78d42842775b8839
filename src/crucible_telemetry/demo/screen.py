"""What the demo shows: tables from figures. Nothing is measured or computed here."""

import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from crucible_telemetry.analysis.welch import WelchResult
from crucible_telemetry.demo.figures import Figures, Reproduced

_NONE = "–"


def seconds(value: float | None) -> str:
    """Seconds to the millisecond; a dash where there is no value."""
    return _NONE if value is None or math.isnan(value) else f"{value:.3f} s"


def _percent(value: float | None, form: str = ".1%") -> str:
    return _NONE if value is None else format(value, form)


def _cells(shown: Figures, total: int) -> dict[str, str]:
    itl = _NONE if shown.itl_p50_ms is None else f"{shown.itl_p50_ms:.1f} ms"
    return {
        "events": str(shown.events),
        "calls done": f"{shown.calls} of {total}",
        "latency p50": seconds(shown.p50_s),
        "latency p99": seconds(shown.p99_s),
        "first token p50": seconds(shown.ttft_p50_s),
        "between tokens p50": itl,
        "output tokens": _NONE if shown.output_tokens is None else f"{shown.output_tokens:,}",
        "success rate": _percent(shown.success_rate),
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
        f"{name}: {shown.calls}/{total} calls, p50 {seconds(shown.p50_s)}, p99 {seconds(shown.p99_s)}"
        for name, shown in arms.items()
    )


def reproduced_table(rows: Sequence[Reproduced], title: str) -> Table:
    """Replayed beside published, and how far apart."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("replayed", "published", "off by"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.name, seconds(row.replayed), seconds(row.published), _percent(row.error, "+.2%")
        )
    return table


def difference(result: WelchResult, published_s: float) -> str:
    """The comparison as a sentence, or why there is none."""
    estimate = f"mean latency, treatment − control: {result.estimate:+.3f} s"
    if result.notes:
        return f"{estimate}; no interval: {'; '.join(result.notes)}"
    low, high = result.interval
    p_value = "p < 0.001" if result.p_value < 0.001 else f"p = {result.p_value:.3f}"
    return (
        f"{estimate}, {result.confidence:.0%} interval {low:+.3f} to {high:+.3f} s "
        f"({result.test}, df = {result.df:.1f}, {p_value}; published {published_s:+.3f} s)"
    )
