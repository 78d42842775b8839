"""Windows and queries: what they stand for, and what they refuse."""

from datetime import UTC, datetime, timedelta

import pytest

from crucible_telemetry.errors import QueryError
from crucible_telemetry.stores.base import (
    Between,
    Last,
    LastN,
    Query,
    Where,
    to_us,
    window_query,
)

T0 = 1_700_000_000_000_000
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
MOMENT_US = 1_704_067_200_000_000


@pytest.mark.parametrize(
    ("duration", "micros"),
    [
        (1, 1_000_000),
        (0.25, 250_000),
        (1e-6, 1),
        (timedelta(minutes=5), 300_000_000),
        (timedelta(days=365 * 100), 365 * 100 * 86_400_000_000),
        (0.1 + 0.2, 300_000),
    ],
)
def test_a_duration_is_whole_microseconds(duration, micros):
    assert to_us(duration, "size") == micros


@pytest.mark.parametrize(
    "duration",
    [0, -1, 0.0, float("nan"), float("inf"), 1e-9, 1e300, 10**40, True, "5m", None,
     timedelta(0), timedelta(seconds=-1)],
    ids=repr,
)  # fmt: skip
def test_a_duration_that_is_none_is_refused_by_name(duration):
    with pytest.raises(QueryError, match="size"):
        to_us(duration, "size")


def test_the_last_minutes_end_now():
    query = window_query(Last(minutes=5), now_us=T0)
    assert (query.since_us, query.until_us) == (T0 - 300_000_000, T0)


def test_the_last_minutes_end_when_the_window_says_so():
    query = window_query(Last(hours=1, minutes=30, now=MOMENT), now_us=T0)
    assert (query.since_us, query.until_us) == (MOMENT_US - 5_400_000_000, MOMENT_US)


def test_the_units_of_last_add_up():
    query = window_query(Last(days=1, hours=1, minutes=1, seconds=0.5), now_us=T0)
    assert T0 - query.since_us == 90_060_500_000


def test_windows_carry_the_filter():
    where = Where(success=True)
    for window in (Last(seconds=1), LastN(3), Between(1, 2)):
        assert window_query(window, where, now_us=T0).where is where
    assert window_query(LastN(3), now_us=T0).last_n == 3


def test_between_takes_datetimes_and_microseconds():
    assert Between(MOMENT, MOMENT_US + 5) == Between(MOMENT_US, MOMENT_US + 5)
    query = window_query(Between(MOMENT, MOMENT), now_us=T0)
    assert (query.since_us, query.until_us) == (MOMENT_US, MOMENT_US)


REFUSED = [
    (Last, {}, "Last"),
    (Last, {"minutes": -1}, "minutes"),
    (Last, {"seconds": float("nan")}, "seconds"),
    (Last, {"minutes": 1, "now": 1.5}, "now"),
    (LastN, {"n": 0}, "n"),
    (LastN, {"n": 2.0}, "n"),
    (LastN, {"n": True}, "n"),
    (Between, {"since_us": 2, "until_us": 1}, "until"),
    (Between, {"since_us": "a", "until_us": 1}, "since_us"),
    (Between, {"since_us": 1, "until_us": None}, "until_us"),
    (Query, {"since_us": 2, "until_us": 1}, "until"),
    (Query, {"last_n": 0}, "last_n"),
    (Query, {"last_n": 1, "after_seq": 1}, "after_seq"),
    (window_query, {"window": timedelta(5), "now_us": T0}, "window"),
    (window_query, {"window": 5, "now_us": T0}, "window"),
]


@pytest.mark.parametrize(("make", "given", "argument"), REFUSED, ids=repr)
def test_what_makes_no_sense_is_refused_with_the_argument_named(make, given, argument):
    with pytest.raises(QueryError) as refused:
        make(**given)
    assert refused.value.argument == argument


def test_the_bounds_of_query_and_filter_hold_together():
    query = Query(since_us=5, until_us=50, where=Where(since=10, until=90))
    assert query.bounds_us() == (10, 50)
    low, high = Query().bounds_us()
    assert low < -(2**62)
    assert high > 2**62
