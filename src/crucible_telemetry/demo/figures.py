"""What was measured in a compressed replay, in the seconds of the trace."""

from msgspec import Struct
from msgspec.structs import asdict

from crucible_telemetry.collect.progress import Counts
from crucible_telemetry.demo.traces import Trace
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stats import Moments


class Figures(Struct, frozen=True, kw_only=True):
    """The demo's figures of one experiment; seconds and milliseconds as in the trace, None: none yet."""

    events: int
    calls: int
    mean_s: float | None
    p50_s: float | None
    p99_s: float | None
    ttft_mean_s: float | None
    ttft_p50_s: float | None
    itl_p50_ms: float | None
    output_tokens: int | None
    success_rate: float | None


def figures(summary: Summary, speed: float) -> Figures:
    """The summary's times multiplied by the factor they were compressed by."""
    latency, ttft = summary.latency, summary.streaming.ttft
    return Figures(
        events=summary.summary.total_events,
        calls=summary.reliability.total_requests,
        mean_s=_scaled(latency.mean, speed / 1e3),
        p50_s=_scaled(latency.p50, speed / 1e3),
        p99_s=_scaled(latency.p99, speed / 1e3),
        ttft_mean_s=_scaled(ttft.mean, speed / 1e3),
        ttft_p50_s=_scaled(ttft.p50, speed / 1e3),
        itl_p50_ms=_scaled(summary.streaming.itl.p50, speed),
        output_tokens=summary.tokens.total_completion,
        success_rate=summary.reliability.success_rate,
    )


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def moments(summary: Summary, speed: float) -> Moments:
    """Number, mean (s) and variance (s²) of the latencies, in the trace's time; NaN where undefined."""
    latency, factor = summary.latency, speed / 1e3
    mean = float("nan") if latency.mean is None else latency.mean * factor
    variance = float("nan") if latency.variance is None else latency.variance * factor**2
    return Moments(latency.count, mean, variance)


class Reproduced(Struct, frozen=True):
    """A replayed figure beside the published one, both in `unit`: ``"s"``, ``"tokens"`` or ``"rate"``."""

    name: str
    replayed: float | None
    published: float
    unit: str = "s"

    @property
    def error(self) -> float | None:
        """How far the replay is off, relative to what was published."""
        return None if self.replayed is None else self.replayed / self.published - 1


def reproduced(shown: Figures, trace: Trace) -> list[Reproduced]:
    """The figures that the publishers give too."""
    published = trace.published
    tokens = round(published.output_tokens_mean * len(trace.calls))
    return [
        Reproduced("mean latency", shown.mean_s, published.mean_s),
        Reproduced("p50 latency", shown.p50_s, published.p50_s),
        Reproduced("p99 latency", shown.p99_s, published.p99_s),
        Reproduced("mean time to first token", shown.ttft_mean_s, published.ttft_mean_s),
        Reproduced("p50 time to first token", shown.ttft_p50_s, published.ttft_p50_s),
        Reproduced("output tokens", shown.output_tokens, tokens, "tokens"),
        Reproduced("success rate", shown.success_rate, 1 - published.error_rate, "rate"),
    ]


def law(counts: Counts) -> tuple[bool, str]:
    """Whether every emitted event is accounted for, and the sum written out (zeros left out)."""
    parts = asdict(counts)
    emitted = parts.pop("emitted")
    terms = [f"{number} {name}" for name, number in parts.items() if number or name == "stored"]
    holds = emitted == counts.accounted
    return holds, f"{emitted} emitted {'=' if holds else '≠'} {' + '.join(terms)}"
