"""What cells mean."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.replay.values import (
    US_PER,
    code,
    count,
    flag,
    loose,
    micros,
    missing,
    number,
    numbers,
)

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2023-11-16 18:17:03.9799600", 1_700_158_623_979_960),
        ("2023-11-16T18:17:03.97996Z", 1_700_158_623_979_960),
        ("2023-11-16T19:17:03.97996+01:00", 1_700_158_623_979_960),
        ("1970-01-01", 0),
        ("1969-12-31T23:59:59.999999", -1),
    ],
)
def test_iso_times_are_microseconds_and_utc_where_they_name_no_zone(text, us):
    assert micros(text, None) == us


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - the zone is drawn beside
    st.integers(-840, 840),
)
def test_a_time_written_in_any_zone_comes_out_as_that_instant(moment, minutes):
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert micros(aware.isoformat(), None) == (aware - epoch) // timedelta(microseconds=1)


@given(st.integers(-(10**12), 10**12), st.sampled_from(sorted(US_PER)))
def test_counts_of_a_unit_are_exact_as_number_and_as_text(value, unit):
    exact = value * 10**6 / {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    assert micros(value, unit) == micros(str(value), unit)
    assert abs(micros(value, unit) - exact) <= max(0.5, abs(exact) * 1e-15)


@pytest.mark.parametrize(
    "value", ["soon", "", "12:30", None, True, [], {}, "1e400", "9" * 80, 2**70]
)
def test_what_is_no_time_says_so(value):
    with pytest.raises(ValueError, match="time|unit"):
        micros(value, "s")


def test_a_number_among_times_that_are_texts_is_refused_and_not_guessed():
    with pytest.raises(ValueError, match="without a unit"):
        micros("1700000000", None)


@given(anything)
def test_readers_answer_or_say_why_not_whatever_the_cell(value):
    for read in (number, numbers, count, flag, lambda cell: micros(cell, "s")):
        try:
            read(value)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either way is fine, silence is not
    loose(value)
    code(value)
    missing(value)


@given(st.integers(-(10**17), 10**17))
def test_whole_numbers_survive_a_csv(value):
    assert loose(str(value)) == number(str(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive_a_csv(value):
    assert number(repr(value)) == value


@pytest.mark.parametrize("text", ["007", "12e5", "1_000", "0x10", "١٢", "1.2.3", " 1", "+5", "inf"])
def test_what_only_looks_like_a_number_stays_text_where_no_field_asked(text):
    assert loose(text) == text


@pytest.mark.parametrize("text", ["", "NaN", "None", " null ", "N/A"])
def test_words_for_nothing_are_nothing(text):
    assert missing(text)


def test_a_count_beside_gaps_is_written_as_a_float_and_read_as_a_count():
    assert count("12.0") == 12
    with pytest.raises(ValueError, match="whole"):
        count("12.5")
    with pytest.raises(ValueError, match="whole"):
        count(math.inf)
