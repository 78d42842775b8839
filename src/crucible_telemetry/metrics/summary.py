"""From cells to figures: the one definition of every metric, live and at rest. PURE.

Units are divided out last: nanoseconds by 10⁶ (ms), pico-dollars by 10¹² (USD), integers until then.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import compress
from typing import Any, Final

import numpy as np

from crucible_telemetry.events.columns import ENDS, LLM, TOKENS, Reader, counted_once
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.metrics.accumulators import Moments
from crucible_telemetry.metrics.board import Board, Cells
from crucible_telemetry.metrics.cells import Cell
from crucible_telemetry.metrics.config import Chosen, MetricsConfig, fits
from crucible_telemetry.metrics.figures import (
    Cost,
    EventFigures,
    Events,
    Latency,
    ModelCost,
    ModelTokens,
    Overview,
    Reliability,
    Streaming,
    Summary,
    Timing,
    Tokens,
)
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR
from crucible_telemetry.metrics.spreads import field, latency, streaming, summed
from crucible_telemetry.wilson import wilson_limits

DEFAULT: Final = MetricsConfig()
PICO_PER_USD: Final = 10**12
LLM_POOL: Final = "llm operations"
ALL_POOL: Final = "all operations"
BILLED_ONCE: Final = "operations that wrap no counted one"
UNKNOWN_MODEL: Final = "(unknown)"
Z_95: Final = 1.959963984540054
"""0.975 quantile of the normal distribution."""


def live(
    board: Board,
    reader: Reader,
    timing: Timing,
    *,
    custom: Mapping[str, Any] | None = None,
    by_event: bool = False,
    config: MetricsConfig = DEFAULT,
) -> Summary:
    """The figures of a board: constant in events, linear in cells; quantiles within `QUANTILE_ERROR`."""
    return summarised(
        board, Figures(reader, timing, config), custom=custom, by_event=by_event, exact=False
    )


def summarised(
    board: Board,
    figures: "Figures",
    *,
    custom: Mapping[str, Any] | None,
    by_event: bool,
    exact: bool,
) -> Summary:
    """The figures of a board whose spreads are sketches, or (`exact`) the values themselves."""
    parts = figures.of(board.cells)
    return Summary(
        summary=_overview(board.cells, figures.timing),
        latency=parts.latency,
        cost=parts.cost,
        reliability=parts.reliability,
        tokens=parts.tokens,
        streaming=parts.streaming,
        events=_events(board.cells, figures if by_event else None),
        custom=dict(custom or {}),
        fields=parts.fields,
        switched_off=figures.config.switched_off,
        pool=parts.pool,
        billed=parts.billed,
        upto_seq=board.upto_seq,
        since_seq=board.since_seq,
        exact=exact,
        quantile_error=0.0 if exact else QUANTILE_ERROR,
    )


def _overview(cells: Cells, timing: Timing) -> Overview:
    first, last = timing.first_us, timing.last_us
    seen = None if first is None or last is None else (first, last)
    return Overview(
        total_events=sum(cell.events for cell in cells.values()),
        time_range=seen,
        duration_seconds=None if seen is None else (seen[1] - seen[0]) / 1_000_000,
        active_seconds=timing.active_s,
        paused_seconds=timing.paused_s,
        event_types=tuple(sorted({key.name for key in cells})),
        marks=timing.marks,
        sampling=timing.sampling,
        privacy=timing.privacy,
    )


def _events(cells: Cells, figures: "Figures | None") -> Events:
    names: defaultdict[str, Cells] = defaultdict(dict)
    for key, cell in cells.items():
        names[key.name][key] = cell
    counts = {name: sum(cell.events for cell in of.values()) for name, of in names.items()}
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    by_event = {name: figures.of(names[name]) for name, _ in by_count} if figures else {}
    return Events(counts=dict(by_count), by_event=by_event)


class Figures:
    """The rules that turn cells into figures, with the words and times they need."""

    def __init__(self, reader: Reader, timing: Timing, config: MetricsConfig = DEFAULT) -> None:
        self.reader = reader
        self.timing = timing
        self.config = config

    def of(self, cells: Cells) -> EventFigures:
        """All parts, of all cells or of those of one name."""
        ends = {key: cell for key, cell in cells.items() if key.flags & ENDS}
        pool, pooled = self._pooled(ends)
        billed, paid = self._billed(cells, _has_cost)
        _, used = self._billed(cells, _has_tokens)
        shows = self.config
        return EventFigures(
            latency=latency(pooled) if shows.latency else Latency(),
            cost=self.cost(paid, _priced_successes(pooled)) if shows.cost else Cost(),
            reliability=self.reliability(pooled) if shows.reliability else Reliability(),
            tokens=self.tokens(used) if shows.tokens else Tokens(),
            streaming=streaming(pooled) if shows.streaming else Streaming(),
            pool=pool,
            billed=billed,
            fields={name: field(cells.values(), name) for name in shows.custom},
        )

    def _pooled(self, ends: Cells) -> tuple[str, Cells]:
        """Operations that latency, reliability and streaming are of, and what to call them."""
        pool = self.config.pool
        if pool not in ("auto", "llm", "all"):
            return _named(pool, ends)
        of_llm = {key: cell for key, cell in ends.items() if key.flags & LLM}
        llm_only = pool == "llm" or (pool == "auto" and bool(of_llm))
        return (LLM_POOL, of_llm) if llm_only else (ALL_POOL, ends)

    def _billed(self, cells: Cells, reports: Callable[[Cell], bool]) -> tuple[str, Cells]:
        """What cost or tokens are of, and what to call it; `reports` says which cells have any."""
        billed = self.config.billed
        if billed == "auto":
            return BILLED_ONCE, billed_once(cells, reports)
        if billed == "all":
            return ALL_POOL, {key: cell for key, cell in cells.items() if key.flags & ENDS}
        return _named(billed, cells)

    def cost(self, cells: Cells, succeeded: int) -> Cost:
        """Cost of these operations, also per one that `succeeded`; integer pico-dollars until the last division."""
        tally = summed(cells.values(), "cost_pico")
        unpriced = sum(cell.unpriced for cell in cells.values())
        if tally is None:
            return Cost(unpriced=unpriced, by_model=self._cost_by_model(cells))
        moments = tally.moments
        return Cost(
            count=moments.n,
            total=moments.total / PICO_PER_USD,
            mean_per_request=moments.mean(PICO_PER_USD),
            median_per_request=tally.quantiles([0.5])[0] / PICO_PER_USD,
            min=moments.minimum / PICO_PER_USD,
            max=moments.maximum / PICO_PER_USD,
            std_dev=moments.std_dev(PICO_PER_USD),
            cost_per_1k_requests=moments.mean(PICO_PER_USD // 1_000),
            cost_per_1m_requests=moments.mean(PICO_PER_USD // 1_000_000),
            by_model=self._cost_by_model(cells),
            cost_per_success=moments.total / (succeeded * PICO_PER_USD) if succeeded else None,
            unpriced=unpriced,
        )

    def _cost_by_model(self, cells: Cells) -> dict[str, ModelCost]:
        figures = {}
        for model, of in self._by_model(cells):
            moments = reduce(
                Moments.plus,
                (cell.tallies["cost_pico"].moments for cell in of if "cost_pico" in cell.tallies),
                Moments(),
            )
            unpriced = sum(cell.unpriced for cell in of)
            if moments.n or unpriced:
                figures[model] = ModelCost(
                    count=moments.n,
                    total=moments.total / PICO_PER_USD if moments.n else None,
                    mean_per_request=moments.mean(PICO_PER_USD),
                    unpriced=unpriced,
                )
        return figures

    def tokens(self, cells: Cells) -> Tokens:
        """Tokens of these operations."""
        sums = _token_sums(cells.values())
        by_model = {
            model: ModelTokens(
                count=count,
                total_prompt=_total(of["prompt"]),
                total_completion=_total(of["completion"]),
                total=_total(of["total"]),
            )
            for model, some in self._by_model(cells)
            if (count := sum(cell.with_tokens for cell in some)) and (of := _token_sums(some))
        }
        return Tokens(
            count=sum(cell.with_tokens for cell in cells.values()),
            total_prompt=_total(sums["prompt"]),
            total_completion=_total(sums["completion"]),
            total=_total(sums["total"]),
            mean_prompt=sums["prompt"].mean(),
            mean_completion=sums["completion"].mean(),
            mean_total=sums["total"].mean(),
            cached=_total(sums["cached"]),
            reasoning=_total(sums["reasoning"]),
            by_model=by_model,
        )

    def _by_model(self, cells: Cells) -> list[tuple[str, list[Cell]]]:
        """Cells by model name, sorted; one model at two providers is one."""
        models: defaultdict[str, list[Cell]] = defaultdict(list)
        for key, cell in cells.items():
            models[self.reader.model(key.model)[1] or UNKNOWN_MODEL].append(cell)
        return sorted(models.items())

    def reliability(self, cells: Cells) -> Reliability:
        """How these operations ended."""
        ended: Counter[int] = Counter()
        for key, cell in cells.items():
            ended[key.outcome] += cell.events
        successful, timeouts = ended[Outcome.OK], ended[Outcome.TIMEOUT]
        failed, total = ended[Outcome.ERROR] + timeouts, ended.total()
        decided = successful + failed
        rate = successful / decided if decided else None
        return Reliability(
            total_requests=total,
            successful=successful,
            failed=failed,
            cancelled=ended[Outcome.CANCELLED],
            timeouts=timeouts,
            success_rate=rate,
            success_rate_ci=wilson(successful, decided),
            failure_rate=failed / decided if decided else None,
            error_types=self._error_types(cells),
            mtbf=self.timing.active_s / failed if failed else None,
            requests_per_failure=total / failed if failed else None,
            sla_99=None if rate is None else rate >= 0.99,
            sla_999=None if rate is None else rate >= 0.999,
            sla_9999=None if rate is None else rate >= 0.9999,
        )

    def _error_types(self, cells: Cells) -> dict[str, int]:
        """Events by error type, most frequent first."""
        types: Counter[str] = Counter()
        for cell in cells.values():
            for error, count in cell.errors.items():
                types[self.reader.error(error)] += count
        return dict(sorted(types.items(), key=lambda item: (-item[1], item[0])))


def billed_once(cells: Cells, reports: Callable[[Cell], bool]) -> Cells:
    """The cells whose cost or tokens count: see `counted_once`."""
    flags = np.fromiter((key.flags for key in cells), np.uint8, len(cells))
    counts = counted_once(flags, np.fromiter(map(reports, cells.values()), np.bool_, len(cells)))
    return dict(compress(cells.items(), counts.tolist()))


def _has_cost(cell: Cell) -> bool:
    return "cost_pico" in cell.tallies


def _has_tokens(cell: Cell) -> bool:
    return cell.with_tokens > 0


def _named(chosen: Chosen, cells: Cells) -> tuple[str, Cells]:
    chosen = (chosen,) if isinstance(chosen, str) else chosen
    fitting = {key: cell for key, cell in cells.items() if fits(chosen, key.name)}
    return f"operations named {', '.join(chosen)}", fitting


def _priced_successes(cells: Cells) -> int:
    """Successes whose cost is known, or that have none: unpriced ones would make a success look cheap."""
    return sum(c.events - c.unpriced for key, c in cells.items() if key.outcome == Outcome.OK)


def _token_sums(cells: Iterable[Cell]) -> dict[str, Moments]:
    sums = dict.fromkeys(TOKENS, Moments())
    for cell in cells:
        for name, moments in cell.tokens.items():
            sums[name] = sums[name].plus(moments)
    return sums


def _total(moments: Moments) -> int | None:
    return moments.total if moments.n else None


def wilson(successes: int, n: int) -> tuple[float, float] | None:
    """Wilson's 95 % score interval of a proportion; None for n = 0."""
    if not n:
        return None
    low, high = wilson_limits(successes, n, Z_95)
    return float(low), float(high)
