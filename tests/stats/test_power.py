"""Planning: against statsmodels, textbooks, and counting the outcomes out."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import MeansDesign, RatesDesign, design_effect

SIDES = {"two-sided": "two-sided", "greater": "larger", "less": "smaller"}


def test_the_numbers_of_cohens_tables():
    """Cohen, Statistical Power Analysis (1988), table 2.4.1: power 0.80, two-sided 0.05, n of each arm."""
    table = {0.2: 393, 0.5: 64, 0.8: 26}
    for effect, n in table.items():
        assert MeansDesign().sample_size(effect) == pytest.approx(
            n, abs=1
        )  # 0.2: 394 by exact power
    assert MeansDesign().sample_size(0.5) == 64
    assert MeansDesign(kind="paired").sample_size(0.5) == 34


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("effect", "n", "ratio"), [(0.5, 20, 1.0), (0.2, 300, 0.5), (1.5, 3, 2.0), (-0.4, 30, 1.0)]
)
def test_power_agrees_with_statsmodels(side, effect, n, ratio):
    ours = MeansDesign(alternative=side, ratio=ratio).power(effect, n)
    theirs = TTestIndPower().power(effect, n, 0.05, ratio=ratio, alternative=SIDES[side])
    assert ours == pytest.approx(theirs, abs=1e-9)
    ours = MeansDesign(kind="one-sample", alternative=side).power(effect, n)
    theirs = TTestPower().power(effect, n, 0.05, alternative=SIDES[side])
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_without_an_effect_power_is_the_error_allowed():
    assert MeansDesign().power(0.0, 12) == pytest.approx(0.05, abs=1e-9)
    assert MeansDesign(alternative="less", confidence=0.99).power(0.0, 5) == pytest.approx(
        0.01, abs=1e-9
    )


@settings(max_examples=30)
@given(
    st.floats(0.05, 3),
    st.sampled_from([0.5, 0.8, 0.95]),
    st.sampled_from(["paired", "independent"]),
)
def test_the_sample_size_is_the_smallest_that_will_do(effect, power, kind):
    design = MeansDesign(kind=kind)
    n = design.sample_size(effect, power)
    assert design.power(effect, n) >= power
    assert n == 2 or design.power(effect, n - 1) < power


@settings(max_examples=30)
@given(st.integers(3, 5000), st.sampled_from(["two-sided", "greater", "less"]))
def test_the_minimum_detectable_effect_has_the_power_asked_for(n, side):
    design = MeansDesign(alternative=side)
    effect = design.minimum_detectable_effect(n, 0.9)
    assert design.power(effect, n) == pytest.approx(0.9, abs=1e-8)
    assert (effect < 0) is (side == "less")


def test_repeats_help_by_what_they_do_not_share():
    plain = MeansDesign().sample_size(0.3)
    assert MeansDesign(repeats=5, icc=1.0).sample_size(0.3) == plain  # repeats say nothing new
    assert MeansDesign(repeats=5, icc=0.0).sample_size(0.3) == pytest.approx(plain / 5, abs=1)
    half = MeansDesign(repeats=3, icc=0.5).sample_size(0.3)
    assert half == pytest.approx(plain * design_effect(3, 0.5) / 3, abs=1)
    assert design_effect(3, 0.5) == 2.0


def test_repeats_have_the_power_that_simulation_finds():
    rng, runs, items, repeats, icc = np.random.default_rng(3), 4000, 20, 3, 0.4
    shared = rng.normal(0, math.sqrt(icc), (2, runs, items, 1))
    values = shared + rng.normal(0, math.sqrt(1 - icc), (2, runs, items, repeats))
    means = values.mean(axis=-1)
    found = scipy_stats.ttest_ind(means[1] + 0.7, means[0], axis=-1).pvalue < 0.05
    planned = MeansDesign(repeats=repeats, icc=icc).power(0.7, items)
    assert found.mean() == pytest.approx(
        planned, abs=3.3 * math.sqrt(planned * (1 - planned) / runs)
    )


def by_counting(control_rate, treatment_rate, n, m):
    """Over every outcome, with SciPy's χ² test."""
    power = 0.0
    for k in range(n + 1):
        for j in range(m + 1):
            if 0 < k + j < n + m:
                table = [[j, m - j], [k, n - k]]
                rejects = scipy_stats.chi2_contingency(table, correction=False).pvalue < 0.05
                chance = scipy_stats.binom.pmf(k, n, control_rate) * scipy_stats.binom.pmf(
                    j, m, treatment_rate
                )
                power += rejects * chance
    return power


def test_the_power_of_rates_is_counted_out():
    design = RatesDesign()
    assert design.power(0.3, 0.7, 12) == pytest.approx(by_counting(0.3, 0.7, 12, 12), abs=1e-10)
    assert RatesDesign(ratio=0.5).power(0.5, 0.95, 14) == pytest.approx(
        by_counting(0.5, 0.95, 14, 7), abs=1e-10
    )
    one_sided = RatesDesign(alternative="greater").power(0.3, 0.7, 12)
    assert RatesDesign(alternative="less").power(0.7, 0.3, 12) == pytest.approx(
        one_sided, abs=1e-10
    )
    assert one_sided > design.power(0.3, 0.7, 12)


def test_the_sample_size_of_rates_is_close_to_the_normal_formula_and_enough():
    """Fleiss, Statistical Methods for Rates and Proportions: without correction 435 for 0.90 against 0.95."""
    design = RatesDesign()
    n = design.sample_size(0.90, 0.95)
    assert n == pytest.approx(435, rel=0.03)
    assert all(design.power(0.90, 0.95, more) >= 0.8 for more in range(n, n + 10))
    assert design.power(0.90, 0.95, n - 1) < 0.8


def test_rates_with_repeats_count_the_effective_trials():
    assert RatesDesign(repeats=4, icc=0.0).power(0.5, 0.7, 25) == RatesDesign().power(0.5, 0.7, 100)
    assert RatesDesign(repeats=4, icc=1.0).power(0.5, 0.7, 25) == RatesDesign().power(0.5, 0.7, 25)


def test_the_smallest_difference_of_rates_has_the_power_asked_for():
    design = RatesDesign()
    apart = design.minimum_detectable_effect(0.8, 300)
    assert design.power(0.8, 0.8 + apart, 300) == pytest.approx(0.8, abs=1e-4)
    fall = RatesDesign(alternative="less").minimum_detectable_effect(0.8, 300)
    assert fall < 0
    assert math.isnan(design.minimum_detectable_effect(0.99, 20))  # no rate is that much higher


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: MeansDesign(repeats=3), "icc: repeats need the correlation"),
        (lambda: MeansDesign(repeats=3, icc=1.5), "icc: 1.5"),
        (lambda: MeansDesign(repeats=0), "repeats: 0 is no whole number"),
        (lambda: MeansDesign(ratio=0.0), "ratio: 0.0"),
        (lambda: MeansDesign(kind="triple"), "kind: 'triple'"),
        (lambda: MeansDesign(confidence=2.0), "confidence: 2.0"),
        (lambda: MeansDesign().sample_size(0.0), "effect_size: 0.0 is not what is looked for"),
        (lambda: MeansDesign(alternative="less").sample_size(0.5), "effect_size: 0.5"),
        (lambda: MeansDesign().sample_size(0.5, power=1.0), "power: 1.0"),
        (lambda: MeansDesign().minimum_detectable_effect(1), "n: 1 items allow no test"),
        (lambda: MeansDesign().sample_size(1e-7), "power: more than"),
        (lambda: RatesDesign().power(1.1, 0.5, 10), "control_rate: 1.1"),
        (lambda: RatesDesign().sample_size(0.5, 0.5), "treatment_rate: 0.5"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(make, named):
    with pytest.raises(ConfigurationError, match=named):
        make()


def test_too_few_items_have_no_power():
    assert MeansDesign().power(5.0, 1) == 0.0
    assert RatesDesign().power(0.1, 0.9, 0) == 0.0
