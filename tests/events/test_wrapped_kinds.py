"""Every kind of callable under `ct.instrument` and `ct.bind`, and wrappers that are wrapped again."""

import asyncio
import contextvars
import functools
import gc
import inspect
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio
NAP_S = 0.02


@pytest_asyncio.fixture
async def exp():
    async with ct.Lab() as lab, lab.experiment("a") as exp:
        yield exp


async def nap(wait_s=NAP_S):
    ct.execute_nowait("n")
    await asyncio.sleep(wait_s)
    ct.execute_nowait("n")
    return "slept"


class Sleeper:
    async def __call__(self):
        return await nap()


class Counter:
    def __call__(self, n):
        for i in range(n):
            ct.execute_nowait("n")
            yield i


def count(n):
    for i in range(n):
        ct.execute_nowait("n")
        yield i


async def count_async(n):
    for i in range(n):
        await ct.execute("n")
        yield i


@ct.instrument("gen")
def instrumented(n):
    yield from range(n)


ASYNC = {
    "lambda": lambda: nap(),  # noqa: PLW0108 - a plain function that returns a coroutine
    "partial": functools.partial(nap, NAP_S),
    "partial of lambda": functools.partial(lambda s: nap(s), NAP_S),  # noqa: PLW0108 - as above
    "object": Sleeper(),
    "partial of object": functools.partial(Sleeper()),
}


@pytest.mark.parametrize("kind", ASYNC)
async def test_what_is_awaited_is_timed_to_its_end_whatever_gave_it(exp, kind):
    assert await asyncio.create_task(ct.instrument("slow")(ASYNC[kind])()) == "slept"
    start, *inside, stop = await exp.events()
    assert (start.event_name, stop.event_name) == ("slow.start", "slow.stop")
    assert [e.parent_id for e in inside] == [start.span_id] * 2
    assert stop.latency_ms >= NAP_S * 1000 * 0.9
    assert (ct.current_span(), exp.open_spans()) == (None, [])


async def test_a_returned_coroutine_that_fails_or_is_never_awaited_ends_its_span(exp):
    @ct.instrument("s")
    def fails(wait_s):
        if wait_s is None:
            raise ValueError
        return asyncio.wait_for(asyncio.sleep(9), wait_s)

    with pytest.raises(TimeoutError):
        await fails(0.001)
    with pytest.raises(ValueError):  # noqa: PT011 - whichever
        fails(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python says, rightly, that they were never awaited
        unused = fails(1)
        assert len(exp.open_spans()) == 1
        del unused
        gc.collect()
    assert exp.open_spans() == []
    ends = [e.event_name for e in await exp.events() if e.outcome]
    assert ends == ["s.exception", "s.exception", "s.stop"]


@pytest.mark.parametrize("wrong", [nap, None, 3, ("a", 3), ["a"]])
async def test_a_decorator_without_a_name_is_refused_with_the_right_form(wrong):
    with pytest.raises(ct.ConfigurationError, match=r'@ct\.instrument\("name"\)'):
        ct.instrument(wrong)


@pytest.mark.parametrize("fn", [count, Counter(), functools.partial(count)])
async def test_generators_stay_generators_however_often_they_are_wrapped(exp, fn):
    twice = ct.instrument("outer")(ct.instrument("inner")(fn))
    assert inspect.isgeneratorfunction(twice)
    assert list(twice(2)) == [0, 1]
    assert [e.event_name for e in await exp.events()] == [
        "outer.start", "inner.start", "n", "n", "inner.stop", "outer.stop",
    ]  # fmt: skip


async def test_async_generators_stay_async_generators_however_often_they_are_wrapped(exp):
    twice = ct.instrument("outer")(ct.instrument("inner")(count_async))
    assert inspect.isasyncgenfunction(twice)
    assert [i async for i in twice(2)] == [0, 1]
    assert [e.event_name for e in await exp.events()] == [
        "outer.start", "inner.start", "n", "n", "inner.stop", "outer.stop",
    ]  # fmt: skip


async def test_a_wrapped_generator_function_still_behaves_as_a_function():
    class Thing:
        @ct.instrument("gen")
        def method(self, n: int):
            """Counts."""
            yield self, n

    thing = Thing()
    assert list(thing.method(3)) == [(thing, 3)]
    assert inspect.isgeneratorfunction(thing.method)
    assert list(Thing.method(thing, 4)) == [(thing, 4)]
    assert Thing.method.__doc__ == "Counts."
    assert list(inspect.signature(thing.method).parameters) == ["n"]
    assert "Thing.method" in repr(Thing.method)
    assert instrumented.__reduce__() == "instrumented"
    assert pickle.dumps(instrumented)


@pytest.mark.parametrize("fn", [count, Counter()])
async def test_a_bound_generator_runs_each_step_where_it_was_bound(exp, fn):
    variable = contextvars.ContextVar("variable", default=0)
    with ct.span("s") as span:
        variable.set(5)
        bound = ct.bind(fn)
    assert inspect.isgeneratorfunction(bound)

    def consume():
        for _ in bound(2):
            assert ct.current_span() is None
            ct.execute_nowait("outside")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(consume).result()
    events = [e for e in await exp.events() if e.event_name == "n"]
    assert [e.parent_id for e in events] == [f"{span.span_id:016x}"] * 2


async def test_a_bound_async_generator_and_async_object_run_where_they_were_bound(exp):
    with ct.span("s") as span:
        stream, sleeper = ct.bind(count_async), ct.bind(Sleeper())
    assert inspect.isasyncgenfunction(stream)
    assert inspect.iscoroutinefunction(sleeper)
    async for _ in stream(2):
        assert ct.current_span() is None
    await asyncio.create_task(sleeper())
    events = [e for e in await exp.events() if e.event_name == "n"]
    assert [e.parent_id for e in events] == [f"{span.span_id:016x}"] * 4
    early = stream(3)
    await anext(early)
    await early.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(early)
