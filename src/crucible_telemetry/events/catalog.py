"""The known events: category, unit of a plain `duration`, what ends an operation, what wraps others. PURE.

One table by prefix (longest first). What nobody registered is captured all the same: its unit is
nanoseconds, and its suffix says whether it ends an operation.
"""

from functools import lru_cache
from typing import Final

from msgspec import Struct

ENDINGS: Final = (
    "stop", "exception", "complete", "completed", "failed", "error", "timeout", "cancelled",
)  # fmt: skip
"""Last parts of a name that end an operation."""

NS_PER: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds in each unit a duration may come in."""


class Family(Struct, frozen=True):
    """Events below one prefix: category, unit of plain durations, and whether they wrap others.

    `latency_unit`: of a plain `latency`, which is no duration where this is None.
    """

    prefix: str
    category: str | None
    unit: str = "ns"
    wraps: bool = False
    latency_unit: str | None = None


FAMILIES: Final = (
    Family("llm.", "llm"),
    Family("req_llm.request.", "llm"),
    Family("req_llm.", "llm"),
    Family("altar.ai.", "llm"),
    Family("gen_ai.", "llm"),
    Family("crucible_ensemble.model.", "llm", unit="us"),
    Family("crucible_ensemble.", "ensemble", unit="us", wraps=True),
    Family("ensemble.predict.", "ensemble", unit="us", wraps=True),
    Family("ensemble.", "ensemble", wraps=True),
    Family("crucible_hedging.", "hedging", unit="ms", wraps=True, latency_unit="ms"),
    Family("hedging.", "hedging", wraps=True),
    Family("research_harness.", "task", unit="ms", wraps=True),
    Family("altar.tool.", "tools"),
    Family("crucible_trace.", "trace"),
    Family("causal_trace.", "trace"),
)
INNER: Final = frozenset({"crucible_hedging.request.cancelled"})
"""Names with the suffix of an end that end nothing: the slower of two requests was cancelled, the
request itself goes on to its own `.stop`."""
_NONE: Final = Family("", None)


class Known(Struct, frozen=True):
    """What the table says of one event name."""

    name: str
    category: str | None
    unit: str
    wraps: bool
    ends: bool
    suffix: str
    latency_unit: str | None = None


@lru_cache(maxsize=4096)
def known(name: str) -> Known:
    """The row of an event name; never fails."""
    fitting = (family for family in FAMILIES if name.startswith(family.prefix))
    family = max(fitting, key=lambda f: len(f.prefix), default=_NONE)
    suffix = name.rpartition(".")[2]
    ends = suffix in ENDINGS and name not in INNER
    return Known(
        name, family.category, family.unit, family.wraps, ends, suffix, family.latency_unit
    )
