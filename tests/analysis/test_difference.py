"""What two summaries allow to say."""

import math

import pytest

import crucible_telemetry as ct
from crucible_telemetry.analysis.difference import METRICS, check_items, difference
from crucible_telemetry.errors import ComparisonError

pytestmark = pytest.mark.asyncio


async def arm(lab, *calls, name="arm"):
    """The summary of calls given as (measurements, metadata)."""
    async with lab.experiment(name) as exp:
        for measurements, metadata in calls:
            await ct.execute(f"{metadata.pop('as', 'llm.request')}.stop", measurements, metadata)
    return await exp.metrics()


def ok(*latencies_ms, **more):
    return [({"duration_ms": ms, **more}, {}) for ms in latencies_ms]


def failed(count):
    return [({"duration_ms": 1}, {"error": "timeout"}) for _ in range(count)]


async def test_means_are_treatment_minus_control_with_welchs_interval(lab):
    from scipy import stats

    a, b = (10, 12, 15, 9), (8, 7, 9, 6, 11)
    result = difference("latency_ms", await arm(lab, *ok(*a)), await arm(lab, *ok(*b)))
    expected = stats.ttest_ind(b, a, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    assert (result.n, result.unit) == ((4, 5), "ms")
    assert result.values == pytest.approx((11.5, 8.2))
    assert result.estimate == pytest.approx(-3.3)
    assert result.interval == pytest.approx((bounds.low, bounds.high))
    assert result.p_value == pytest.approx(expected.pvalue)
    assert "Welch" in result.method
    assert result.notes == ()


async def test_success_is_a_difference_of_rates(lab):
    a, b = await arm(lab, *ok(1, 2, 3), *failed(1)), await arm(lab, *ok(1), *failed(1))
    result = difference("success", a, b)
    assert (result.n, result.values) == ((4, 2), (0.75, 0.5))
    assert result.estimate == -0.25
    assert result.interval[0] < -0.25 < result.interval[1]
    assert "Newcombe" in result.method


async def test_latencies_of_arms_that_fail_differently_carry_a_note(lab):
    a, b = await arm(lab, *ok(1, 2, 3)), await arm(lab, *ok(1, 2), *failed(2))
    assert "50.00% of the treatment failed" in difference("latency_ms", a, b).notes[0]


async def test_one_value_an_arm_gives_no_interval_and_says_why(lab):
    result = difference("latency_ms", await arm(lab, *ok(1)), await arm(lab, *ok(2, 3)))
    assert result.interval == (-math.inf, math.inf)
    assert result.p_value is None
    assert "needs two values in each arm" in result.notes[0]


async def test_costs_are_compared_when_all_are_known_and_refused_when_not(lab):
    priced = await arm(lab, *ok(1, 2, cost_usd=0.5), *ok(3, cost_usd=0.25))
    result = difference("cost_usd", priced, priced)
    assert (result.values[0], result.estimate) == (pytest.approx(1.25 / 3), 0)
    unpriced = await arm(lab, ({"input_tokens": 3}, {"model": "nobody-prices-this"}))
    with pytest.raises(ComparisonError, match="the treatment has 1 calls of unknown price"):
        difference("cost_usd", priced, unpriced)


@pytest.mark.parametrize("metric", sorted(METRICS))
async def test_what_was_not_measured_is_refused_by_arm(lab, metric):
    nothing = await arm(lab, ({}, {"as": "tool.x", "status": "cancelled"}))
    if metric == "success":
        nothing = await arm(lab)
    with pytest.raises(ComparisonError, match="the control has no"):
        difference(metric, nothing, nothing)


async def test_different_pools_samples_and_unknown_metrics_are_refused(lab):
    llm, tool = await arm(lab, *ok(1, 2)), await arm(lab, ({"duration_ms": 1}, {"as": "tool.x"}))
    with pytest.raises(ComparisonError, match="different operations"):
        difference("latency_ms", llm, tool)
    with pytest.raises(ComparisonError, match="no such metric yet; there are latency_ms"):
        difference("bleu", llm, llm)
    async with lab.experiment("sampled", sampling_rate=0.5) as exp:
        for ms in range(40):
            await ct.execute("llm.request.stop", {"duration_ms": ms})
    with pytest.raises(ComparisonError, match="is a sample"):
        difference("latency_ms", llm, await exp.metrics())


async def test_items_with_several_calls_are_refused_and_items_in_both_arms_are_noted():
    with pytest.raises(ComparisonError, match="1 of the 2 items of the treatment have several"):
        check_items("ttft", {"a": 1}, {"a": 1, "b": 3})
    (note,) = check_items("ttft", {"a": 1, "b": 1}, {"b": 1, "c": 1})
    assert note.startswith("1 items ran in both arms")
    assert check_items("ttft", {"a": 1}, {"b": 1}) == check_items("ttft", {}, {}) == ()
