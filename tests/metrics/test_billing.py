"""Which events' cost and tokens count, when several report the same money."""

import pytest

import crucible_telemetry as ct

MODEL = ("crucible_ensemble.model.stop", {"duration": 1}, {"model": "m", "cost": 0.25})
PREDICT = ("crucible_ensemble.predict.stop", {"duration": 1}, {"total_cost": 0.5})
OLD_PREDICT = ("ensemble.prediction.stop", {"duration": 1}, {"cost_usd": 0.5})
TASK = ("research_harness.task.complete", {"duration": 1}, {"cost_usd": 2.0})
HEDGED = ("crucible_hedging.request.stop", {"duration": 1}, {"cost": 1.0})
USAGE = ("req_llm.token_usage", {"tokens": {"input": 24, "output": 133}, "cost": 0.125}, {})
BARE = ("req_llm.request.stop", {"duration": 1}, {"model": "m"})
FULL = (
    "req_llm.request.stop", {"duration": 1},
    {"usage": {"input_tokens": 24, "output_tokens": 133, "total_cost": 0.125}},
)  # fmt: skip
TOOL = ("altar.tool.stop", {"duration": 1}, {"cost_usd": 1.0})
MINE = ("my.search.stop", {"duration": 1}, {"cost_usd": 1.0})

CASES = [
    ("a wrapper of calls that nobody captured", [PREDICT], 0.5, None),
    ("in the older spelling", [OLD_PREDICT], 0.5, None),
    ("a wrapper of captured calls", [MODEL, MODEL, PREDICT], 0.5, None),
    ("whatever the order", [PREDICT, MODEL], 0.25, None),
    ("three layers", [MODEL, PREDICT, TASK], 0.25, None),
    ("two layers above what nobody captured", [PREDICT, TASK], 0.5, None),
    ("the outermost alone", [TASK], 2.0, None),
    ("a relative cost", [HEDGED], None, None),
    ("a relative cost around money", [HEDGED, MODEL], 0.25, None),
    ("usage beside an end that has none", [USAGE, BARE], 0.125, 157),
    ("usage beside an end that repeats it", [USAGE, FULL], 0.125, 157),
    ("an end with its usage alone", [FULL], 0.125, 157),
    ("paid tools beside calls", [TOOL, MODEL, PREDICT], 1.25, None),
    ("paid tools beside a wrapper of calls that nobody captured", [TOOL, PREDICT], 1.5, None),
    ("paid tools inside a task", [TOOL, TASK], 1.0, None),
    ("paid tools beside others", [MINE, TOOL], 2.0, None),
]


@pytest.mark.parametrize(("case", "events", "cost", "tokens"), CASES)
@pytest.mark.asyncio
async def test_what_several_events_report_is_paid_once(case, events, cost, tokens):
    async with ct.Lab() as lab, lab.experiment(case) as exp:
        for at, (name, measurements, metadata) in enumerate(events):
            await ct.execute(name, measurements, metadata, at_us=at)
        await exp.flush()
        live, rest = exp.live(), await exp.metrics()
        rows = await exp.windowed_metrics(1, 1)
    assert (live.cost.total, live.tokens.total) == (cost, tokens)
    assert rest.cost.total == live.cost.total
    assert rest.cost.by_model == live.cost.by_model
    assert rest.tokens == live.tokens
    assert sum(row.total_cost or 0 for row in rows) == (cost or 0)


@pytest.mark.asyncio
async def test_a_span_around_a_counted_one_is_not_paid_again_and_one_around_none_is():
    async with ct.Lab() as lab, lab.experiment("spans") as exp:
        async with ct.span("my.agent") as agent:
            async with ct.llm_call(provider="p", model="m") as call:
                call.cost(0.25)
            agent.measure(cost_usd=0.25)
        async with ct.span("my.search") as search:
            search.measure(cost_usd=1.0)
        await exp.flush()
        assert exp.live().cost.total == 1.25
        assert exp.live().cost.count == 2


@pytest.mark.parametrize(
    "step", ["crucible_ensemble.vote.completed", "ensemble.vote.complete", "crucible_ensemble.executor.stop"]
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_step_inside_an_operation_is_no_operation_of_the_pool(step):
    async with ct.Lab() as lab, lab.experiment("steps") as exp:
        await ct.execute("ensemble.predict.stop", {"duration": 7000})
        await ct.execute(step, {"duration": 5000})
        summary = await exp.metrics()
        events = await exp.events()
    assert summary.reliability.total_requests == 1
    assert summary.latency.mean == 7.0
    assert [event.outcome for event in events] == ["ok", None]
    assert events[1].latency_ms is not None
