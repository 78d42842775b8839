"""The bootstrap by choice: items are resampled, and the same question has the same digits."""

import random

import numpy as np
import pytest
from trial_arms import run

import crucible_telemetry as ct
from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import two_arms
from crucible_telemetry.compare.resampled import resampled, seed_of
from crucible_telemetry.stats.inference import Inference


def scored(seed, items=range(25), repeats=2):
    rng = random.Random(seed)
    return [
        (i, r, {"s": rng.random(), "cost": rng.random()}) for i in items for r in range(repeats)
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["BCa", "percentile"])
async def test_pairs_are_resampled_by_item_and_asking_again_gives_the_same_digits(lab, method):
    ids = [(await run(lab, name, scored(seed))).id for name, seed in (("a", 1), ("b", 2))]
    found = await lab.compare_experiments(ids, metric="score.s", bootstrap=method)
    again = await lab.compare_experiments(ids, metric="score.s", bootstrap=method)
    by_t = await lab.compare_experiments(ids, metric="score.s")
    means = [np.reshape([r[2]["s"] for r in scored(seed)], (25, 2)).mean(1) for seed in (1, 2)]
    means = [mean[np.argsort([str(item) for item in range(25)])] for mean in means]
    plan = ct.stats.Bootstrap(method=method, seed=seed_of("score.s", ids))
    assert found.result.interval == again.result.interval == plan.paired(*means).interval
    assert found.result.interval == pytest.approx(by_t.result.interval, abs=0.05)
    assert (found.result.estimate, found.result.p_value) == (
        by_t.result.estimate,
        by_t.result.p_value,
    )
    assert f"bootstrap ({method}) over items" in found.result.method
    assert "was asked for" in found.primary.why


@pytest.mark.asyncio
async def test_ratios_of_pairs_and_of_others_are_resampled_as_they_were_drawn(lab):
    ids = [
        (await run(lab, name, scored(seed, range(start, start + 25)))).id
        for name, seed, start in (("a", 1, 0), ("b", 2, 0), ("c", 3, 100))
    ]
    for pair, paired in ((ids[:2], True), (ids[::2], False)):
        by_t = await lab.compare_experiments(pair, metric="cost_per_success")
        found = await lab.compare_experiments(
            pair, metric="cost_per_success", bootstrap="percentile"
        )
        assert ("of pairs" in found.result.test) is paired
        assert found.result.interval == pytest.approx(by_t.result.interval, abs=0.05)
    with pytest.raises(ct.ConfigurationError, match="bootstrap: is of two arms, not 3"):
        await lab.compare_experiments(ids, metric="score.s", bootstrap="BCa")
    with pytest.raises(ct.ConfigurationError, match="bootstrap: 'x' is none of BCa, percentile"):
        await lab.compare_experiments(ids[:2], metric="score.s", bootstrap="x")
    with pytest.raises(ct.ComparisonError, match=r"latency_ms.*bootstrap is of means"):
        await lab.compare_experiments(ids[:2], metric="latency_ms", bootstrap="BCa")


def test_partly_common_items_are_drawn_as_one_and_too_many_are_refused():
    rng = np.random.default_rng(3)
    arms = [
        Arm(name, rng.normal(size=40), np.arange(40) + shift)
        for name, shift in (("a", 0), ("b", 15))
    ]
    design = designed("m", arms, "independent")
    by_t = two_arms("mean", design, Inference())
    found = resampled("m", "mean", design, by_t, ("percentile", 5)).result
    assert found.interval == pytest.approx(by_t.result.interval, abs=0.1)
    many = [Arm(name, rng.normal(size=20_000), np.arange(20_000)) for name in "ab"]
    design = designed("m", many, None)
    with pytest.raises(ct.ComparisonError, match="BCa takes the square of 40,000 items"):
        resampled("m", "mean", design, two_arms("mean", design, Inference()), ("BCa", 5))
