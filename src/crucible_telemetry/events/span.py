"""Spans: a start, an end, what was measured between, and a place in the tree.

A span is a scope (`scope.py`): what is emitted inside carries its id. It belongs to the experiment in
whose scope it started, and to that experiment's state at the start.
"""

import functools
import re
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.events import bus, scope as scopes
from crucible_telemetry.events.catalog import known
from crucible_telemetry.events.event import event_name
from crucible_telemetry.events.mailbox import Began, Mailbox, log
from crucible_telemetry.events.odd import MAX_KEY, plain_key, plain_mapping
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.scope import (
    Scope,
    current_scope,
    enter,
    leave,
    span_hex,
    trace_hex,
)
from crucible_telemetry.events.shape import Link
from crucible_telemetry.events.usage import FIELDS, usage_counts

P = ParamSpec("P")
R = TypeVar("R")

LLM_REQUEST: Final = "llm.request"
_COUNTED: Final = frozenset({*FIELDS, "cost_usd", "cost", "total_cost"})
_MAX_FRAMES: Final = 20
_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-|\Z)"
)
"""W3C trace context; later versions may append fields, and ids of zeros alone are none."""


@functools.lru_cache(maxsize=4096)
def _names(event: str) -> tuple[str, str, str]:
    return f"{event}.start", f"{event}.stop", f"{event}.exception"


class Span(Scope):
    """A running span; use it with `with` or `async with`, or see `span`.

    `duration_ns` is None until it has ended.
    """

    __slots__ = (
        "began", "chunks", "duration_ns", "event", "first_chunk_ns", "first_tokens", "last_chunk_ns",
        "measurements", "metadata", "parent_id", "span_id", "started_ns", "tokens", "trace", "wraps",
    )  # fmt: skip

    def __init__(
        self,
        event: Name,
        metadata: Mapping[str, Any] | None = None,
        traceparent: str | None = None,
    ) -> None:
        # Its own innermost span is itself, which `span_of` knows: a reference to itself would leave
        # every span to the garbage collector.
        self.box, self.trial, self.link, self.span, self.outer = None, 0, None, None, None
        name = event if type(event) is str else event_name(event)
        self.event = name if len(name) <= MAX_KEY else plain_key(name)  # it is kept by caches
        self.metadata: dict[str, Any] = {} if metadata is None else dict(plain_mapping(metadata))
        self.measurements: dict[str, Any] = {}
        self.span_id = scopes.new_id()  # by its module: a fork gives the child another
        self.parent_id: int | None = None
        self.trace: int | str = self.span_id
        if traceparent is not None:
            self._adopt(traceparent)
        self.began: Began | None = None
        self.wraps = False
        self.chunks = self.tokens = self.first_tokens = 0
        self.first_chunk_ns = self.last_chunk_ns = 0
        self.started_ns = 0
        self.duration_ns: int | None = None

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
        chunk, the mean of the call).
        """
        now_ns = monotonic_ns()
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
        self.start(current_scope.get())
        enter(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        if not leave(self) and self.box is not None:
            self.box.scope_leaks += 1
        full = self.finish(error)
        if full is not None:
            full.attendant.drain_here()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, frames: object) -> None:
        if not leave(self) and self.box is not None:
            self.box.scope_leaks += 1
        full = self.finish(error)
        if full is not None:
            await full.attendant.wait_for_room()

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
        metadata = {**self.metadata, **_failure(error)}
        return bus.emit_span(self, exception, measurements, metadata, link, began)

    def step(self) -> Scope:
        """A scope for one step of a generator that runs inside this span."""
        return Scope(self.box, self.trial, self.link, self, current_scope.get())

    def _streamed(self, figures: dict[str, Any]) -> None:
        figures["ttft"] = self.first_chunk_ns - self.started_ns
        figures["chunks"] = self.chunks
        figures["chunk_tokens"] = self.tokens
        later = self.tokens - self.first_tokens
        if later > 0:
            figures["itl"] = (self.last_chunk_ns - self.first_chunk_ns) / later

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
        found = _TRACEPARENT.match(traceparent)
        if found is None:
            log.warning("traceparent %r is not W3C trace context; ignored", traceparent)
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

        Names: `input_tokens`, `output_tokens`, `cached` (of the input), `reasoning` (of the output).
        """
        found: dict[str, Any] = {} if usage is None else usage_counts(usage)
        aliases = {"cached": "cached_tokens", "reasoning": "reasoning_tokens"}
        unknown = counts.keys() - {*FIELDS, *aliases}
        if unknown:
            allowed = ", ".join((*FIELDS, *aliases))
            raise TypeError(f"usage() knows {allowed}; not {', '.join(sorted(unknown))}")
        for key, value in counts.items():
            if value is not None:
                found[aliases.get(key, key)] = value
        self.measurements.update(found)

    def cost(self, usd: float) -> None:
        """Record what the call cost, in US dollars."""
        self.measurements["cost_usd"] = usd


def _failure(error: BaseException) -> dict[str, Any]:
    import traceback  # noqa: PLC0415 - only a failing call pays for it

    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    return {
        "kind": type(error).__name__,
        "error": _said(error),
        "frames": [f"{frame.name}:{frame.lineno}" for frame in frames],
    }


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - a user's __str__ must not hide the user's error
        return f"<{type(worse).__name__} in its str>"


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


def bind(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` with the present scope, trial and span, for executors, thread pools and callbacks.

    Each call runs in a fresh copy of the context, so calls may overlap. A coroutine function runs in
    the task that awaits it, inside the bound scope.
    """
    import inspect  # noqa: PLC0415 - keeps the import of the package short

    if inspect.iscoroutinefunction(fn):
        return cast("Callable[P, R]", _bind_async(fn))
    context = copy_context()

    @functools.wraps(fn)
    def bound(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(fn, *args, **kwargs)

    return bound


def _bind_async(fn: Callable[..., Any]) -> Callable[..., Any]:
    here = current_scope.get()

    @functools.wraps(fn)
    async def bound(*args: Any, **kwargs: Any) -> Any:
        outer = current_scope.get()
        if here is None:  # bound outside every scope: the caller's is not its own
            scope = Scope(None, 0, None, None, outer)
        else:
            scope = Scope(here.box, here.trial, here.link, span_of(here), outer)
        enter(scope)
        try:
            return await fn(*args, **kwargs)
        finally:
            leave(scope)

    return bound
