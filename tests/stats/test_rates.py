"""Rates: against SciPy, statsmodels and the papers the intervals come from."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats import proportion

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import (
    PairedRates,
    binomial_test,
    chi_square,
    clopper_pearson,
    fisher_exact,
    mcnemar,
    newcombe,
    newcombe_paired,
    odds_ratio,
    verdict,
    wilson,
)

SIDES = ("two-sided", "less", "greater")
COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(rate=COUNTS, confidence=st.sampled_from([0.8, 0.95, 0.999]), side=st.sampled_from(SIDES))
def test_one_rate_agrees_with_scipy(rate, confidence, side):
    successes, n = rate
    done = scipy_stats.binomtest(successes, n, 0.9, alternative=side)
    told = {"confidence": confidence, "alternative": side}
    score, exact = (done.proportion_ci(confidence, method) for method in ("wilson", "exact"))
    assert wilson(rate, **told).interval == pytest.approx((score.low, score.high), abs=1e-12)
    assert clopper_pearson(rate, **told).interval == pytest.approx(
        (exact.low, exact.high), abs=1e-12
    )
    result = binomial_test(rate, claim=0.9, **told)
    assert result.p_value == pytest.approx(done.pvalue, rel=1e-12)
    assert result.estimate == successes / n


@pytest.mark.parametrize(
    ("treatment", "control", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_differences_are_those_of_newcombes_table_2(treatment, control, low, high):
    """Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10, cases (a) to (h)."""
    result = newcombe(control, treatment)
    assert result.interval == pytest.approx((low, high), abs=5e-5)


@given(control=COUNTS, treatment=COUNTS)
def test_differences_agree_with_statsmodels_and_their_score_test_with_chi_square(
    control, treatment
):
    result = newcombe(control, treatment)
    expected = proportion.confint_proportions_2indep(
        *treatment, *control, compare="diff", method="newcomb"
    )
    assert result.interval == pytest.approx(expected, abs=1e-9)
    table = [[k, n - k] for k, n in (treatment, control)]
    if np.sum(table, axis=0).all():
        assert result.p_value == pytest.approx(chi_square(table).p_value, abs=1e-12)
        assert result.statistic**2 == pytest.approx(
            chi_square(table).statistic, rel=1e-9, abs=1e-12
        )
    else:
        assert (result.p_value, result.notes) == (1.0, ("all outcomes are the same",))


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("control", "treatment"), [((3, 20), (12, 20)), ((0, 9), (4, 7)), ((5, 5), (2, 8))]
)
def test_fisher_and_odds_ratios_agree_with_scipy(control, treatment, side):
    table = [[k, n - k] for k, n in (treatment, control)]
    result = fisher_exact(control, treatment, alternative=side)
    assert result.p_value == pytest.approx(
        scipy_stats.fisher_exact(table, alternative=side).pvalue, rel=1e-12
    )
    expected = scipy_stats.contingency.odds_ratio(table)
    limits = expected.confidence_interval(0.95, side)
    assert (result.estimate, *result.interval) == pytest.approx((expected.statistic, *limits))
    assert result.estimate > 1 or treatment[0] / treatment[1] < control[0] / control[1]


@given(control=COUNTS, treatment=COUNTS, side=st.sampled_from(SIDES))
def test_the_effect_of_two_rates_is_the_sample_log_odds_ratio(control, treatment, side):
    effect = newcombe(control, treatment, alternative=side).effect_size
    expected = odds_ratio(control, treatment, alternative=side).effect_size
    if expected is None:  # all outcomes are the same
        assert effect is None
        return
    assert effect.estimate == pytest.approx(expected.estimate, rel=1e-9, abs=1e-12)
    if all(0 < k < n for k, n in (control, treatment)):
        assert effect.interval == pytest.approx(expected.interval, rel=1e-6, abs=1e-9)
    else:
        assert effect.interval == (-math.inf, math.inf)


def test_the_sample_odds_ratio_has_woolfs_interval():
    result = odds_ratio((10, 30), (20, 30))
    log, error = math.log(4), math.sqrt(1 / 20 + 1 / 10 + 1 / 10 + 1 / 20)
    z = scipy_stats.norm.ppf(0.975)
    assert result.estimate == pytest.approx(4)
    assert result.interval == pytest.approx((math.exp(log - z * error), math.exp(log + z * error)))
    empty = odds_ratio((0, 10), (5, 10))
    assert empty.interval == (0.0, math.inf)
    assert "a cell is empty" in empty.notes[0]


def test_chi_square_agrees_with_scipy_and_its_effect_has_an_interval():
    table = [[30, 10, 5], [20, 20, 15]]
    result = chi_square(table)
    expected = scipy_stats.chi2_contingency(table, correction=False)
    assert (result.statistic, result.p_value) == pytest.approx(
        (expected.statistic, expected.pvalue)
    )
    assert result.df == (2.0,)
    assert result.estimate == pytest.approx(scipy_stats.contingency.association(table, "cramer"))
    low, high = (scipy_stats.ncx2.cdf(result.statistic, 2, 100 * v * v) for v in result.interval)
    assert (low, high) == pytest.approx((0.975, 0.025), abs=1e-9)
    assert "4 expected counts are below 5" in chi_square([[3, 2], [1, 4]]).notes[0]


def test_a_table_that_is_none_is_refused_and_an_empty_row_said():
    for wrong in ([[1, 2]], [[1.5, 2], [3, 4]], [[-1, 2], [3, 4]]):
        with pytest.raises(ConfigurationError, match="table"):
            chi_square(wrong)
    assert "a row or column is empty" in chi_square([[0, 0], [3, 4]]).notes[0]


def test_the_airway_study_has_the_published_interval_and_p_values():
    """Fagerland, Lydersen & Laake: Statistics in Medicine 33 (2014) 2850-2875 (Newcombe's interval −0.507
    to −0.026) and BMC Medical Research Methodology 13 (2013) 91 (exact p 0.070, mid-p 0.039)."""
    pairs = PairedRates(both=1, control_only=7, treatment_only=1, neither=12)
    result = newcombe_paired(pairs)
    assert result.estimate == pytest.approx(-6 / 21)
    assert result.interval == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert mcnemar(pairs, exact=True).p_value == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(pairs).p_value == pytest.approx(0.0391, abs=5e-5)


@given(st.lists(st.integers(0, 40), min_size=4, max_size=4), st.sampled_from(SIDES))
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(cells, side):
    pairs = PairedRates(
        both=cells[0], control_only=cells[1], treatment_only=cells[2], neither=cells[3]
    )
    differ = cells[1] + cells[2]
    if not differ:
        assert (
            math.isnan(mcnemar(pairs).p_value) if not sum(cells) else mcnemar(pairs).p_value == 1.0
        )
        return
    expected = scipy_stats.binomtest(cells[2], differ, 0.5, side).pvalue
    exact, mid = mcnemar(pairs, exact=True, alternative=side), mcnemar(pairs, alternative=side)
    assert exact.p_value == pytest.approx(expected, rel=1e-9)
    seen = scipy_stats.binom.pmf(cells[2], differ, 0.5)
    spared = seen / 2 if side != "two-sided" or cells[1] == cells[2] else seen
    assert mid.p_value == pytest.approx(expected - spared, rel=1e-9, abs=1e-12)
    assert mid.interval[0] <= mid.estimate <= mid.interval[1]
    share = scipy_stats.binomtest(cells[2], differ, 0.5, side).proportion_ci(0.95, "exact")
    for log_odds, limit in zip(mid.effect_size.interval, share, strict=True):
        assert 1 / (1 + math.exp(-max(log_odds, -700))) == pytest.approx(limit, rel=1e-9, abs=1e-12)


def test_pairs_are_counted_item_by_item():
    control, treatment = [1, 1, 0, 0, 0], np.array([True, False, True, True, False])
    expected = PairedRates(both=1, control_only=1, treatment_only=2, neither=1)
    assert PairedRates.of(control, treatment) == expected
    with pytest.raises(ConfigurationError, match="control: one outcome a pair"):
        PairedRates.of([0.5, 1], [0, 1])
    with pytest.raises(ConfigurationError, match="treatment: has 1 values"):
        PairedRates.of([0, 1], [1])
    with pytest.raises(ConfigurationError, match="neither: -1 is no whole number"):
        PairedRates(both=0, control_only=0, treatment_only=0, neither=-1)


def test_without_correlation_the_paired_interval_is_the_independent_one():
    pairs = PairedRates(both=25, control_only=25, treatment_only=25, neither=25)
    assert newcombe_paired(pairs).interval == pytest.approx(newcombe((50, 100), (50, 100)).interval)


def test_swapping_the_arms_turns_the_sign():
    assert newcombe((3, 10), (9, 12)).interval == pytest.approx(
        tuple(-limit for limit in reversed(newcombe((9, 12), (3, 10)).interval))
    )


@pytest.mark.parametrize(
    "empty",
    [
        wilson((0, 0)), clopper_pearson((0, 0)), binomial_test((0, 0), claim=0.5),
        newcombe((0, 0), (1, 2)), fisher_exact((0, 0), (1, 2)), odds_ratio((3, 3), (2, 2)),
        newcombe_paired(PairedRates.of([], [])), mcnemar(PairedRates.of([], [])),
    ],
)  # fmt: skip
def test_nothing_decides_nothing_and_says_so(empty):
    assert math.isnan(empty.estimate)
    assert math.isnan(empty.p_value)
    assert empty.notes
    assert empty.interval in {(0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)}


@pytest.mark.parametrize(
    ("rate", "expected"), [((1000, 1000), "met"), ((95, 100), "missed"), ((100, 100), "undecided")]
)
def test_a_verdict_on_99_per_cent_needs_an_interval(rate, expected):
    assert verdict(wilson(rate), at_least=0.99) == expected


def test_a_verdict_from_above_and_one_claim_at_a_time():
    result = wilson((2, 100))
    assert verdict(result, at_most=0.1) == "met"
    assert verdict(result, at_most=0.001) == "missed"
    assert verdict(result, at_most=0.02) == "undecided"
    for wrong in ({}, {"at_least": 0.5, "at_most": 0.6}):
        with pytest.raises(ConfigurationError, match="at_least or at_most"):
            verdict(result, **wrong)
    assert verdict(wilson((0, 0)), at_least=0.99) == "undecided"
    with pytest.raises(ConfigurationError, match="claim: 99 is not between"):
        binomial_test((1, 2), claim=99)


@given(
    st.integers(0, 40),
    st.integers(0, 60),
    st.floats(0.5, 0.999),
    st.sampled_from(["two-sided", "less", "greater"]),
)
def test_a_p_value_and_an_interval_that_disagree_are_told_and_no_others(
    won, more, confidence, side
):
    found = newcombe((won, 40), (more, 60), confidence=confidence, alternative=side)
    rejected = found.p_value < 1 - confidence
    excluded = not found.interval[0] <= 0 <= found.interval[1]
    assert any("disagree" in note for note in found.notes) == (rejected != excluded)


def test_rare_outcomes_of_unequal_arms_are_told_to_be_few():
    """One failure of 5 beside four of 200 has p = 0.01; exactly, so extreme a table comes up in 12 of 100."""
    found = newcombe((4, 5), (196, 200))
    assert found.p_value < 0.05 < fisher_exact((4, 5), (196, 200)).p_value
    assert "an arm expects 0.1 of the rarer outcome" in found.notes[0]
    assert newcombe((20, 40), (30, 60)).notes == ()
