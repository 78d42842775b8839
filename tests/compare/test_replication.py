"""Repeats are no replication: what the default rejects under the null, beside the naive test on rows."""

import random

import numpy as np
import pytest
from trial_arms import run

from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import two_arms
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.means import paired_t, welch_t

ITEMS = np.repeat(np.arange(200), 3)


def rejections(*, same_items, runs=2000):
    """(by design, naive) shares of p < 0.05: 200 items × 3 repeats an arm, items differ, arms do not."""
    rng, counts = np.random.default_rng(5), np.zeros(2)
    for _ in range(runs):
        base = rng.normal(0, 1, (2, 200))
        base[1] = base[0] if same_items else base[1]
        # Items that are hard for one arm need not be for the other: the arms share half of it.
        own = rng.normal(0, 0.7, (2, 200))
        values = [(base[i] + own[i])[ITEMS] + rng.normal(0, 0.5, 600) for i in (0, 1)]
        arms = [
            Arm(name, v, ITEMS + (0 if same_items else 1000 * place))
            for place, (name, v) in enumerate(zip("ab", values, strict=True))
        ]
        found = two_arms("mean", designed("m", arms, None), Inference()).result
        on_rows = (paired_t if same_items else welch_t)(*values)
        counts += (found.p_value < 0.05, on_rows.p_value < 0.05)
    return counts / runs


@pytest.mark.parametrize("same_items", [True, False])
def test_the_default_comparison_rejects_five_in_a_hundred_and_the_naive_one_far_more(same_items):
    default, naive = rejections(same_items=same_items)
    assert 0.04 <= default <= 0.06
    assert (
        naive > 0.08 or same_items
    )  # in pairs the naive test also loses what pairs have in common


@pytest.mark.asyncio
async def test_the_whole_way_through_a_lab_takes_items_not_trials_as_n(lab):
    ids = []
    for name, seed in (("a", 1), ("b", 2)):
        rng = random.Random(seed)
        rows = [
            (i, r, {"s": (7 * i + seed) % 5 + rng.random()}) for i in range(20) for r in range(3)
        ]
        ids.append((await run(lab, name, rows)).id)
    found = await lab.compare_experiments(ids, metric="score.s")
    assert found.result.n == (20, 20)
    assert [arm.units for arm in found.arms] == [60, 60]
