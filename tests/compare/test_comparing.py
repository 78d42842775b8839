"""`Lab.compare_experiments`: the unit is the trial, the method follows from the design."""

import math
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats
from trial_arms import run

import crucible_telemetry as ct
from crucible_telemetry.errors import ComparisonError

pytestmark = pytest.mark.asyncio


def scored(seed, items=range(20), repeats=1, **said):
    rng = random.Random(seed)
    return [(item, r, {"bleu": rng.random(), **said}) for item in items for r in range(repeats)]


async def test_the_same_items_are_pairs_and_the_result_is_treatment_minus_control(lab):
    a, b = await run(lab, "a", scored(1)), await run(lab, "b", scored(2))
    found = await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    first, second = ([row[2]["bleu"] for row in scored(seed)] for seed in (1, 2))
    expected = scipy_stats.ttest_rel(second, first)
    assert found.result.test == "paired t"
    assert "same items" in found.primary.why
    assert found.result.estimate == pytest.approx(np.mean(second) - np.mean(first))
    assert found.result.p_value == pytest.approx(expected.pvalue)
    assert [arm.role for arm in found.arms] == ["control", "treatment"]


async def test_repeats_are_averaged_within_the_item(lab):
    a, b = await run(lab, "a", scored(1, repeats=3)), await run(lab, "b", scored(2, repeats=3))
    found = await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    means = [
        np.mean(np.reshape([r[2]["bleu"] for r in scored(s, repeats=3)], (20, 3)), 1)
        for s in (1, 2)
    ]
    assert found.result.n == (20, 20)
    assert found.result.p_value == pytest.approx(scipy_stats.ttest_rel(means[1], means[0]).pvalue)


async def test_different_items_are_independent(lab):
    a = await run(lab, "a", scored(1))
    b = await run(lab, "b", scored(2, items=range(100, 130)))
    found = await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    assert (found.result.test, found.result.n) == ("Welch's t", (20, 30))


async def test_partly_common_items_are_refused_until_the_pairing_is_said(lab):
    a = await run(lab, "a", scored(1))
    b = await run(lab, "b", scored(2, items=range(10, 30)))
    with pytest.raises(ComparisonError, match="33% of the items"):
        await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    pairs = await lab.compare_experiments([a.id, b.id], metric="score.bleu", pairing="intersection")
    everything = await lab.compare_experiments(
        [a.id, b.id], metric="score.bleu", pairing="independent"
    )
    assert (pairs.result.test, pairs.result.n) == ("paired t", (10, 10))
    assert [arm.unpaired_items for arm in pairs.arms] == [10, 10]
    assert (everything.result.test, everything.result.n) == ("CR2 difference", (20, 20))


async def test_few_lost_items_are_left_out_and_reported(lab):
    a, b = await run(lab, "a", scored(1)), await run(lab, "b", scored(2, items=range(2, 20)))
    found = await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    assert found.result.n == (18, 18)
    assert any("2 of its items" in note for note in found.notes)


async def test_true_and_false_of_pairs_are_rates_by_mcnemar(lab):
    def answers(seed):
        rng = random.Random(seed)
        return [(item, 0, {"correct": rng.random() < 0.6}) for item in range(30)]

    a, b = await run(lab, "a", answers(1)), await run(lab, "b", answers(2))
    found = await lab.compare_experiments([a.id, b.id], metric="score.correct")
    assert found.result.test == "McNemar"


async def test_cost_sums_all_calls_failed_and_retried_ones_too(lab):
    first = [(item, 0, {"cost": 0.1, "calls": 2}) for item in range(5)]
    retried = [(0, 0, {"cost": 1.0, "fail": "timeout"}), (0, 0, {"cost": 0.5, "attempt": 1})]
    b_rows = [*retried, *((item, 0, {"cost": 0.1 * item}) for item in range(1, 5))]
    a, b = await run(lab, "a", first), await run(lab, "b", b_rows)
    found = await lab.compare_experiments([a.id, b.id], metric="cost_usd")
    assert found.arms[0].value == pytest.approx(0.2)
    assert found.arms[1].value == pytest.approx((1.5 + 0.1 + 0.2 + 0.3 + 0.4) / 5)
    assert found.arms[1].units == 5
    assert found.attempts[0].result.n == (5, 5)


async def test_success_is_the_outcome_after_retries(lab):
    a = await run(lab, "a", [(item, 0, {}) for item in range(4)])
    b = await run(
        lab,
        "b",
        [(0, 0, {"fail": "x"}), (0, 0, {"attempt": 1}), *((i, 0, {}) for i in range(1, 4))],
    )
    found = await lab.compare_experiments([a.id, b.id], metric="success")
    assert [arm.value for arm in found.arms] == [1.0, 1.0]
    by_attempt = found.attempts[0].result
    assert by_attempt.estimate == pytest.approx(-0.125)


async def test_failures_never_succeed_so_a_high_quantile_is_infinite(lab):
    a = await run(lab, "a", [(item, 0, {}) for item in range(100)])
    rows = [(item, 0, {"fail": "broken"} if item < 3 else {}) for item in range(100)]
    b = await run(lab, "b", rows)
    found = await lab.compare_experiments([a.id, b.id], metric="latency_ms")
    p99 = found.quantiles[-1]
    assert "p99" in p99.estimand
    assert p99.estimate == math.inf
    assert any("did not succeed" in note for note in found.beside[0].notes)
    assert "horizon_s" in found.primary.why


async def test_a_declared_horizon_gives_a_restricted_mean(lab):
    a, b = await run(lab, "a", scored(1)), await run(lab, "b", scored(2, fail="broken"))
    found = await lab.compare_experiments([a.id, b.id], metric="latency_ms", horizon_s=10)
    assert found.result.estimate == pytest.approx(
        10_000, rel=0.01
    )  # all fail: they take the whole horizon


async def test_secondary_metrics_are_corrected_for_their_number(lab):
    a, b = await run(lab, "a", scored(1, cost=0.1)), await run(lab, "b", scored(2, cost=0.2))
    found = await lab.compare_experiments(
        [a.id, b.id], metric="success", secondary=["score.bleu", "latency_ms"]
    )
    raw = [one.result.p_value for one in found.secondary]
    assert [one.p_adjusted for one in found.secondary] == pytest.approx(list(ct.stats.holm(raw)))


async def test_the_control_is_who_is_said_to_be(lab):
    a, b = await run(lab, "a", scored(1)), await run(lab, "b", scored(2))
    one = await lab.compare_experiments([a.id, b.id], metric="score.bleu")
    other = await lab.compare_experiments([a.id, b.id], metric="score.bleu", control=b.id)
    assert other.result.estimate == pytest.approx(-one.result.estimate)


async def test_calls_without_trials_are_compared_with_an_honest_note(lab):
    arms = []
    for name, base in (("a", 1.0), ("b", 2.0)):
        async with lab.experiment(name) as exp:
            for i in range(20):
                await ct.execute("llm.request.stop", {"duration_ms": base + i})
        arms.append(exp.id)
    found = await lab.compare_experiments(arms, metric="latency_ms")
    assert found.unit_kind == "call"
    assert any("taken as independent" in note for note in found.notes)
    assert found.result.estimate == pytest.approx(1.0)


async def test_calls_that_name_items_are_grouped_by_them(lab):
    arms = []
    for name in ("a", "b"):
        async with lab.experiment(name) as exp:
            for i in range(20):
                await ct.execute(
                    "llm.request.stop", {"cost_usd": i + 1.0}, {"sample_id": f"q{i % 5}"}
                )
        arms.append(exp.id)
    found = await lab.compare_experiments(arms, metric="cost_usd")
    assert found.result.n == (5, 5)
    assert any("grouped by the item" in note for note in found.notes)


async def test_experiments_that_share_events_are_refused(lab):
    a = await lab.start_experiment("a", capture="process")
    b = await lab.start_experiment("b", capture="process")
    for i in range(10):
        await ct.execute("llm.request.stop", {"duration_ms": i})
    with pytest.raises(ComparisonError, match="share events"):
        await lab.compare_experiments([a.id, b.id], metric="latency_ms")


async def test_unpriced_costs_and_unknown_metrics_are_refused(lab):
    a, b = await run(lab, "a", scored(1, cost=0.1)), await run(lab, "b", scored(2))
    with pytest.raises(ComparisonError, match="unknown price"):
        await lab.compare_experiments([a.id, b.id], metric="cost_usd")
    with pytest.raises(ComparisonError, match="no value"):
        await lab.compare_experiments([a.id, b.id], metric="no_such_field")
    with pytest.raises(ComparisonError, match="two experiments"):
        await lab.compare_experiments([a.id], metric="success")
