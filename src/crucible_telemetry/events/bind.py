"""`ct.bind`: a function that takes the present scope along, wherever it is called."""

import functools
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeVar, cast

from crucible_telemetry.events.scope import Scope, current_scope, enter, leave
from crucible_telemetry.events.span import span_of
from crucible_telemetry.events.steps import Kind, Stepped, driven, driven_async, kind_of

P = ParamSpec("P")
R = TypeVar("R")


def bind(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` with the present scope, trial and span, for executors, thread pools and callbacks.

    Each call runs in a fresh copy of the context, so calls may overlap; a generator's steps all run in
    the copy of its call. A coroutine function runs in the task that awaits it, inside the bound scope;
    an async generator has that scope in each of its steps.
    """
    kind = kind_of(fn)
    if kind is Kind.COROUTINE:
        wrapper: Any = _coroutine(fn, current_scope.get())
    elif kind is Kind.STREAM:
        wrapper = _stream(fn, current_scope.get())
    elif kind is Kind.GENERATOR:
        wrapper = _generator(fn, copy_context())
    else:
        wrapper = _function(fn, copy_context())
    return cast("Callable[P, R]", wrapper)


def _function(fn: Callable[..., Any], context: Context) -> Callable[..., Any]:
    @functools.wraps(fn)
    def bound(*args: Any, **kwargs: Any) -> Any:
        return context.copy().run(fn, *args, **kwargs)

    return bound


def _coroutine(fn: Callable[..., Any], here: Scope | None) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def bound(*args: Any, **kwargs: Any) -> Any:
        scope = _again(here)
        enter(scope)
        try:
            return await fn(*args, **kwargs)
        finally:
            leave(scope)

    return bound


def _generator(fn: Callable[..., Any], context: Context) -> Callable[..., Any]:
    def bound(*args: Any, **kwargs: Any) -> Any:
        own = context.copy()
        return driven(own.run(fn, *args, **kwargs), own.run)

    return Stepped(fn, bound)


def _stream(fn: Callable[..., Any], here: Scope | None) -> Callable[..., Any]:
    def bound(*args: Any, **kwargs: Any) -> Any:
        return driven_async(fn(*args, **kwargs), functools.partial(_again, here), _no_end)

    return Stepped(fn, bound)


def _again(here: Scope | None) -> Scope:
    """A scope like `here` that leads back to where it is opened."""
    outer = current_scope.get()
    if here is None:  # bound outside every scope: the caller's is not its own
        return Scope(None, 0, None, None, outer)
    return Scope(here.box, here.trial, here.link, span_of(here), outer)


def _no_end(_: BaseException | None) -> None:
    """No span ends with it."""
