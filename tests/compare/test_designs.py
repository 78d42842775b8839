"""What the ids make of the arms: pairs, clusters, neither; and figures that subtract to the estimate."""

import math

import numpy as np
import pytest
from trial_arms import run

from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.compare.design import Arm, designed
from crucible_telemetry.compare.method import figure_of, two_arms
from crucible_telemetry.compare.several import Wanted, several_arms
from crucible_telemetry.compare.units import Watched, trial_units
from crucible_telemetry.errors import ComparisonError, ConfigurationError
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.stats import Clustered, cr2_difference
from crucible_telemetry.stats.inference import Inference


def arm(name, values, items, **more):
    return Arm(name, np.asarray(values, float), np.asarray(items).astype(str), **more)


def uneven(rng, name, items, *, below=False):
    """Items of one to four repeats, whose values have what the item is in common."""
    labels = np.repeat(items, rng.integers(1, 5, len(items)))
    values = np.asarray(labels) % 7 + rng.normal(0, 1, len(labels))
    more = {"below": (rng.random(len(labels)) < 0.8).astype(float)} if below else {}
    return arm(name, values, labels, **more)


def test_items_that_two_of_three_arms_share_are_not_taken_as_different_ones():
    arms = [arm("a", range(9), range(9)), arm("b", range(9), range(9)), arm("c", [1, 2], [50, 51])]
    with pytest.raises(ComparisonError, match="only 0% of the items have a value in every arm"):
        designed("m", arms, None)
    design = designed("m", arms, "independent")
    assert (design.crossed, design.paired) == (True, False)
    assert "82%" in design.notes[0]
    apart = designed("m", [arms[0], arms[2]], None)
    assert (apart.crossed, apart.paired) == (False, False)


def test_pairs_that_are_asked_for_and_are_not_there_are_refused():
    arms = [arm("a", [1, 2], [1, 2]), arm("b", [1, 2], [3, 4])]
    with pytest.raises(ComparisonError, match="nothing to pair"):
        designed("m", arms, "intersection")
    with pytest.raises(ComparisonError, match="nothing to pair"):
        designed("m", [Arm("a", np.ones(2), None), Arm("b", np.ones(2), None)], "intersection")


def test_partly_common_items_count_once_each_however_often_they_were_repeated():
    rng = np.random.default_rng(1)
    arms = [uneven(rng, "a", range(12)), uneven(rng, "b", range(6, 20))]
    design = designed("m", arms, "independent")
    found = two_arms("mean", design, Inference()).result
    first, second = (Clustered(one.item_means()[1], one.item_means()[0]) for one in arms)
    expected = cr2_difference(first, second)
    assert (found.estimate, found.p_value) == (expected.estimate, expected.p_value)
    assert found.n == (12, 14)


def test_a_ratio_over_partly_common_items_knows_that_they_are_common():
    rng = np.random.default_rng(2)
    arms = [uneven(rng, "a", range(12), below=True), uneven(rng, "b", range(6, 20), below=True)]
    design = designed("m", arms, "independent")
    found = two_arms("ratio", design, Inference())
    ratios = [one.values.sum() / one.below.sum() for one in arms]
    assert found.result.estimate == pytest.approx(ratios[1] - ratios[0])
    assert found.result.test == "CR2 difference"
    same = [
        arms[0],
        arm("b", arms[0].values + 0.5 * arms[0].below, arms[0].items, below=arms[0].below),
    ]
    shifted = two_arms("ratio", designed("m", same, "independent"), Inference()).result
    assert shifted.estimate == pytest.approx(0.5)
    assert shifted.interval == pytest.approx((0.5, 0.5))  # 0.5 more in every item: no error is left


@pytest.mark.parametrize("pairing", [None, "independent"])
@pytest.mark.parametrize("kind", ["mean", "ratio", "time", "restricted", "p90"])
def test_the_figures_of_the_arms_subtract_to_the_estimate(kind, pairing):
    rng = np.random.default_rng(3)
    arms = [uneven(rng, name, range(25), below=True) for name in "ab"]
    q, horizon = (0.9 if kind == "p90" else None), (5.0 if kind == "restricted" else None)
    name = kind if kind in ("mean", "ratio") else "time"
    if name == "time":
        arms = [one.with_values(np.abs(one.values) + 0.1) for one in arms]
    design = designed("m", arms, pairing)
    found = two_arms(name, design, Inference(), q=q, horizon=horizon).result
    first, second = (figure_of(name, design, place, q, horizon) for place in (0, 1))
    assert found.estimate == pytest.approx(second - first)


def test_a_side_of_several_arms_needs_a_control():
    arms = [arm(name, range(5), range(10 * k, 10 * k + 5)) for k, name in enumerate("abc")]
    wanted = Wanted(
        kind="mean", ask=Inference(0.95, "greater"), against_control=False, best="largest"
    )
    with pytest.raises(ConfigurationError, match="alternative: 'greater' of several arms"):
        several_arms(designed("m", arms, None), wanted)


@pytest.mark.asyncio
async def test_scores_that_are_infinite_allow_no_mean_and_warn_of_nothing(lab):
    rows = [(i, 0, {"s": math.inf if i == 3 else float(i)}) for i in range(6)]
    ids = [(await run(lab, name, rows)).id for name in "ab"]
    found = await lab.compare_experiments(ids, metric="score.s")
    assert "a mean or a variance is not finite" in found.result.notes


@pytest.mark.asyncio
async def test_a_secondary_metric_says_what_it_left_out(lab):
    rows = [(i, 0, {"s": float(i % 3), "u": 1.0 * i} if i else {"s": 1.0}) for i in range(6)]
    ids = [(await run(lab, name, rows)).id for name in "ab"]
    found = await lab.compare_experiments(ids, metric="score.s", secondary=["score.u"])
    assert "16.7% of a" in found.secondary[0].result.notes[-1]
    assert found.figure == "mean"
    assert found.figure in str(found).splitlines()[1]


def trial(started_us, duration_ns=None, outcome=None, attempt=0):
    ended_us = None if duration_ns is None else started_us + duration_ns // 1000
    return TrialRecord(
        number=1, item="q", repeat=0, attempt=attempt, started_us=started_us, ended_us=ended_us,
        duration_ns=duration_ns, outcome=outcome,
    )  # fmt: skip


def test_a_run_that_lost_its_process_and_was_run_again_takes_no_time():
    night = 8 * 3600 * 1_000_000
    runs = [trial(0), trial(night, 5_000_000, "ok")]
    units = trial_units(runs, Watched(night + 10**6, [(2_000, night - 5)]))
    assert units.elapsed_ms.tolist() == [5.0]
    assert [int(code) for code in units.outcome] == [Outcome.OK]
    failed = [trial(0, 3_000_000, "error"), trial(10_000, 5_000_000, "ok", attempt=1)]
    assert trial_units(failed, Watched(night)).elapsed_ms.tolist() == [8.0]


def test_a_trial_left_open_was_watched_until_its_process_died():
    watched = Watched(10**12, [(500, 800), (5_000, 10**11), (10**11 + 1, 10**11 + 2)])
    units = trial_units([trial(1_000)], watched)
    assert units.elapsed_ms.tolist() == [4.0]
    assert units.ended_us.tolist() == [5_000]
    assert trial_units([trial(1_000)], Watched(3_000)).elapsed_ms.tolist() == [2.0]
