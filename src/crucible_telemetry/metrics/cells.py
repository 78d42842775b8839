"""What is counted of one kind of event: a cell, made from a batch in a few passes, added like a number. PURE.

A value below zero is no measurement: columns say "missing" with one, and a negative duration or cost
is kept raw by the event and left to data quality.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from crucible_telemetry.metrics.accumulators import Moments
from crucible_telemetry.metrics.sketch import Spread

K = TypeVar("K")
V = TypeVar("V")


class Key(NamedTuple):
    """Which cell an event is counted in."""

    name: str
    flags: int
    """``ENDS | LLM | WRAPS | RANKS`` of the event."""
    outcome: int
    model: int


class Tally(Struct, frozen=True, gc=False):
    """Exact moments of a measurement, and its spread for quantiles."""

    moments: Moments
    spread: Any
    """A `Spread`; the tallies of one board have all the same kind."""

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(self.moments.plus(other.moments), self.spread.plus(other.spread))

    def quantiles(self, fractions: Iterable[float]) -> list[float]:
        """Type 7 quantiles in the unit of the values."""
        spread: Spread = self.spread
        return spread.quantiles(list(fractions), self.moments.minimum, self.moments.maximum)


class Cell(Struct, frozen=True, kw_only=True):
    """Everything the board knows of the events of one key.

    `tallies`: ``latency_ns cost_pico ttft_ns itl_ns``, those that were measured; `tokens`: moments of
    ``prompt completion total cached reasoning``; `errors`: events by error id; `with_tokens`: events
    with any token count; `unpriced`: calls to a model that should have a cost and have none;
    `fields`: tallies of named fields, in units of 2⁻¹⁰⁷⁴; `left_out`: their NaNs and infinities.
    `paced_tokens`, `paced_ns`: tokens made (reported, else marked by chunks) and latency of the events that have both.
    """

    events: int = 0
    tallies: dict[str, Tally] = {}
    tokens: dict[str, Moments] = {}
    errors: dict[int, int] = {}
    fields: dict[str, Tally] = {}
    left_out: dict[str, int] = {}
    with_tokens: int = 0
    unpriced: int = 0
    paced_tokens: int = 0
    paced_ns: int = 0

    def plus(self, other: "Cell") -> "Cell":
        """Both together; neither is touched."""
        return Cell(
            events=self.events + other.events,
            tallies=added(self.tallies, other.tallies, Tally.plus),
            tokens=added(self.tokens, other.tokens, Moments.plus),
            errors=added(self.errors, other.errors, int.__add__),
            fields=added(self.fields, other.fields, Tally.plus),
            left_out=added(self.left_out, other.left_out, int.__add__),
            with_tokens=self.with_tokens + other.with_tokens,
            unpriced=self.unpriced + other.unpriced,
            paced_tokens=self.paced_tokens + other.paced_tokens,
            paced_ns=self.paced_ns + other.paced_ns,
        )


def added(left: dict[K, V], right: dict[K, V], add: Callable[[V, V], V]) -> dict[K, V]:
    """The union of two mappings, values of common keys added."""
    if not left or not right:
        return left or right
    union = {**left, **right}
    for key in left.keys() & right.keys():
        union[key] = add(left[key], right[key])
    return union
