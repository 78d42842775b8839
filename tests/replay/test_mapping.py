"""Which column becomes which field."""

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.replay.mapping import KEEP, Options, map_columns, parse_override


def mapping(*rows, **options):
    return map_columns(rows, Options(**options))


def fields(made):
    return {target.column: (target.field, target.unit) for target in made.targets}


def test_an_azure_row_is_an_event_at_its_own_time():
    row = {
        "TIMESTAMP": "2023-11-16 18:17:03.9799600",
        "ContextTokens": "4808",
        "GeneratedTokens": "10",
    }
    event = mapping(row, fixed={"model": "gpt-4o"}).event(row)
    assert event.name == "llm.request.stop"
    assert event.at_us == 1_700_158_623_979_960
    assert event.measurements == {"input_tokens": 4808, "output_tokens": 10}
    assert event.metadata == {"model": "gpt-4o"}


def test_units_come_from_the_name_and_reach_the_event_in_its_key():
    row = {"ttft_s": 0.5, "itl_us": [10, 20], "latency_ms": "1200.5"}
    assert mapping(row).event(row).measurements == {
        "ttft_s": 0.5,
        "itl_us": [10, 20],
        "duration_ms": 1200.5,
    }


@pytest.mark.parametrize(
    ("column", "field"), [("latency", "latency"), ("ttft", "ttft"), ("tpot", "itl")]
)
def test_a_duration_without_a_unit_is_asked_for_and_the_error_shows_how(column, field):
    with pytest.raises(ConfigurationError, match=f"--map {field}_ms={column}"):
        mapping({column: 3})


def test_times_that_are_numbers_are_asked_for_their_unit_whatever_their_size():
    for value in (1_700_000_000, 1_700_000_000_000, "12.5"):
        with pytest.raises(ConfigurationError, match="--time-unit"):
            mapping({"timestamp": value})
    made = mapping({"timestamp": 1_700_000_000}, time_unit="s")
    assert made.event({"timestamp": 1_700_000_000}).at_us == 1_700_000_000_000_000


def test_numbers_may_count_from_a_start_and_texts_do_not():
    made = mapping({"t_ms": 5}, mapped=(("time_ms", "t_ms"),), start_us=10**9)
    assert made.event({"t_ms": 5}).at_us == 10**9 + 5000
    texts = mapping({"time": "1970-01-01T00:00:01"}, start_us=10**9)
    assert texts.event({"time": "1970-01-01T00:00:01"}).at_us == 10**6


def test_what_the_user_says_wins_over_the_name():
    row = {"latency_ms": 7, "took": 9}
    made = mapping(row, mapped=(("latency_s", "took"),))
    assert fields(made) == {"latency_ms": (KEEP, None), "took": ("latency", "s")}
    event = made.event(row)
    assert event.measurements == {"duration_s": 9, "column_latency_ms": 7}


def test_a_column_can_be_kept_and_then_means_nothing():
    row = {"latency": 7, "cost": 3}
    made = mapping(row, mapped=((KEEP, "latency"), (KEEP, "cost")))
    assert made.event(row).measurements == {"column_latency": 7, "column_cost": 3}


def test_what_nobody_knows_is_kept_under_its_own_name():
    row = {"temperature": "0.7", "group": "a", "flags": [1], "zip": "01234"}
    event = mapping(row).event(row)
    assert event.measurements == {"temperature": 0.7}
    assert event.metadata == {"group": "a", "flags": [1], "zip": "01234"}


@pytest.mark.parametrize(
    ("said", "match"),
    [
        (("latency_ms", "tok"), "did you mean 'took'"),
        (("speed", "took"), "no field 'speed'"),
        (("cost_usd_ms", "took"), "no field"),
        (("item_ms", "took"), "no field"),
    ],
)
def test_an_override_that_makes_no_sense_teaches(said, match):
    with pytest.raises(ConfigurationError, match=match):
        mapping({"took": 1}, mapped=(said,))


@pytest.mark.parametrize("text", ["latency", "=x", "latency_ms=", ""])
def test_an_override_has_two_sides(text):
    with pytest.raises(ConfigurationError, match="FIELD=COLUMN"):
        parse_override(text)


def test_start_and_end_give_the_latency_and_the_time_of_the_end():
    row = {"start_time": "2024-01-01T00:00:00", "end_time": "2024-01-01T00:00:01.5"}
    event = mapping(row).event(row)
    assert event.measurements == {"duration_us": 1_500_000}
    assert event.at_us == 1_704_067_201_500_000


def test_identity_and_outcome_go_where_the_library_looks_for_them():
    row = {
        "item": "007",
        "session_id": 4,
        "success": "no",
        "status": "503",
        "error": "",
        "repeat": "2",
    }
    assert mapping(row).event(row).metadata == {
        "sample_id": "007",
        "session_id": "4",
        "success": False,
        "status": 503,
        "error": None,
        "repeat": 2,
    }


def test_a_row_may_name_its_event_and_its_model():
    row = {"event": "tool.search.stop", "model": "", "provider": "p"}
    made = mapping(row, fixed={"model": "m", "provider": "q"})
    event = made.event(row)
    assert event.name == "tool.search.stop"
    assert event.metadata == {"model": "m", "provider": "p"}
    assert made.event({**row, "event": ""}).name == "llm.request.stop"


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"latency_ms": "fast"}, "column 'latency_ms': 'fast' is no number"),
        ({"input_tokens": 1.5}, "no whole number"),
        ({"success": "perhaps"}, "neither true nor false"),
        ({"time": None, "item": 1}, "no time in this row"),
    ],
)
def test_a_cell_that_is_not_what_its_field_wants_is_named(row, match):
    with pytest.raises(ValueError, match=match):
        mapping(row).event(row)


cells = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())


@given(st.dictionaries(st.text(), cells, max_size=8))
def test_every_column_of_any_row_has_one_target_and_nothing_unmapped_is_lost(row):
    try:
        made = mapping(row, time_unit="s")
        event = made.event(row)
    except (
        ValueError
    ):  # ConfigurationError too: a unit is open, or a cell is not what its name says
        return
    assert [target.column for target in made.targets] == list(row)
    kept = [target.column for target in made.targets if target.field == KEEP]
    known = {**event.measurements, **event.metadata}
    assert all(column in known or f"column_{column}" in known for column in kept)
