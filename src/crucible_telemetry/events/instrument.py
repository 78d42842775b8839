"""`@ct.instrument`: the span as a decorator, for functions, coroutines and generators of both kinds.

A generator's scope is set around each of its steps only: between them its consumer runs, and a scope
held across a `yield` would swallow the consumer's events.
"""

import functools
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping
from types import CoroutineType
from typing import Any, TypeVar, cast

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.event import event_name
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import Span
from crucible_telemetry.events.steps import Kind, Stepped, driven, driven_async, kind_of

F = TypeVar("F", bound=Callable[..., Any])


def instrument(event: Name, metadata: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Wrap each call in `span(event, metadata)`.

    Where a plain function returns a coroutine, the span ends when that has been awaited to its end. For
    generators (sync and async) it begins with the first step and ends when the stream is consumed,
    closed or fails; it belongs to the scope of the call, wherever the stream is consumed.
    """
    name = _named(event)

    def decorate(fn: F) -> F:
        kind = kind_of(fn)
        if kind is Kind.STREAM:
            wrapper: Any = Stepped(fn, _stream(name, metadata, fn))
        elif kind is Kind.GENERATOR:
            wrapper = Stepped(fn, _generator(name, metadata, fn))
        elif kind is Kind.COROUTINE:
            wrapper = functools.wraps(fn)(_coroutine(name, metadata, fn))
        else:
            wrapper = functools.wraps(fn)(_function(name, metadata, fn))
        return cast("F", wrapper)

    return decorate


def _named(event: object) -> str:
    if isinstance(event, str) or (
        isinstance(event, tuple) and all(isinstance(part, str) for part in event)
    ):
        return event_name(event)
    given = getattr(event, "__qualname__", None) or type(event).__qualname__
    raise ConfigurationError(
        "event", f'@ct.instrument("name") needs the event\'s name, a text or texts; got {given}'
    )


def _function(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        span = Span(name, metadata).__enter__()
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            span.__exit__(type(error), error, None)
            raise
        if type(result) is not CoroutineType:
            span.__exit__(None, None, None)
            return result
        leave(span)  # its end comes when the coroutine has been awaited
        return _awaitable(span, result)

    return call


def _awaitable(span: Span, inner: Any) -> Any:
    outer: Any = _awaited(span, inner)
    outer.__name__, outer.__qualname__ = inner.__name__, inner.__qualname__
    # One that nobody awaits runs no line of its own; the span must end all the same.
    weakref.finalize(outer, _finish_here, span, GeneratorExit()).atexit = False
    return outer


async def _awaited(span: Span, inner: Coroutine[Any, Any, Any]) -> Any:
    step = span.step()
    enter(step)
    try:
        result = await inner
    except BaseException as error:
        leave(step)
        _finish_here(span, error)
        raise
    leave(step)
    _finish_here(span, None)
    return result


def _coroutine(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        async with Span(name, metadata):
            return await fn(*args, **kwargs)

    return call


def _generator(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return _steps(Span(name, metadata), current_scope.get(), fn(*args, **kwargs))

    return call


def _steps(
    span: Span, called_in: Scope | None, inner: Generator[Any, Any, Any]
) -> Generator[Any, Any, Any]:
    # Begun at the first step: a generator that is dropped before it ever runs has no end to tell.
    span.start(called_in)
    try:
        result = yield from driven(inner, functools.partial(_within, span))
    except BaseException as error:
        _finish_here(span, error)
        raise
    _finish_here(span, None)
    return result


def _within(span: Span, move: Callable[[], Any]) -> Any:
    step = span.step()
    enter(step)
    try:
        return move()
    finally:
        leave(step)


def _finish_here(span: Span, error: BaseException | None) -> None:
    full = span.finish(error)
    if full is not None:
        full.attendant.drain_here()


def _stream(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        span, called_in = Span(name, metadata), current_scope.get()

        def scope() -> Scope:
            if span.link is None:  # begun at the first step, as in `_steps`
                span.start(called_in)
            return span.step()

        inner = fn(*args, **kwargs)
        return driven_async(inner, scope, functools.partial(_finish_here, span))

    return call
