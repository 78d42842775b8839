"""`@ct.instrument` on every kind of function, and `ct.bind` for whoever runs elsewhere."""

import asyncio
import contextvars
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import crucible_telemetry as ct
from crucible_telemetry.events.scope import current_scope

pytestmark = pytest.mark.asyncio


async def names(exp):
    return [e.event_name for e in await exp.events()]


@ct.instrument("f", {"kind_of": "sync"})
def function(x, *, fail=False):
    """Doubles."""
    ct.execute_nowait("inside")
    if fail:
        raise ValueError("no")
    return 2 * x


@ct.instrument(("co", "routine"))
async def coroutine(x):
    await asyncio.sleep(0)
    ct.execute_nowait("inside")
    return 2 * x


@ct.instrument("gen")
def generator(n):
    for i in range(n):
        ct.execute_nowait("step", {"i": i})
        yield i
    return "done"


@ct.instrument("stream")
async def stream(n):
    for i in range(n):
        await ct.execute("step", {"i": i})
        yield i


async def test_a_function_keeps_its_name_and_result_and_gets_a_span(exp):
    assert (function.__name__, function.__doc__) == ("function", "Doubles.")
    assert function(4) == 8
    with pytest.raises(ValueError, match="no"):
        function(1, fail=True)
    assert await names(exp) == ["f.start", "inside", "f.stop", "f.start", "inside", "f.exception"]
    first = (await exp.events())[0]
    assert first.metadata == {"kind_of": "sync"}


async def test_a_coroutine_function_stays_one(exp):
    assert inspect.iscoroutinefunction(coroutine)
    assert await asyncio.gather(coroutine(1), coroutine(2)) == [2, 4]
    events = await exp.events()
    spans = {e.span_id for e in events if e.event_name == "co.routine.start"}
    assert len(spans) == 2
    assert {e.parent_id for e in events if e.event_name == "inside"} == spans


async def test_a_generators_span_ends_when_it_is_consumed_and_its_scope_is_only_in_its_steps(exp):
    for _ in generator(2):
        assert ct.current_span() is None
        ct.execute_nowait("between")
    assert await names(exp) == [
        "gen.start", "step", "between", "step", "between", "gen.stop",
    ]  # fmt: skip
    events = await exp.events()
    span = events[0].span_id
    assert {e.parent_id for e in events if e.event_name == "step"} == {span}
    assert {e.parent_id for e in events if e.event_name == "between"} == {None}


async def test_an_async_generators_span_ends_when_it_is_consumed(exp):
    async for _ in stream(2):
        assert ct.current_span() is None
        await ct.execute("between")
    assert await names(exp) == [
        "stream.start", "step", "between", "step", "between", "stream.stop",
    ]  # fmt: skip


async def test_a_generator_hands_sends_throws_and_its_result_through(exp):
    @ct.instrument("g")
    def talks():
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"
        return "result"

    talk = talks()
    assert next(talk) == "first"
    assert talk.send("hello") == "hello"
    assert talk.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration) as stopped:
        next(talk)
    assert stopped.value.value == "result"
    assert await names(exp) == ["g.start", "g.stop"]


async def test_an_async_generator_hands_sends_and_throws_through(exp):
    @ct.instrument("g")
    async def talks():
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"

    talk = talks()
    assert await anext(talk) == "first"
    assert await talk.asend("hello") == "hello"
    assert await talk.athrow(KeyError()) == "caught"
    with pytest.raises(StopAsyncIteration):
        await anext(talk)
    assert await names(exp) == ["g.start", "g.stop"]


async def test_a_stream_that_is_left_early_ends_its_span_and_runs_its_cleanup(exp):
    @ct.instrument("g")
    async def cleans():
        try:
            yield 1
            yield 2
        finally:
            ct.execute_nowait("cleaned")

    early = cleans()
    async for _ in early:
        break
    await early.aclose()
    sync = generator(5)
    next(sync)
    sync.close()
    assert await names(exp) == [
        "g.start", "cleaned", "g.stop", "gen.start", "step", "gen.stop",
    ]  # fmt: skip
    assert exp.open_spans() == []
    assert exp.health().scope_leaks == 0


async def test_a_stream_that_fails_ends_in_an_exception(exp):
    @ct.instrument("g")
    async def fails():
        yield 1
        raise TimeoutError

    with pytest.raises(TimeoutError):
        [_ async for _ in fails()]

    @ct.instrument("h")
    def fails_too():
        yield 1
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - whichever
        list(fails_too())
    ends = [(e.event_name, e.outcome) for e in await exp.events() if e.outcome]
    assert ends == [("g.exception", "timeout"), ("h.exception", "error")]


async def test_a_stream_belongs_to_the_scope_of_its_call_wherever_it_is_consumed(lab):
    async with lab.experiment("maker") as maker:
        made, plain = stream(2), generator(1)
    assert maker.state == "stopped"
    running = await lab.start_experiment("maker2", capture="scope")
    with running.scope():
        made_too = stream(2)
    async with lab.experiment("reader") as reader:
        async for _ in made_too:
            ct.execute_nowait("read")
        async for _ in made:
            pass
        list(plain)
    assert await names(reader) == ["read", "read"]
    assert await names(running) == ["stream.start", "step", "step", "stream.stop"]
    assert maker.counts.late == 4 + 3
    assert maker.counts.stored == 0


async def test_a_generator_that_never_ran_tells_nothing(exp):
    generator(3)
    unused = stream(3)
    await unused.aclose()
    assert await names(exp) == []


# -- bind -------------------------------------------------------------------------------------------


async def test_a_bound_function_emits_into_the_scope_and_span_it_was_bound_in(exp):
    def works(i):
        ct.execute_nowait("n", {"i": i})
        return ct.current_experiment()

    with ct.span("s") as span:
        bound = ct.bind(works)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(bound, range(50))) == {exp}
        assert pool.submit(works, 99).result() is None
    events = [e for e in await exp.events() if e.event_name == "n"]
    assert sorted(e.measurements["i"] for e in events) == list(range(50))
    assert {e.parent_id for e in events} == {f"{span.span_id:016x}"}


async def test_each_call_of_a_bound_function_has_a_context_of_its_own(exp):
    variable = contextvars.ContextVar("variable", default=0)
    inside, leave = threading.Barrier(2, timeout=10), []

    def works(i):
        variable.set(variable.get() + i)
        inside.wait()  # both calls at once: one context could not be entered twice
        leave.append(variable.get())

    bound = ct.bind(works)
    threads = [threading.Thread(target=bound, args=(i,)) for i in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(leave) == [1, 2]
    assert variable.get() == 0


async def test_a_bound_coroutine_function_runs_in_its_scope_in_whatever_task(lab):
    a = await lab.start_experiment("a", capture="scope")
    b = await lab.start_experiment("b", capture="scope")

    async def works():
        await asyncio.sleep(0)
        ct.execute_nowait("n")
        return ct.current_experiment()

    with a.scope():
        bound = ct.bind(works)
    assert inspect.iscoroutinefunction(bound)
    with b.scope():
        assert await bound() is a
        assert await asyncio.create_task(bound()) is a
        assert ct.current_experiment() is b
    assert await asyncio.create_task(bound()) is a
    assert current_scope.get() is None
    assert (await names(a), await names(b)) == (["n", "n", "n"], [])


async def test_a_bound_callback_of_the_loop_emits_where_it_was_bound(exp):
    done = asyncio.Event()

    def callback():
        ct.execute_nowait("called")
        done.set()

    bound = ct.bind(callback)
    asyncio.get_running_loop().call_soon(bound, context=contextvars.Context())
    await done.wait()
    assert await names(exp) == ["called"]
