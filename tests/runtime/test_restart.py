import math

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.runtime.restart import (
    Backoff,
    Intensity,
    Restart,
    RestartBudget,
    Strategy,
    affected,
    wants_restart,
)


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_end"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.TRANSIENT, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
def test_the_restart_type_says_who_comes_back(restart, after_crash, after_end):
    assert wants_restart(restart, crashed=True) is after_crash
    assert wants_restart(restart, crashed=False) is after_end


@pytest.mark.parametrize(
    ("strategy", "failed", "expected"),
    [
        (Strategy.ONE_FOR_ONE, "b", "b"),
        (Strategy.ONE_FOR_ALL, "b", "abcd"),
        (Strategy.REST_FOR_ONE, "b", "bcd"),
        (Strategy.REST_FOR_ONE, "a", "abcd"),
        (Strategy.REST_FOR_ONE, "d", "d"),
    ],
)
def test_the_strategy_says_who_goes_down_together(strategy, failed, expected):
    assert list(affected(strategy, list("abcd"), failed)) == list(expected)


def test_a_restart_exactly_one_period_ago_still_counts():
    budget = RestartBudget(Intensity(restarts=1, period_s=5.0))
    assert budget.spend(0.0)
    assert not budget.spend(5.0)


def test_a_restart_just_over_a_period_ago_is_forgotten():
    budget = RestartBudget(Intensity(restarts=1, period_s=5.0))
    assert budget.spend(0.0)
    assert budget.spend(math.nextafter(5.0, 6.0))


def test_no_restarts_allowed_means_the_first_is_one_too_many():
    assert not RestartBudget(Intensity(restarts=0)).spend(0.0)


@given(
    restarts=st.integers(0, 6),
    period=st.integers(1, 20),
    gaps=st.lists(st.integers(0, 12), max_size=60),
)
def test_the_budget_equals_counting_by_hand(restarts, period, gaps):
    budget, times, now = RestartBudget(Intensity(restarts, float(period))), [], 0
    for gap in gaps:
        now += gap
        times.append(now)
        by_hand = sum(now - period <= then <= now for then in times)
        assert budget.spend(float(now)) == (by_hand <= restarts)


def test_waits_grow_by_the_factor_up_to_the_limit():
    backoff = Backoff(first_s=0.5, factor=2.0, max_s=3.0)
    assert [backoff.delay_s(n) for n in range(1, 6)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_very_long_row_of_restarts_waits_the_limit():
    assert Backoff(first_s=1.0, factor=10.0, max_s=7.0).delay_s(100_000) == 7.0


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Intensity(restarts=-1), "restarts"),
        (lambda: Intensity(period_s=0.0), "period_s"),
        (lambda: Intensity(period_s=math.nan), "period_s"),
        (lambda: Backoff(first_s=-1.0), "first_s"),
        (lambda: Backoff(first_s=2.0, max_s=1.0), "first_s"),
        (lambda: Backoff(factor=0.5), "factor"),
    ],
    ids=range(6),
)
def test_nonsense_is_refused_by_name(make, option):
    with pytest.raises(ConfigurationError, match=f"^{option}: "):
        make()
