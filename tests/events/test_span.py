"""Spans: start and end, what is measured, how they nest, and which state of an experiment they belong to."""

import asyncio

import pytest

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of spans, moved by hand."""

    class Clock:
        now_ns = 1_000

        def __call__(self):
            return self.now_ns

        def advance(self, ms):
            self.now_ns += int(ms * 1_000_000)

    clock = Clock()
    monkeypatch.setattr("crucible_telemetry.events.span.monotonic_ns", clock)
    return clock


async def test_a_span_is_a_start_and_a_stop_that_repeats_the_start_metadata(exp, clock):
    with ct.span("tool.search", {"query_id": 7}) as span:
        clock.advance(1.5)
        span.measure(size_bytes=10)
        span.annotate(hits=3)
    start, stop = await exp.events()
    assert (start.event_name, start.measurements, start.metadata) == (
        "tool.search.start",
        {},
        {"query_id": 7},
    )
    assert stop.event_name == "tool.search.stop"
    assert stop.measurements == {"duration": 1_500_000, "size_bytes": 10}
    assert stop.metadata == {"query_id": 7, "hits": 3}
    assert (stop.latency_ms, stop.success, stop.outcome) == (1.5, True, "ok")
    assert (start.success, start.outcome) == (None, None)
    assert span.duration_ns == 1_500_000


@pytest.mark.parametrize("way", ["with", "async with"])
async def test_an_exception_ends_the_span_as_what_it_was_and_goes_on(exp, way):
    with pytest.raises(ValueError, match="why"):  # noqa: PT012 - the way is what is tested
        if way == "with":
            with ct.span("s", {"a": 1}):
                raise ValueError("why so")
        else:
            async with ct.span("s", {"a": 1}):
                raise ValueError("why so")
    _, end = await exp.events()
    assert end.event_name == "s.exception"
    assert end.metadata["a"] == 1
    assert end.metadata["kind"] == "ValueError"
    assert end.metadata["frames"][-1].startswith(
        "test_an_exception_ends_the_span_as_what_it_was_and_goes_on:"
    )
    assert "why so" not in str(end.metadata)
    assert (end.outcome, end.success, end.error_type) == ("error", False, "ValueError")


class APITimeoutError(Exception): ...


@pytest.mark.parametrize(
    ("error", "outcome", "success"),
    [
        (TimeoutError(), "timeout", False),
        (APITimeoutError(), "timeout", False),
        (asyncio.CancelledError(), "cancelled", None),
        (RuntimeError("x"), "error", False),
        (KeyboardInterrupt(), "error", False),
        (ExceptionGroup("g", [ValueError()]), "error", False),
    ],
)
async def test_outcomes_follow_the_error(exp, error, outcome, success):
    with pytest.raises(type(error)):
        async with ct.llm_call(provider="p", model="m"):
            raise error
    _, end = await exp.events()
    assert (end.outcome, end.success, end.error_type) == (outcome, success, type(error).__name__)


async def test_an_error_that_cannot_be_printed_is_still_the_one_that_goes_on(exp):
    class Unprintable(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    with pytest.raises(Unprintable), ct.span("s"):
        raise Unprintable
    assert (await exp.events())[-1].metadata["kind"] == "Unprintable"


async def test_a_timed_out_call_is_cancelled_and_a_timeout_around_it_is_a_timeout(exp):
    with pytest.raises(TimeoutError):  # noqa: PT012 - nested on purpose
        async with ct.span("outer"):
            async with asyncio.timeout(0.001):
                async with ct.span("inner"):
                    await asyncio.sleep(60)
    ends = {e.event_name: e.outcome for e in await exp.events() if e.outcome}
    assert ends == {"inner.exception": "cancelled", "outer.exception": "timeout"}


async def test_chunks_give_time_to_first_token_and_between_tokens(exp, clock):
    with ct.llm_call(provider="p", model="m") as call:
        clock.advance(200)
        call.chunk()
        for _ in range(4):
            clock.advance(10)
            call.chunk(tokens=2)
        clock.advance(5)
    _, stop = await exp.events()
    assert stop.ttft_ms == 200.0
    assert stop.itl_ms == 40 / 8
    assert stop.latency_ms == 245.0
    assert (stop.measurements["chunks"], stop.measurements["chunk_tokens"]) == (5, 9)
    streaming = (await exp.metrics()).streaming
    assert (streaming.ttft.mean, streaming.itl.mean) == (200.0, 5.0)


async def test_one_chunk_has_no_time_between(exp):
    with ct.span("s") as span:
        span.chunk(tokens=5)
    _, stop = await exp.events()
    assert stop.ttft_ms is not None
    assert stop.itl_ms is None


# -- the tree ---------------------------------------------------------------------------------------


async def test_spans_nest_and_events_inside_carry_the_innermost(exp):
    with ct.span("a") as a:
        ct.execute_nowait("in.a")
        with ct.span("b") as b:
            await asyncio.create_task(ct.execute("in.b"))
        ct.execute_nowait("in.a.again")
    ct.execute_nowait("outside")
    by_name = {e.event_name: e for e in await exp.events()}
    a_id, b_id = by_name["a.start"].span_id, by_name["b.start"].span_id
    assert a_id == a.traceparent.split("-")[2]
    assert b_id == b.traceparent.split("-")[2]
    assert by_name["b.stop"].span_id == b_id
    assert (by_name["a.start"].parent_id, by_name["b.start"].parent_id) == (None, a_id)
    assert by_name["b.stop"].parent_id == a_id
    parents = {n: by_name[n].parent_id for n in ("in.a", "in.b", "in.a.again", "outside")}
    assert parents == {"in.a": a_id, "in.b": b_id, "in.a.again": a_id, "outside": None}
    traces = {by_name[n].trace_id for n in ("a.start", "b.start", "in.a", "in.b", "a.stop")}
    assert len(traces) == 1
    assert by_name["outside"].trace_id is None


async def test_spans_side_by_side_are_no_parents_of_each_other(exp):
    async def works():
        async with ct.span("child"):
            await asyncio.sleep(0)

    with ct.span("parent"):
        await asyncio.gather(works(), works())
    events = await exp.events()
    children = [e for e in events if e.event_name == "child.start"]
    parent = next(e for e in events if e.event_name == "parent.start")
    assert {e.parent_id for e in children} == {parent.span_id}
    assert len({e.span_id for e in children}) == 2


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_trace_begun_elsewhere_goes_on(exp):
    with (
        ct.span("s", traceparent=f"00-{TRACE}-{SPAN}-01") as span,
        ct.llm_call(model="m") as call,
    ):
        assert span.traceparent.startswith(f"00-{TRACE}-")
        assert call.traceparent.startswith(f"00-{TRACE}-")
        assert ct.current_span() is call
    start, inner, *_ = await exp.events()
    assert (start.parent_id, start.trace_id) == (SPAN, TRACE)
    assert (inner.parent_id, inner.trace_id) == (start.span_id, TRACE)


async def test_what_goes_out_is_a_w3c_trace_context_that_comes_in_again(exp):
    with ct.span("here") as here:
        pass
    with ct.span("there", traceparent=here.traceparent) as there:
        pass
    version, trace, span, flags = here.traceparent.split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert there.traceparent.split("-")[1] == trace
    events = {e.event_name: e for e in await exp.events()}
    assert events["there.start"].parent_id == events["here.start"].span_id
    assert events["there.start"].trace_id == events["here.start"].trace_id == trace


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE[:-2]}_1-{SPAN}-01",
        f"00-{'é' * 32}-{SPAN}-01",
    ],
)
async def test_what_is_no_trace_context_is_told_and_left_out(exp, bad, caplog):
    with ct.span("s", traceparent=bad):
        pass
    start, _ = await exp.events()
    assert start.parent_id is None
    assert start.trace_id not in (None, TRACE)
    assert "not W3C trace context" in caplog.text


# -- states -----------------------------------------------------------------------------------------


async def test_a_span_belongs_to_the_state_at_its_start(exp):
    before = ct.span("before").__enter__()
    await exp.pause()
    with ct.span("within"):
        ct.execute_nowait("skipped")
        before.__exit__(None, None, None)
    during = ct.span("during").__enter__()
    await exp.resume()
    during.__exit__(None, None, None)
    with ct.span("after"):
        pass
    names = [e.event_name for e in await exp.events()]
    assert names == ["before.start", "before.stop", "after.start", "after.stop"]
    counts = exp.counts
    assert counts.skipped == 5  # within.start, skipped, within.stop, during.start, during.stop
    assert counts.emitted == counts.accounted == 9


async def test_the_end_of_a_span_after_the_stop_is_late_and_the_span_open_no_more(lab):
    exp = await lab.start_experiment("a", capture="scope")
    span = exp.span("s").__enter__()
    assert exp.open_spans() == [span]
    await exp.stop()
    span.__exit__(None, None, None)
    assert (exp.counts.stored, exp.counts.late) == (1, 1)
    assert exp.open_spans() == []


async def test_open_spans_are_shown_oldest_first(exp):
    with ct.span("a") as a, ct.llm_call(model="m") as b:
        assert exp.open_spans() == [a, b]
        assert [s.event for s in exp.open_spans()] == ["a", "llm.request"]
        assert a.duration_ns is None
    assert exp.open_spans() == []


async def test_a_process_capture_that_began_between_start_and_end_gets_the_end(lab):
    with ct.span("s"):
        exp = await lab.start_experiment("a")
    assert [e.event_name for e in await exp.events()] == ["s.stop"]
    assert exp.counts.emitted == exp.counts.accounted == 1
