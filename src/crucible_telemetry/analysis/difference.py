"""Treatment minus control of one metric, from two summaries: what can be said without a design. PURE.

Calls are taken as independent. Comparisons by design (pairs, repeats, several arms) are not built yet;
what this cannot answer honestly it refuses.
"""

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from crucible_telemetry.analysis.newcombe import Rate, newcombe
from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.metrics.figures import Cost, Latency, Summary
from crucible_telemetry.stats import Moments, welch_t

METRICS: Final = {
    "latency_ms": "ms", "ttft": "ms", "itl": "ms", "cost_usd": "USD", "success": "rate",
}  # fmt: skip
"""What can be compared, and the unit of its figures."""


class Difference(Struct, frozen=True, kw_only=True):
    """`estimate` is treatment − control in `unit`; `values` are (control, treatment), means or rates.

    `p_value` is two-sided against no difference, None where the method has none. Without an interval
    its bounds are infinite (rates: −1, 1), and `notes` says why.
    """

    metric: str
    unit: str
    n: tuple[int, int]
    values: tuple[float, float]
    estimate: float
    interval: tuple[float, float]
    confidence: float
    p_value: float | None
    method: str
    notes: tuple[str, ...] = ()


def difference(
    metric: str, control: Summary, treatment: Summary, *, confidence: float = 0.95
) -> Difference:
    """The difference of one of `METRICS` with an interval.

    Raises ComparisonError for a metric that is none of these or was not measured, for different pools,
    for sampled experiments, and for costs where some are unknown.
    """
    _check(metric, control, treatment)
    if metric == "success":
        return _of_rates(control, treatment, confidence)
    arms = [_moments(metric, summary) for summary in (control, treatment)]
    result = welch_t(arms[0], arms[1], confidence=confidence)
    return Difference(
        metric=metric,
        unit=METRICS[metric],
        n=(arms[0].n, arms[1].n),
        values=(arms[0].mean, arms[1].mean),
        estimate=result.estimate,
        interval=result.interval,
        confidence=confidence,
        p_value=None if math.isnan(result.p_value) else result.p_value,
        method=f"difference of means, {result.test}",
        notes=(*result.notes, *_success_only(metric, control, treatment)),
    )


def check_items(
    metric: str, control: Mapping[str, int], treatment: Mapping[str, int]
) -> tuple[str, ...]:
    """Notes on what is known of the items behind the calls (item → its calls).

    Raises ComparisonError when an item has several calls in an arm: those are not independent, and an
    interval that takes them so is too narrow.
    """
    for arm, items in (("control", control), ("treatment", treatment)):
        several = sum(count > 1 for count in items.values())
        if several:
            raise ComparisonError(
                metric,
                f"{several} of the {len(items)} items of the {arm} have several calls, which are not "
                "independent; comparisons by item are not built yet",
            )
    both = len(control.keys() & treatment.keys())
    if not both:
        return ()
    return (f"{both} items ran in both arms; a comparison of pairs, not built yet, tells more",)


def _of_rates(control: Summary, treatment: Summary, confidence: float) -> Difference:
    rates = [
        Rate(of.successful, of.successful + of.failed)
        for of in (control.reliability, treatment.reliability)
    ]
    result = newcombe(rates[0], rates[1], confidence=confidence)
    left_out = control.reliability.cancelled + treatment.reliability.cancelled
    cancelled = (f"{left_out} cancelled calls are neither success nor failure",) if left_out else ()
    return Difference(
        metric="success",
        unit=METRICS["success"],
        n=result.n,
        values=(rates[0].value, rates[1].value),
        estimate=result.estimate,
        interval=result.interval,
        confidence=confidence,
        p_value=None,
        method=f"difference of rates, {result.test}",
        notes=(*result.notes, *cancelled),
    )


def _moments(metric: str, summary: Summary) -> Moments:
    """Number, mean and variance; NaN where there is too little for them."""
    measured = _measured(metric, summary)
    if isinstance(measured, Cost):
        mean, spread = measured.mean_per_request, measured.std_dev
        variance = None if spread is None else spread**2
    else:
        mean, variance = measured.mean, measured.variance
    nan = math.nan
    return Moments(
        measured.count, nan if mean is None else mean, nan if variance is None else variance
    )


def _measured(metric: str, summary: Summary) -> Cost | Latency:
    parts: dict[str, Cost | Latency] = {
        "latency_ms": summary.latency,
        "ttft": summary.streaming.ttft,
        "itl": summary.streaming.itl,
        "cost_usd": summary.cost,
    }
    return parts[metric]


def _check(metric: str, control: Summary, treatment: Summary) -> None:
    if metric not in METRICS:
        raise ComparisonError(metric, f"no such metric yet; there are {', '.join(METRICS)}")
    if control.pool != treatment.pool:
        raise ComparisonError(
            metric, f"of different operations: {control.pool!r} and {treatment.pool!r}"
        )
    for arm, summary in (("control", control), ("treatment", treatment)):
        reason = _unfit(metric, summary)
        if reason is not None:
            raise ComparisonError(metric, f"the {arm} {reason}")


def _unfit(metric: str, summary: Summary) -> str | None:
    """Why one arm has no honest figure of the metric; None when it has."""
    if summary.summary.sampling is not None:
        return "is a sample, whose calls were not drawn one by one"
    if metric == "success":
        return None if summary.reliability.total_requests else "has no operations"
    if metric == "cost_usd" and summary.cost.unpriced:
        return (
            f"has {summary.cost.unpriced} calls of unknown price beside {summary.cost.count} priced "
            "ones: the mean of these is not the mean of all"
        )
    return None if _measured(metric, summary).count else "has no value of it"


def _success_only(metric: str, control: Summary, treatment: Summary) -> tuple[str, ...]:
    """Latencies are of successes: when arms fail differently often, those are not the same calls."""
    rates = [summary.reliability.failure_rate or 0.0 for summary in (control, treatment)]
    if metric == "cost_usd" or rates[0] == rates[1]:
        return ()
    return (
        f"of calls that succeeded; {rates[0]:.2%} of the control and {rates[1]:.2%} of the treatment failed",
    )
