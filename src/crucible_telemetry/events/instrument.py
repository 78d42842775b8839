"""`@ct.instrument`: the span as a decorator, for functions, coroutines and generators of both kinds.

A generator's scope is set around each of its steps only: between them its consumer runs, and a scope
held across a `yield` would swallow the consumer's events.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any, TypeVar, cast

from crucible_telemetry.events.event import event_name
from crucible_telemetry.events.routes import Name
from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import Span

F = TypeVar("F", bound=Callable[..., Any])


def instrument(event: Name, metadata: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Wrap each call in `span(event, metadata)`.

    For generators (sync and async) the span begins with the first step and ends when the stream is consumed,
    closed or fails; it belongs to the scope of the call, wherever the stream is consumed.
    """
    name = event_name(event)

    def decorate(fn: F) -> F:
        if inspect.isasyncgenfunction(fn):
            wrapper: Any = _stream(name, metadata, fn)
        elif inspect.isgeneratorfunction(fn):
            wrapper = _generator(name, metadata, fn)
        elif inspect.iscoroutinefunction(fn):
            wrapper = _coroutine(name, metadata, fn)
        else:
            wrapper = _function(name, metadata, fn)
        return cast("F", functools.wraps(fn)(wrapper))

    return decorate


def _function(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with Span(name, metadata):
            return fn(*args, **kwargs)

    return call


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
    move: Callable[[], Any] = functools.partial(next, inner)
    try:
        while True:
            step = span.step()
            enter(step)
            try:
                item = move()
            except StopIteration as stop:
                _finish_here(span, None)
                return stop.value
            finally:
                leave(step)
            try:
                sent = yield item
                move = functools.partial(inner.send, sent)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, handed on
                move = functools.partial(inner.throw, error)
    except BaseException as error:
        _close(span, inner)
        _finish_here(span, error)
        raise


def _close(span: Span, inner: Generator[Any, Any, Any]) -> None:
    step = span.step()
    enter(step)
    try:
        inner.close()
    finally:
        leave(step)


def _finish_here(span: Span, error: BaseException | None) -> None:
    full = span.finish(error)
    if full is not None:
        full.attendant.drain_here()


def _stream(name: str, metadata: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        return _async_steps(Span(name, metadata), current_scope.get(), fn(*args, **kwargs))

    return call


async def _async_steps(
    span: Span, called_in: Scope | None, inner: AsyncGenerator[Any, Any]
) -> AsyncGenerator[Any, Any]:
    span.start(called_in)
    move: Callable[[], Any] = functools.partial(inner.asend, None)
    try:
        while True:
            step = span.step()
            enter(step)
            try:
                item = await move()
            except StopAsyncIteration:
                break
            finally:
                leave(step)
            try:
                sent = yield item
                move = functools.partial(inner.asend, sent)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, handed on
                move = functools.partial(inner.athrow, error)
    except BaseException as error:
        await _aclose(span, inner)
        _finish_here(span, error)
        raise
    _finish_here(span, None)


async def _aclose(span: Span, inner: AsyncGenerator[Any, Any]) -> None:
    step = span.step()
    enter(step)
    try:
        await inner.aclose()
    finally:
        leave(step)
