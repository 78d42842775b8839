"""Spans: a start, an end, what was measured between, and a place in the tree.

A span is a scope (`scope.py`): what is emitted inside carries its id. It belongs to the experiment in
whose scope it started, and to that experiment's state at the start.
"""

import functools
import re
from collections.abc import Mapping
from copy import copy
from typing import Any, Final, Self, cast

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.events import bus, scope as scopes
from crucible_telemetry.events.event import event_name
from crucible_telemetry.events.known import known
from crucible_telemetry.events.mailbox import Began, Mailbox, log
from crucible_telemetry.events.odd import MAX_KEY, marked_repr, plain_key, plain_mapping
from crucible_telemetry.events.raised import in_words
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.scope import (
    Scope,
    chain,
    current_scope,
    enter,
    leave,
    span_hex,
    trace_hex,
)
from crucible_telemetry.events.shape import Link
from crucible_telemetry.events.usage import CHUNK_TOKENS, FIELDS, usage_counts

LLM_REQUEST: Final = "llm.request"
_COUNTED: Final = frozenset({*FIELDS, "cost_usd", "cost", "total_cost"})
_SHORT: Final = {
    "cached": "cached_tokens",
    "cache_write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
}
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-|\Z)"
)
"""W3C trace context; later versions may append fields, and ids of zeros alone are none."""


@functools.lru_cache(maxsize=4096)
def _names(event: str) -> tuple[str, str, str]:
    return f"{event}.start", f"{event}.stop", f"{event}.exception"


class Span(Scope):
    """A running span; use it with `with` or `async with`, or see `span`.

    `duration_ns` is None until it has ended. One that is entered again begins anew: new id, its first
    metadata, nothing measured. Entered while it is still open, it begins a second span beside itself,
    which `as` gives and whose end is the innermost exit.
    """

    __slots__ = (
        "began", "chunks", "continues", "duration_ns", "event", "first_chunk_ns", "first_tokens", "given",
        "last_chunk_ns", "measurements", "metadata", "parent_id", "span_id", "started_ns", "tokens",
        "trace", "twins", "wraps",
    )  # fmt: skip

    def __init__(
        self,
        event: Name,
        metadata: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> None:
        name = event if type(event) is str else event_name(event)
        self.event = name if len(name) <= MAX_KEY else plain_key(name)  # it is kept by caches
        self.given, self.continues = metadata, traceparent
        self.twins: list[Span] | None = None
        self._renew()

    def _renew(self) -> None:
        """As it was made: not begun, under an id of its own."""
        # Its own innermost span is itself, which `span_of` knows: a reference to itself would leave
        # every span to the garbage collector.
        self.box, self.trial, self.link, self.span, self.outer = None, 0, None, None, None
        given = self.given
        self.metadata: dict[str, Any] = {} if given is None else dict(plain_mapping(given))
        self.measurements: dict[str, Any] = {}
        self.span_id = scopes.new_id()  # by its module: a fork gives the child another
        self.parent_id: int | None = None
        self.trace: int | str = self.span_id
        if self.continues is not None:
            self._adopt(self.continues)
        self.began: Began | None = None
        self.wraps = False
        self.chunks = self.tokens = self.first_tokens = 0
        self.first_chunk_ns = self.last_chunk_ns = 0
        self.started_ns = 0
        self.duration_ns: int | None = None

    def __repr__(self) -> str:
        words = [f"{type(self).__name__} {self.event}", self._age()]
        for key in ("provider", "model"):
            value = self.metadata.get(key)
            if type(value) is str:
                words.append(f"{key}={value}")
        return f"<{', '.join(words)}, span {span_hex(self.span_id)}>"

    def _age(self) -> str:
        if self.link is None:
            return "not begun"
        if self.duration_ns is None:
            return f"open {(monotonic_ns() - self.started_ns) / 1e9:.3f} s"
        return f"took {self.duration_ns / 1e9:.3f} s"

    # -- what users call ------------------------------------------------------------------------

    def measure(self, **numbers: float) -> None:
        """Add measurements to the end event; units belong in the names (`size_bytes`, `wait_ms`)."""
        self.measurements.update(numbers)

    def annotate(self, **metadata: Any) -> None:
        """Add metadata to the end event."""
        self.metadata.update(metadata)

    def chunk(self, tokens: int = 1) -> None:
        """Mark a streamed chunk of `tokens` tokens as just arrived.

        The end event gets `ttft` (ns to the first chunk) and `itl` (ns per token after the first
        chunk, the mean of the call). What is no count counts as one token and leaves a mark, `odd_chunk`.
        """
        now_ns = monotonic_ns()
        if type(tokens) is not int or tokens < 0:
            # Its type alone: a text given here is what the model said.
            self.measurements["odd_chunk"] = marked_repr(type(tokens))
            tokens = 1
        if not self.chunks:
            self.first_chunk_ns = now_ns
            self.first_tokens = tokens
        self.last_chunk_ns = now_ns
        self.chunks += 1
        self.tokens += tokens

    @property
    def traceparent(self) -> str:
        """The W3C trace context to send along with a request made in this span."""
        return f"00-{trace_hex(self.trace)}-{span_hex(self.span_id)}-01"

    # -- start and end --------------------------------------------------------------------------

    def __enter__(self) -> Self:
        span = self if self.link is None else self._reused()
        span.start(current_scope.get())
        enter(span)
        return span

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        full = self._left(error)
        if full is not None:
            full.attendant.drain_here()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        full = self._left(error)
        if full is not None:
            await full.attendant.wait_for_room()

    def _left(self, error: BaseException | None) -> Mailbox | None:
        span = self._innermost() if self.twins else self
        if not leave(span) and span.box is not None:
            span.box.scope_leaks += 1
        return span.finish(error)

    def _reused(self) -> Self:
        """Itself anew, or a twin while it is open, here or elsewhere, or a scope here lies in it."""
        if self.duration_ns is not None and not any(scope is self for scope in chain()):
            self._renew()
            return self
        twin = copy(self)
        twin.twins = None
        twin._renew()
        self.twins = [*(self.twins or ()), twin]
        return twin

    def _innermost(self) -> "Span":
        """Which of itself and its twins was entered last here."""
        twins = self.twins or []
        for scope in chain():
            if scope is self and self.duration_ns is None:
                return self
            for twin in twins:
                if scope is twin:
                    twins.remove(twin)
                    return twin
        return self if self.duration_ns is None else twins.pop()

    def start(self, outer: Scope | None) -> None:
        """Emit the start event as a child of `outer`; enters no scope."""
        self.outer = outer
        if outer is not None:
            self.box, self.trial = outer.box, outer.trial
            parent = span_of(outer)
            if parent is not None and self.parent_id is None:
                self.parent_id, self.trace = parent.span_id, parent.trace
        span_id, trace = self.span_id, self.trace
        self.link = (None, span_id, trace, False)
        self.started_ns = monotonic_ns()
        if self.box is None and bus.quiet():
            return
        start = _names(self.event)[0]
        self.began = bus.listeners(outer, start)
        for box in self.began.heard_by:
            box.open_spans[span_id] = self
        own: Link = (span_id, self.parent_id, trace, False)
        full = bus.emit_span(self, start, {}, self.metadata, own, self.began)
        if full is not None:
            full.attendant.drain_here()

    def finish(self, error: BaseException | None = None) -> Mailbox | None:
        """Emit the end event; a second time does nothing. Returns a mailbox that is full now."""
        if self.duration_ns is not None:
            return None
        ended_ns = monotonic_ns()
        self.duration_ns = ended_ns - self.started_ns
        began = self.began
        for box in () if began is None else began.heard_by:
            box.open_spans.pop(self.span_id, None)
        if self.box is None and bus.quiet():
            return None
        measurements: dict[str, Any] = {"duration": self.duration_ns}
        if self.chunks:
            self._streamed(measurements)
        if self.measurements:
            measurements.update(self.measurements)
        if self.outer is not None:
            self._tell_parent(span_of(self.outer))
        _, stop, exception = _names(self.event)
        link: Link = (self.span_id, self.parent_id, self.trace, self.wraps)
        if error is None or isinstance(error, GeneratorExit):
            return bus.emit_span(self, stop, measurements, self.metadata, link, began)
        metadata = {**self.metadata, **in_words(error)}
        return bus.emit_span(self, exception, measurements, metadata, link, began)

    def step(self) -> Scope:
        """A scope for one step of a generator that runs inside this span."""
        return Scope(self.box, self.trial, self.link, self, current_scope.get())

    def _streamed(self, figures: dict[str, Any]) -> None:
        try:
            figures["ttft"] = self.first_chunk_ns - self.started_ns
            figures["chunks"] = self.chunks
            figures[CHUNK_TOKENS] = self.tokens
            later = self.tokens - self.first_tokens
            if later > 0:
                figures["itl"] = (self.last_chunk_ns - self.first_chunk_ns) / later
        except Exception as error:  # noqa: BLE001 - no figure is worth the end event
            figures["odd_chunk"] = marked_repr(type(error))

    def _tell_parent(self, parent: "Span | None") -> None:
        """The spans around a counted one must not be counted again."""
        # One of another experiment does not hold what this one counts.
        if (
            parent is not None
            and (parent.box is None or parent.box is self.box)
            and (
                self.wraps
                or known(_names(self.event)[1]).category == "llm"
                or not _COUNTED.isdisjoint(self.measurements)
            )
        ):
            parent.wraps = True

    def _adopt(self, traceparent: str) -> None:
        found = _TRACEPARENT.match(traceparent) if isinstance(traceparent, str) else None
        if found is None:
            size = len(traceparent) if isinstance(traceparent, str) else 0
            log.warning("a traceparent of %d characters is not W3C trace context; ignored", size)
        else:
            self.trace, self.parent_id = found[1], int(found[2], 16)


def span_of(scope: Scope) -> Span | None:
    """The innermost span of a scope: itself when it is one."""
    return scope if isinstance(scope, Span) else cast("Span | None", scope.span)


class LlmCall(Span):
    """A span around one call to a language model, event ``llm.request``; see `llm_call`."""

    __slots__ = ()

    def usage(self, usage: Any = None, **counts: int | None) -> None:
        """Record token usage: a client's usage object or mapping, or counts by name.

        Names: `input_tokens`, `output_tokens`, `cached` and `cache_write` (of the input), `reasoning`
        (of the output).
        """
        found: dict[str, Any] = {} if usage is None else usage_counts(usage)
        unknown = counts.keys() - {*FIELDS, *_SHORT}
        if unknown:
            allowed = ", ".join((*FIELDS, *_SHORT))
            raise TypeError(f"usage() knows {allowed}; not {', '.join(sorted(unknown))}")
        for key, value in counts.items():
            if value is not None:
                found[_SHORT.get(key, key)] = value
        self.measurements.update(found)

    def cost(self, usd: float) -> None:
        """Record what the call cost, in US dollars."""
        self.measurements["cost_usd"] = usd


def span(
    event: Name, metadata: Mapping[str, Any] | None = None, *, traceparent: str | None = None
) -> Span:
    """A span: ``with ct.span("tool.search", {"query_id": 7}) as span: …`` (or ``async with``).

    Emits `event.start`, then `event.stop`, or `event.exception` when left by an exception (which goes
    on); `duration` in ns on a monotonic clock; the start metadata is repeated on the end event.
    `traceparent` continues a trace begun elsewhere (W3C).
    """
    return Span(event, metadata, traceparent)


def llm_call(
    *,
    provider: str | None = None,
    model: str | None = None,
    traceparent: str | None = None,
    **metadata: Any,
) -> LlmCall:
    """The span of one LLM call, event ``llm.request``: ``async with ct.llm_call(provider=, model=) as call``.

    Inside: `call.chunk()` for each streamed chunk, `call.usage(response.usage)`, `call.cost(usd)`.
    """
    return LlmCall(LLM_REQUEST, {"provider": provider, "model": model, **metadata}, traceparent)


def current_span() -> Span | None:
    """The innermost span here; its `traceparent` goes out with requests."""
    scope = current_scope.get()
    return None if scope is None else span_of(scope)
