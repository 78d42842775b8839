"""The figures users see, as frozen structs; one set of names for live view and metrics at rest. PURE.

Counts are 0 and figures None where nothing was measured. Deviations are the sample ones (n − 1),
percentiles type 7 (linear interpolation; Hyndman & Fan 1996). Times are milliseconds, money US dollars.
"""

from html import escape
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from crucible_telemetry.stats.verdicts import Verdict


class Sampling(Struct, frozen=True, kw_only=True):
    """What was left out on purpose: figures of a sample are of a sample.

    `rule`: ``"rate"`` (whole traces, by hash) or ``"strategy"`` (a callable decided, perhaps beside a
    rate); `rate`: the share of traces asked for; `kept` and `left_out`: events; `share`: the share of
    events kept, None before any.
    """

    rule: str
    rate: float
    kept: int
    left_out: int
    share: float | None


class Privacy(Struct, frozen=True, kw_only=True):
    """What may be kept of events: `level` is ``"none"``, ``"metadata"`` or ``"full"``.

    `redacted`: values that were replaced by length and hash, or left out, of all events collected.
    """

    level: str
    redacted: int


class Timing(Struct, frozen=True, kw_only=True):
    """When an experiment ran: what the figures need and events do not say.

    `first_us`, `last_us`: time of the first and last event, µs since the epoch (None without events);
    `active_s`, `paused_s`: seconds spent running and paused; `marks`: further counts by name.
    """

    first_us: int | None = None
    last_us: int | None = None
    active_s: float = 0.0
    paused_s: float = 0.0
    marks: dict[str, int] = {}
    sampling: Sampling | None = None
    privacy: Privacy | None = None


class Overview(Struct, frozen=True, kw_only=True):
    """How much there is, and from when.

    `time_range`: (first, last) event in µs since the epoch; `duration_seconds` lies between these two;
    `active_seconds` leaves pauses out; `event_types`: names of events, sorted; `marks` as in `Timing`;
    `sampling` is None where nothing was left out by a rate or strategy; `privacy` says what was redacted.
    """

    total_events: int = 0
    time_range: tuple[int, int] | None = None
    duration_seconds: float | None = None
    active_seconds: float = 0.0
    paused_seconds: float = 0.0
    event_types: tuple[str, ...] = ()
    marks: dict[str, int] = {}
    sampling: Sampling | None = None
    privacy: Privacy | None = None


class Spread(Struct, frozen=True, kw_only=True):
    """How the values of something lie: number, mean, quantiles (type 7), sample deviation; None without any."""

    count: int = 0
    mean: float | None = None
    median: float | None = None
    min: float | None = None
    max: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    std_dev: float | None = None
    variance: float | None = None


class Latency(Spread, frozen=True, kw_only=True):
    """A time in ms over successful operations of the pool (`variance` in ms²).

    `by_outcome`: the same for each outcome seen, ``"ok"`` included; empty inside itself and in
    `Streaming`.
    """

    by_outcome: dict[str, "Latency"] = {}


class ModelCost(Struct, frozen=True, kw_only=True):
    """Cost in USD of one model's operations; `unpriced` as in `Cost`."""

    count: int = 0
    total: float | None = None
    mean_per_request: float | None = None
    unpriced: int = 0


class Cost(Struct, frozen=True, kw_only=True):
    """Cost in USD over every end of an operation that wraps no counted one, whatever its outcome.

    `count`: operations with a known cost, zero included; `unpriced`: calls to a model that succeeded
    or have tokens, and have no cost. `cost_per_success`: total over the successful operations of the
    pool, unpriced ones left out (they would make a success look cheap); None without any. `by_model` goes by model name; ``"(unknown)"`` has the rest.
    """

    count: int = 0
    total: float | None = None
    mean_per_request: float | None = None
    median_per_request: float | None = None
    min: float | None = None
    max: float | None = None
    std_dev: float | None = None
    cost_per_1k_requests: float | None = None
    cost_per_1m_requests: float | None = None
    by_model: dict[str, ModelCost] = {}
    cost_per_success: float | None = None
    unpriced: int = 0


class Reliability(Struct, frozen=True, kw_only=True):
    """How operations of the pool ended.

    `failed` includes `timeouts`; cancelled operations and those of unknown outcome are neither
    successful nor failed. `success_rate` = successful / (successful + failed), in 0 … 1, with its
    95 % Wilson interval; `error_types`: events by error type. `mtbf`: active seconds per failure;
    `requests_per_failure`: `total_requests` per failure; both None without failures. `sla_99`,
    `sla_999`, `sla_9999`: whether the point estimate reaches 99, 99.9, 99.99 %; what can be claimed of
    them is `verdict`.
    """

    total_requests: int = 0
    successful: int = 0
    failed: int = 0
    cancelled: int = 0
    timeouts: int = 0
    success_rate: float | None = None
    success_rate_ci: tuple[float, float] | None = None
    failure_rate: float | None = None
    error_types: dict[str, int] = {}
    mtbf: float | None = None
    requests_per_failure: float | None = None
    sla_99: bool | None = None
    sla_999: bool | None = None
    sla_9999: bool | None = None

    def verdict(self, at_least: float) -> "Verdict":
        """Whether the success rate is at least that (0 … 1): ``"met"``, ``"missed"`` or ``"undecided"``.

        By the 95 % interval of the rate: 100 of 100 does not show 99 %, 1,000 of 1,000 does. Nothing is
        decided without an operation. ConfigurationError where `at_least` is no rate.
        """
        from crucible_telemetry.stats.arguments import share  # noqa: PLC0415 - few ask
        from crucible_telemetry.stats.verdicts import reaches  # noqa: PLC0415 - few ask

        share("at_least", at_least)
        if self.success_rate_ci is None:
            return "undecided"
        return reaches(self.success_rate_ci, at_least)

    @property
    def sla_99_verdict(self) -> "Verdict":
        """`verdict` on 99 %."""
        return self.verdict(0.99)

    @property
    def sla_999_verdict(self) -> "Verdict":
        """`verdict` on 99.9 %."""
        return self.verdict(0.999)

    @property
    def sla_9999_verdict(self) -> "Verdict":
        """`verdict` on 99.99 %."""
        return self.verdict(0.9999)


class ModelTokens(Struct, frozen=True, kw_only=True):
    """Tokens of one model's operations; `count`: operations with any token count."""

    count: int = 0
    total_prompt: int | None = None
    total_completion: int | None = None
    total: int | None = None


class Tokens(Struct, frozen=True, kw_only=True):
    """Tokens over every end of an operation that wraps no counted one, whatever its outcome.

    `count`: operations with any token count; means are over the operations that report the kind.
    `cached` and `reasoning` are sums, and subsets of prompt and completion.
    """

    count: int = 0
    total_prompt: int | None = None
    total_completion: int | None = None
    total: int | None = None
    mean_prompt: float | None = None
    mean_completion: float | None = None
    mean_total: float | None = None
    cached: int | None = None
    reasoning: int | None = None
    by_model: dict[str, ModelTokens] = {}


class Streaming(Struct, frozen=True, kw_only=True):
    """Streams of successful operations of the pool.

    `ttft`: time to first token, `itl`: inter-token latency (one value per call, its mean), in ms.
    `tokens_per_second`: all completion tokens over all seconds of latency, of the operations that
    report both; where usage was not reported, the tokens that their chunks were marked with.
    """

    ttft: Latency = Latency()
    itl: Latency = Latency()
    tokens_per_second: float | None = None


class FieldFigures(Spread, frozen=True, kw_only=True):
    """A named field over all events that have it, in its own unit (`variance` in its square).

    `left_out`: NaNs and infinities, in no other figure. `variance` is inf where it is beyond floats.
    """

    left_out: int = 0


class EventFigures(Struct, frozen=True, kw_only=True):
    """The figures of one event name; the pool rule is applied within it (`pool` says the result)."""

    latency: Latency
    cost: Cost
    reliability: Reliability
    tokens: Tokens
    streaming: Streaming
    pool: str
    billed: str
    fields: dict[str, FieldFigures] = {}


class Events(Struct, frozen=True, kw_only=True):
    """Events by name, most frequent first; `by_event` has figures per name when asked for."""

    counts: dict[str, int] = {}
    by_event: dict[str, EventFigures] = {}


class Summary(Struct, frozen=True, kw_only=True):
    """Everything measured of one experiment, over the events ``since_seq < seq <= upto_seq``.

    `pool`: which operations latency, reliability and streaming are of; `billed`: cost and tokens.
    `custom`: results of the custom metrics; `fields`: the named fields of `metrics_config`;
    `switched_off`: parts that it asks not to show, which are empty here. `exact`: quantiles are of the
    values themselves; else they lie within `quantile_error` (relative) of these. All else is the same
    to the bit, live or at rest.
    """

    summary: Overview
    latency: Latency
    cost: Cost
    reliability: Reliability
    tokens: Tokens
    streaming: Streaming
    events: Events
    custom: dict[str, Any]
    fields: dict[str, FieldFigures] = {}
    switched_off: tuple[str, ...] = ()
    pool: str
    billed: str
    upto_seq: int
    since_seq: int
    exact: bool
    quantile_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def __str__(self) -> str:
        """A table for a terminal; see `metrics.table`."""
        from crucible_telemetry.metrics.table import rendered  # noqa: PLC0415 - it needs this module

        return rendered(self)

    def _repr_html_(self) -> str:
        """The same table in a notebook."""
        return f"<pre>{escape(str(self))}</pre>"
