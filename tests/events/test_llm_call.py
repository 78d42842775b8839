"""LLM calls: usage as the clients report it, cost, and who is counted when calls are wrapped."""

import pytest

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


async def test_a_span_that_wraps_counted_calls_is_not_counted_again(exp):
    with ct.span("agent.step") as outer:
        outer.measure(cost_usd=9.0, input_tokens=900)
        for _ in range(2):
            with ct.llm_call(provider="p", model="m") as call:
                call.usage(input_tokens=10, output_tokens=5)
                call.cost(0.25)
    with ct.span("tool.paid") as tool:
        tool.measure(cost_usd=1.0)
    for figures in (await exp.metrics(), exp.live()):
        assert figures.cost.total == 1.5
        assert figures.cost.count == 3
        assert (figures.tokens.total_prompt, figures.tokens.total_completion) == (20, 10)
        assert figures.pool == "llm operations"
        assert figures.reliability.total_requests == 2


async def test_a_call_in_another_experiment_leaves_the_outer_ones_cost(lab):
    async with lab.experiment("outer") as outer, lab.experiment("inner") as inner:
        with outer.span("paid") as paid:
            paid.measure(cost_usd=1.0)
            with inner.span("tool") as tool:
                tool.measure(cost_usd=2.0)
    assert (await outer.metrics()).cost.total == 1.0
    assert (await inner.metrics()).cost.total == 2.0


class Thing:
    def __init__(self, **fields):
        self.__dict__.update(fields)


USAGES = {
    "openai chat": Thing(
        prompt_tokens=100,
        completion_tokens=50,
        total_tokens=150,
        prompt_tokens_details=Thing(cached_tokens=20, audio_tokens=0),
        completion_tokens_details=Thing(reasoning_tokens=30),
    ),
    "openai responses": Thing(
        input_tokens=100,
        output_tokens=50,
        total_tokens=150,
        input_tokens_details=Thing(cached_tokens=20),
        output_tokens_details=Thing(reasoning_tokens=30),
    ),
    "anthropic": Thing(
        input_tokens=70,
        output_tokens=50,
        cache_read_input_tokens=20,
        cache_creation_input_tokens=10,
    ),
    "mapping": {"prompt_tokens": 100, "completion_tokens": 50},
    "nulls": Thing(
        prompt_tokens=100, completion_tokens=50, prompt_tokens_details=None, total_tokens=None
    ),
}


@pytest.mark.parametrize(
    ("client", "cached", "reasoning"),
    [
        ("openai chat", 20, 30),
        ("openai responses", 20, 30),
        ("anthropic", 20, None),
        ("mapping", None, None),
        ("nulls", None, None),
    ],
)
async def test_usage_is_read_as_the_clients_report_it(exp, client, cached, reasoning):
    async with ct.llm_call(provider="p", model="m", purpose="judge") as call:
        call.usage(USAGES[client])
    _, stop = await exp.events()
    assert (stop.prompt_tokens, stop.completion_tokens, stop.total_tokens) == (100, 50, 150)
    assert (stop.cached_tokens, stop.reasoning_tokens) == (cached, reasoning)
    assert (stop.provider, stop.model, stop.category) == ("p", "m", "llm")
    assert stop.metadata["purpose"] == "judge"


async def test_usage_by_name_and_cost_are_on_the_end_event(exp):
    async with ct.llm_call(provider="p", model="m") as call:
        call.usage(input_tokens=7, output_tokens=3, cached=2, reasoning=1)
        call.usage(None, output_tokens=None)
        call.cost(0.125)
    _, stop = await exp.events()
    tokens = (stop.prompt_tokens, stop.completion_tokens, stop.cached_tokens, stop.reasoning_tokens)
    assert tokens == (7, 3, 2, 1)
    assert stop.cost_usd == 0.125
    with pytest.raises(TypeError, match="not promt_tokens"):
        call.usage(promt_tokens=1)


@pytest.mark.asyncio
async def test_marked_chunks_give_a_stream_its_pace_and_no_tokens_that_would_be_billed():
    async with ct.Lab() as lab, lab.experiment("streams") as exp:
        async with ct.llm_call(provider="openai", model="gpt-4o") as call:
            for _ in range(5):
                call.chunk(tokens=2)
        live = exp.live()
        [event] = [event for event in await exp.events() if event.outcome]
        summary = await exp.metrics()
    assert summary.streaming.tokens_per_second == pytest.approx(10_000 / event.latency_ms)
    assert live.streaming.tokens_per_second == summary.streaming.tokens_per_second
    assert (event.completion_tokens, summary.tokens.count, summary.cost.unpriced) == (None, 0, 1)
