"""Newcombe's interval for a difference of rates."""

import math

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.analysis.newcombe import Rate, newcombe


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
def test_the_published_examples_come_out(treatment, control, low, high):
    """Newcombe 1998, table II, method 10."""
    result = newcombe(Rate(*control), Rate(*treatment))
    assert result.interval == pytest.approx((low, high), abs=1e-4)
    assert result.estimate == pytest.approx(treatment[0] / treatment[1] - control[0] / control[1])


rates = st.integers(1, 500).flatmap(lambda n: st.builds(Rate, st.integers(0, n), st.just(n)))


@given(rates, rates, st.floats(0.5, 0.99))
def test_the_interval_holds_the_estimate_and_turns_with_the_arms(one, other, confidence):
    there = newcombe(one, other, confidence=confidence)
    back = newcombe(other, one, confidence=confidence)
    low, high = there.interval
    assert -1 <= low <= there.estimate + 1e-12
    assert there.estimate - 1e-12 <= high <= 1
    assert back.interval == pytest.approx((-high, -low), abs=1e-12)


def test_no_tries_give_a_reason_and_no_certainty():
    result = newcombe(Rate(0, 0), Rate(3, 4))
    assert math.isnan(result.estimate)
    assert result.interval == (-1, 1)
    assert "has 0 and 4" in result.notes[0]


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_is_between_zero_and_one(confidence):
    with pytest.raises(ValueError, match="confidence"):
        newcombe(Rate(1, 2), Rate(1, 2), confidence=confidence)
