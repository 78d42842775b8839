"""Spans in hands that err: odd chunks and usages, spans used twice, and how a span prints."""

import asyncio
import re
from types import SimpleNamespace

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def exp():
    async with ct.Lab() as lab, lab.experiment("a") as exp:
        yield exp


@pytest.mark.parametrize("odd", ["hello", None, -3, 1.5, b"x", object()])
async def test_an_odd_chunk_counts_as_one_token_and_leaves_a_mark_without_its_text(exp, odd):
    with ct.llm_call(model="m") as call:
        call.chunk(odd)
        call.chunk(2)
    stop = (await exp.events())[-1]
    assert (stop.measurements["chunks"], stop.measurements["chunk_tokens"]) == (2, 3)
    assert "hello" not in str(stop.measurements)
    assert exp.health().marks == {"repr": 1}


async def test_an_odd_chunk_leaves_the_users_own_exception_and_the_end_event(exp):
    with pytest.raises(KeyError), ct.llm_call(model="m") as call:  # noqa: PT012 - raised within
        call.chunk("hello")
        call.tokens = "broken"
        raise KeyError
    assert (await exp.events())[-1].event_name == "llm.request.exception"
    assert exp.open_spans() == []


async def test_a_usage_whose_properties_raise_gives_what_could_be_read(exp):
    class Usage:
        input_tokens = 7
        output_tokens = property(lambda self: 1 / 0)
        cache_read_input_tokens = 2
        cache_creation_input_tokens = "many"

    with ct.llm_call(model="m") as call:
        call.usage(Usage())
        call.usage(SimpleNamespace())
        call.usage(3)
    stop = (await exp.events())[-1]
    assert (stop.prompt_tokens, stop.completion_tokens, stop.cached_tokens) == (9, None, 2)


async def test_a_span_used_again_begins_anew(exp):
    again = ct.span("re", {"a": 1})
    ids = []
    for n in range(2):
        with again as span:
            assert span is again
            ids.append(span.span_id)
            if n == 0:
                span.annotate(b=2)
                span.measure(size_bytes=3)
                span.chunk()
        assert exp.open_spans() == []
    events = await exp.events()
    assert [e.event_name for e in events] == ["re.start", "re.stop"] * 2
    assert len({e.span_id for e in events}) == len(set(ids)) == 2
    assert events[1].metadata == {"a": 1, "b": 2}
    assert (events[3].metadata, set(events[3].measurements)) == ({"a": 1}, {"duration"})


async def test_a_span_entered_while_it_is_open_begins_another_inside(exp):
    same = ct.span("re")
    with same as outer:
        with same as inner:
            assert inner is not outer
            assert ct.current_span() is inner
            assert exp.open_spans() == [outer, inner]
        assert ct.current_span() is outer
        assert exp.open_spans() == [outer]
    assert (ct.current_span(), exp.open_spans()) == (None, [])
    start, start2, stop2, stop = await exp.events()
    assert (start2.parent_id, stop2.span_id) == (start.span_id, start2.span_id)
    assert stop.span_id == start.span_id
    assert exp.health().scope_leaks == 0


async def test_one_span_object_in_several_tasks_at_once_ends_each_of_them(exp):
    shared = exp.span("re")

    async def works(wait_s):
        async with shared as span:
            await asyncio.sleep(wait_s)
            assert ct.current_span() is span

    await asyncio.gather(*(works(s) for s in (0.003, 0.001, 0.002)))
    with shared:
        straggler = asyncio.create_task(works(0.005))
        await asyncio.sleep(0)
    await straggler  # begun within a span that is over
    assert exp.open_spans() == []
    events = await exp.events()
    assert len({e.span_id for e in events}) == 5
    assert len([e for e in events if e.event_name == "re.stop"]) == 5
    assert exp.health().scope_leaks == 0


async def test_a_span_used_again_after_its_end_inside_a_task_of_its_first_use_is_no_ring(exp):
    shared, over = ct.span("re"), asyncio.Event()

    async def later():
        await over.wait()
        with shared:
            pass
        return ct.current_span()

    with shared:
        task = asyncio.create_task(later())
        await asyncio.sleep(0)
    over.set()
    assert await task is shared
    assert [e.event_name for e in await exp.events()] == ["re.start", "re.stop"] * 2


async def test_a_trace_from_elsewhere_goes_on_in_each_use(exp):
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    again = ct.span("re", traceparent=f"00-{trace}-{parent}-01")
    for _ in range(2):
        with again:
            pass
    assert {(e.trace_id, e.parent_id) for e in await exp.events()} == {(trace, parent)}
    with ct.span("re", traceparent=7):
        pass


async def test_a_span_prints_what_it_is_and_how_long_it_is_open(exp):
    call = ct.llm_call(provider="p", model="m", prompt="secret")
    assert "not begun" in repr(call)
    with call:
        (shown,) = map(repr, exp.open_spans())
        assert re.fullmatch(
            r"<LlmCall llm\.request, open \d\.\d{3} s, provider=p, model=m, span [0-9a-f]{16}>",
            shown,
        )
    assert re.fullmatch(r"<Span s, not begun, span [0-9a-f]{16}>", repr(ct.span("s")))
    assert "took 0." in repr(call)
