"""Names of what is compared, and what kind of figure each is. PURE."""

import re
from collections.abc import Collection
from typing import Final, Literal

from msgspec import Struct

from crucible_telemetry.errors import ComparisonError
from crucible_telemetry.events.columns import TOKENS

Kind = Literal["mean", "rate", "time", "ratio"]

_TIMES: Final = ("latency_ms", "ttft")
_COUNTS: Final = {"tokens": "total", **{f"{name}_tokens": name for name in TOKENS}}
_QUANTILE: Final = re.compile(r"(.+)\.p(\d+(?:\.\d+)?)")


class Metric(Struct, frozen=True):
    """One metric by name; `source` says where its numbers are, `key` which of them, `q` which quantile."""

    name: str
    kind: Kind
    source: Literal["score", "field", "time", "cost", "tokens", "itl", "success", "ratio", "custom"]
    key: str
    unit: str = ""
    q: float | None = None

    @property
    def needs_events(self) -> bool:
        """Whether trials alone do not say it."""
        return self.source not in ("score", "success") and self.key != "latency_ms"

    @property
    def is_cost(self) -> bool:
        """Whether less of it is better: times, money, tokens. What users measure themselves is taken as a gain."""
        return self.source not in ("score", "success", "field", "custom")


def metric_of(name: str, custom: Collection[str] = ()) -> Metric:
    """The metric a name means: a score, a known one, a quantile of a time, one of `custom`, else a measured field.

    ``"custom.NAME"`` and ``"field.NAME"`` say which of the last two is meant, whatever else is called so.
    """
    if not isinstance(name, str) or not name:
        raise ComparisonError(
            str(name), "want a name, as 'score.correct', 'cost_usd', 'latency_ms'"
        )
    if name.startswith("score."):
        return Metric(name, "mean", "score", name.removeprefix("score."))
    if name.startswith("custom.") or (name in custom and name not in _KNOWN):
        return Metric(name, "mean", "custom", name.removeprefix("custom."))
    found = _QUANTILE.fullmatch(name)
    if found is not None:
        return _quantile(name, found[1], float(found[2]) / 100)
    known = _KNOWN.get(name)
    return Metric(name, "mean", "field", name.removeprefix("field.")) if known is None else known


def _quantile(name: str, of: str, q: float) -> Metric:
    if of not in _TIMES or not 0 < q < 1:
        raise ComparisonError(name, f"quantiles are of {' and '.join(_TIMES)}, between p0 and p100")
    return Metric(name, "time", "time", of, "ms", q)


_KNOWN: Final = {
    "cost_usd": Metric("cost_usd", "mean", "cost", "cost_usd", "USD"),
    "cost_per_success": Metric("cost_per_success", "ratio", "ratio", "cost_usd", "USD"),
    "success": Metric("success", "rate", "success", "success"),
    "itl": Metric("itl", "mean", "itl", "itl", "ms"),
    **{name: Metric(name, "time", "time", name, "ms") for name in _TIMES},
    **{name: Metric(name, "mean", "tokens", key, "tokens") for name, key in _COUNTS.items()},
}
