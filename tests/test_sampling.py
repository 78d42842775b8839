"""A sample says that it is one, and of what share; whole traces stay together."""

import pytest

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


async def test_a_sampled_summary_says_by_what_rate_and_what_share_was_kept(lab):
    async with lab.experiment("e", sampling_rate=0.3, seed=1) as exp:
        for _ in range(500):
            with ct.span("a.b"):
                ct.execute_nowait("inside")
        live = exp.live().summary.sampling
    rest = (await exp.metrics()).summary.sampling
    assert live == rest
    assert (rest.rule, rest.rate) == ("rate", 0.3)
    assert rest.kept + rest.left_out == exp.counts.emitted == 1500
    assert rest.share == pytest.approx(0.3, abs=0.1)
    kept = await exp.events()
    traces = {event.trace_id for event in kept}
    assert len(kept) == 3 * len(traces), "a trace is kept whole or left out whole"


async def test_the_same_seed_keeps_the_same_events_outside_spans(lab):
    found = []
    for seed in (1, 1, 2):
        async with lab.experiment("e", sampling_rate=0.5, seed=seed) as exp:
            for number in range(200):
                ct.execute_nowait("x", {"n": number})
        found.append([event.measurements["n"] for event in await exp.events()])
    assert found[0] == found[1] != found[2]


async def test_a_strategy_is_named_and_what_is_not_sampled_says_nothing(lab):
    def half(event, measurements, metadata):
        return measurements["n"] % 2 == 0

    async with lab.experiment("e", sampling_strategy=half) as exp:
        for number in range(10):
            ct.execute_nowait("x", {"n": number})
        assert exp.live().summary.sampling.rule == "strategy"
        assert exp.live().summary.sampling.share == 0.5
    async with lab.experiment("all") as exp:
        ct.execute_nowait("x")
        assert exp.live().summary.sampling is None
