"""Three arms: an omnibus test, the pairs, the best."""

import random

import numpy as np
import pytest
from scipy import stats as scipy_stats
from trial_arms import run

from crucible_telemetry import stats

pytestmark = pytest.mark.asyncio


async def three(lab, *, same):
    ids, values = [], []
    for place, shift in enumerate((0.0, 0.1, 0.8)):
        rng = random.Random(place)
        items = range(25) if same else range(100 * place, 100 * place + 25)
        rows = [(i, 0, {"s": rng.random() + shift}) for i in items]
        values.append([row[2]["s"] for row in rows])
        ids.append((await run(lab, f"arm{place}", rows)).id)
    return ids, values


async def test_the_same_items_are_blocks_for_friedman_and_pairs_for_holm(lab):
    ids, values = await three(lab, same=True)
    found = await lab.compare_experiments(ids, metric="score.s")
    assert found.result.p_value == pytest.approx(scipy_stats.friedmanchisquare(*values).pvalue)
    assert [one.result.test for one in found.pairs] == ["paired t"] * 3
    assert found.pairs[1].result.estimate == pytest.approx(np.mean(values[2]) - np.mean(values[0]))
    assert all(one.p_adjusted >= one.result.p_value for one in found.pairs)


async def test_different_items_go_by_welchs_analysis_of_variance_and_games_howell(lab):
    ids, _ = await three(lab, same=False)
    found = await lab.compare_experiments(ids, metric="score.s")
    assert found.result.p_value < 0.001
    assert {one.result.test for one in found.pairs} == {"Games–Howell"}
    assert found.best[2].interval[0] == 0  # arm2 is picked out as the largest
    assert "arm0 → arm2" in str(found)


async def test_a_named_control_is_compared_with_each_by_dunnett(lab):
    ids, values = await three(lab, same=False)
    found = await lab.compare_experiments(ids, metric="score.s", control=ids[0])
    arms = dict(zip("abc", values, strict=True))
    law = stats.dunnett(arms, control="a", variances="unequal")
    assert [one.result.test for one in found.pairs] == ["Dunnett", "Dunnett"]
    assert [one.p_adjusted for one in found.pairs] == pytest.approx([one.p_value for one in law])


async def test_times_of_three_arms_are_compared_as_curves_and_by_pairs(lab):
    ids, _ = await three(lab, same=True)
    found = await lab.compare_experiments(ids, metric="latency_ms")
    assert len(found.pairs) == 3
    assert found.result.test == "log-rank of several arms"
    assert "item is the cluster" in found.primary.why
    assert [one.test for one in found.best] == ["comparison with the best"] * 3
    p90 = await lab.compare_experiments(ids, metric="latency_ms.p90")
    assert p90.result.p_value == min(one.p_adjusted for one in p90.pairs)
    assert "no joint test" in p90.primary.why


async def test_a_horizon_makes_restricted_means_that_walds_test_compares(lab):
    ids, _ = await three(lab, same=True)
    found = await lab.compare_experiments(ids, metric="latency_ms", horizon_s=10)
    assert found.result.test == "CR2 Wald"
    assert found.result.df == pytest.approx((2, 23))
    assert any("pseudo-values" in note for note in found.result.notes)


async def test_partly_common_items_and_ratios_are_clusters_for_walds_test(lab):
    ids = []
    for place in range(3):
        rng = random.Random(place)
        rows = [(i, 0, {"s": rng.random(), "cost": rng.random()}) for i in range(place, 20 + place)]
        ids.append((await run(lab, f"arm{place}", rows)).id)
    found = await lab.compare_experiments(ids, metric="score.s", pairing="independent")
    assert found.result.test == "CR2 Wald"
    assert found.result.n == (20, 20, 20)
    ratio = await lab.compare_experiments(ids, metric="cost_per_success")
    assert ratio.result.test == "CR2 Wald"
    assert ratio.result.n == (18, 18, 18)
    assert 0 < ratio.result.p_value <= 1
    assert ratio.best[0].estimate == pytest.approx(
        ratio.arms[0].value - min(arm.value for arm in ratio.arms[1:])
    )


async def test_several_arms_are_drawn_by_pairs_beside_a_curve_each(lab):
    pytest.importorskip("matplotlib", reason="plot() needs the extra [plot]")
    ids, _ = await three(lab, same=True)
    found = await lab.compare_experiments(ids, metric="score.s")
    left, right = found.plot().axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["arm1 → arm2", "arm0 → arm2", "arm0 → arm1"]
    assert "all pairs together" in left.get_title(loc="left")
    assert {line.get_label() for line in right.get_lines()} == {"arm0", "arm1", "arm2"}
    assert len({line.get_color() for line in right.get_lines()}) == 3
    assert "hold together (Bonferroni)" in str(found)
    assert "score.s: any arm" in str(found)
    times = await lab.compare_experiments(ids, metric="latency_ms")
    assert times.plot().axes[1].get_ylabel() == "share succeeded by then"
    assert "undefined" not in str(times)
