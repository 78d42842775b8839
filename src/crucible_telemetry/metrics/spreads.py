"""Cells → figures of what is spread out: times by outcome, streams, named fields. PURE."""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from typing import Any, Final

from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics.board import Cells
from crucible_telemetry.metrics.cells import Cell, Tally
from crucible_telemetry.metrics.figures import FieldFigures, Latency, Streaming
from crucible_telemetry.metrics.reals import real_figures

NS_PER_MS: Final = 10**6
NS_PER_S: Final = 10**9
FRACTIONS: Final = {
    "p25": 0.25,
    "p50": 0.5,
    "p75": 0.75,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99_9": 0.999,
}


def latency(cells: Cells) -> Latency:
    """Latency of the operations that succeeded, with the others under `by_outcome`."""
    by_outcome = {
        Outcome(outcome).label or "none": times(of.values(), "latency_ns")
        for outcome, of in sorted(_by_outcome(cells).items())
    }
    seen = {outcome: figures for outcome, figures in by_outcome.items() if figures.count}
    return _with_outcomes(by_outcome.get("ok", Latency()), seen)


def _with_outcomes(figures: Latency, by_outcome: dict[str, Latency]) -> Latency:
    fields = {name: getattr(figures, name) for name in figures.__struct_fields__}
    return Latency(**{**fields, "by_outcome": by_outcome})


def _by_outcome(cells: Cells) -> dict[int, Cells]:
    outcomes: defaultdict[int, Cells] = defaultdict(dict)
    for key, cell in cells.items():
        outcomes[key.outcome][key] = cell
    return outcomes


def streaming(cells: Cells) -> Streaming:
    """Time to first token, inter-token latency and pace of the operations that succeeded."""
    succeeded = [cell for key, cell in cells.items() if key.outcome == Outcome.OK]
    tokens = sum(cell.paced_tokens for cell in succeeded)
    spent_ns = sum(cell.paced_ns for cell in succeeded)
    return Streaming(
        ttft=times(succeeded, "ttft_ns"),
        itl=times(succeeded, "itl_ns"),
        tokens_per_second=tokens * NS_PER_S / spent_ns if spent_ns else None,
    )


def times(cells: Iterable[Cell], name: str) -> Latency:
    """One nanosecond measurement of these cells, in ms."""
    tally = summed(cells, name)
    if tally is None:
        return Latency()
    moments = tally.moments
    quantiles = [value / NS_PER_MS for value in tally.quantiles(FRACTIONS.values())]
    by_name: dict[str, Any] = dict(zip(FRACTIONS, quantiles, strict=True))
    return Latency(
        count=moments.n,
        mean=moments.mean(NS_PER_MS),
        median=by_name["p50"],
        min=moments.minimum / NS_PER_MS,
        max=moments.maximum / NS_PER_MS,
        std_dev=moments.std_dev(NS_PER_MS),
        variance=moments.variance(NS_PER_MS),
        **by_name,
    )


def field(cells: Iterable[Cell], name: str) -> FieldFigures:
    """One named field of these cells, in its own unit."""
    cells = list(cells)
    left_out = sum(cell.left_out.get(name, 0) for cell in cells)
    tallies = [cell.fields[name] for cell in cells if name in cell.fields]
    if not tallies:
        return FieldFigures(left_out=left_out)
    tally = reduce(Tally.plus, tallies)
    figures = real_figures(tally.moments)
    quantiles = tally.spread.quantiles(list(FRACTIONS.values()), figures["min"], figures["max"])
    by_name = dict(zip(FRACTIONS, quantiles, strict=True))
    return FieldFigures(**figures, **by_name, median=by_name["p50"], left_out=left_out)


def summed(cells: Iterable[Cell], name: str) -> Tally | None:
    """One measurement of these cells together; None if none has it."""
    tallies = [cell.tallies[name] for cell in cells if name in cell.tallies]
    return reduce(Tally.plus, tallies) if tallies else None
