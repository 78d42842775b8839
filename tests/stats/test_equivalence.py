"""Equivalence: published examples, statsmodels, and that interval and test agree."""

import numpy as np
import pytest
from statsmodels.stats import proportion, weightstats

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats import Moments, tost_paired, tost_proportions, tost_welch

RNG = np.random.default_rng(41)


def test_the_example_of_lakens():
    """Lakens, Social Psychological and Personality Science 8 (2017) 355-362: Eskine (2013) against its
    replication, bounds d = ± 0.43: Welch's t(181.1) = −2.69, p = 0.004: equivalent."""
    pooled = ((0.95**2 + 0.83**2) / 2) ** 0.5
    bounds = (-0.43 * pooled, 0.43 * pooled)
    result = tost_welch(Moments(89, 5.22, 0.83**2), Moments(95, 5.25, 0.95**2), bounds=bounds)
    assert result.statistic == pytest.approx(-2.69, abs=0.005)
    assert result.df[0] == pytest.approx(181.1, abs=0.05)
    assert result.p_value == pytest.approx(0.004, abs=0.0005)
    assert result.confidence == pytest.approx(0.90)
    assert result.notes[0].startswith("equivalent within")


def test_two_arms_and_pairs_agree_with_statsmodels():
    control, treatment = RNG.normal(0, 1, 30), RNG.normal(0.1, 2, 30)
    result = tost_welch(control, treatment, bounds=(-1, 0.8))
    expected = weightstats.ttost_ind(treatment, control, -1, 0.8, usevar="unequal")
    assert result.p_value == pytest.approx(expected[0], rel=1e-9)
    result = tost_paired(control, treatment, bounds=(-1, 0.8))
    expected = weightstats.ttost_paired(treatment, control, -1, 0.8)
    assert result.p_value == pytest.approx(expected[0], rel=1e-9)


def test_proportions_agree_with_statsmodels():
    result = tost_proportions((90, 100), (91, 100), bounds=(-0.1, 0.1))
    expected = proportion.tost_proportions_2indep(
        91, 100, 90, 100, -0.1, 0.1, method="score", correction=False
    )
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert result.notes == ("equivalent within -0.1 to 0.1",)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6, -0.7, 2.0])
def test_equivalence_is_shown_exactly_when_the_interval_lies_inside(shift):
    control, treatment = RNG.normal(0, 1, 25), RNG.normal(shift, 1, 25)
    for test in (tost_welch, tost_paired):
        result = test(control, treatment, bounds=(-0.9, 0.9))
        inside = result.interval[0] > -0.9 and result.interval[1] < 0.9
        assert inside is (result.p_value < 0.05) is result.notes[0].startswith("equivalent")


def test_what_cannot_be_tested_says_why():
    assert "needs two values" in tost_welch([1.0], [1.0, 2.0], bounds=(-1, 1)).notes[0]
    assert "nothing varies" in tost_paired([1.0, 2.0], [1.0, 2.0], bounds=(-1, 1)).notes[0]
    assert "no trials" in tost_proportions((0, 0), (1, 2), bounds=(-0.1, 0.1)).notes[0]
    with pytest.raises(ConfigurationError, match="bounds: 1.0 is not below -1.0"):
        tost_welch([1.0, 2.0], [1.0, 2.0], bounds=(1, -1))
    with pytest.raises(ConfigurationError, match=r"confidence: 0.4 is not above one half"):
        tost_welch([1.0, 2.0], [1.0, 2.0], bounds=(-1, 1), confidence=0.4)
