"""What kind of callable a function is, and generators driven one surrounded step at a time.

Between the steps of a generator its consumer runs, and what surrounds a step must not be seen there.
"""

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from enum import Enum, auto
from types import CodeType, MethodType
from typing import Any

from crucible_telemetry.events.scope import Scope, enter, leave


class Kind(Enum):
    """What a call gives."""

    RESULT = auto()
    COROUTINE = auto()
    GENERATOR = auto()
    STREAM = auto()
    """An async generator."""


def kind_of(fn: Callable[..., Any]) -> Kind:
    """What a call of `fn` gives: a function, a method, a partial, or an object with a `__call__`."""
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    for each in (inner, getattr(type(inner), "__call__", None)):  # noqa: B004 - it is looked into
        if inspect.isasyncgenfunction(each):
            return Kind.STREAM
        if inspect.isgeneratorfunction(each):
            return Kind.GENERATOR
        if inspect.iscoroutinefunction(each):
            return Kind.COROUTINE
    return Kind.RESULT


class Stepped:
    """A wrapper of a generator function that `inspect` takes for one, though calling it runs code at once.

    A real generator function would see its caller's scope only at the first step. Binds like a function.
    """

    __code__: CodeType
    __name__: str
    __qualname__: str

    def __init__(self, fn: Callable[..., Any], make: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self._make = make
        inner: Any = fn
        while isinstance(inner, functools.partial):
            inner = inner.func
        if not hasattr(inner, "__code__"):
            inner = inner.__call__
        self.__code__ = inner.__code__
        self.__name__ = getattr(fn, "__name__", inner.__name__)
        self.__qualname__ = getattr(fn, "__qualname__", inner.__qualname__)
        self.__defaults__ = inner.__defaults__
        self.__kwdefaults__ = inner.__kwdefaults__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The generator of this call."""
        return self._make(*args, **kwargs)

    def __get__(self, instance: object, owner: object = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<function {self.__qualname__} at {id(self):#x}>"

    def __reduce__(self) -> str:
        return self.__qualname__  # as functions are pickled: by name


def driven(
    inner: Generator[Any, Any, Any], run: Callable[[Callable[[], Any]], Any]
) -> Generator[Any, Any, Any]:
    """The same generator, each of its steps made by `run`; sends, throws and the result go through."""
    move: Callable[[], Any] = functools.partial(next, inner)
    try:
        while True:
            try:
                item = run(move)
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield item
                move = functools.partial(inner.send, sent)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, handed on
                move = functools.partial(inner.throw, error)
    except BaseException:
        run(inner.close)
        raise


async def driven_async(
    inner: AsyncGenerator[Any, Any],
    scope: Callable[[], Scope],
    end: Callable[[BaseException | None], None],
) -> AsyncGenerator[Any, Any]:
    """The same async generator, each step in a new `scope()`; `end` is told how it ended."""
    move: Callable[[], Any] = functools.partial(inner.asend, None)
    try:
        while True:
            try:
                item = await _step(scope(), move)
            except StopAsyncIteration:
                break
            try:
                sent = yield item
                move = functools.partial(inner.asend, sent)
            except GeneratorExit:
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer, handed on
                move = functools.partial(inner.athrow, error)
    except BaseException as error:
        try:
            await _step(scope(), inner.aclose)
        finally:
            end(error)
        raise
    end(None)


async def _step(scope: Scope, move: Callable[[], Any]) -> Any:
    enter(scope)
    try:
        return await move()
    finally:
        leave(scope)
