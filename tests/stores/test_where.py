"""What a filter means, and what it refuses before any store is asked."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.event import Event
from crucible_telemetry.stores.base import Ge, Gt, Le, Lt, Ne, OneOf, Where, matches
from crucible_telemetry.stores.where import found_at, instant_us

T0 = 1_700_000_000_000_000


def event(**given):
    defaults = {
        "seq": 1,
        "event_id": "1",
        "timestamp_us": T0,
        "event_name": "req_llm.request.stop",
        "measurements": {"duration": 5, "tokens": {"prompt": 120}, "gen_ai.usage.input": 7},
        "metadata": {
            "model": "gpt-4",
            "user": {"name": "ann", "paid": True},
            "none": None,
            "stops": ["a", "b"],
        },
        "experiment_id": "e",
        "experiment_name": "e",
        "condition": "control",
        "tags": ("h1", "h2"),
        "success": True,
        "outcome": "ok",
        "provider": "openai",
        "model": "gpt-4",
        "session_id": "s1",
        "user_id": "ann",
        "cohort": "b",
        "repeat": 2,
        "attempt": 0,
        "sample_id": "q17",
    }
    return Event(**defaults | given)


FITS = [
    {},
    {"event": "req_llm.request.stop"},
    {"event": "req_llm.*"},
    {"event": ("req_llm", "request", "stop")},
    {"event": ("req_llm", "*")},
    {"event": ["other", "req_llm.*"]},
    {"success": True, "outcome": "ok"},
    {"outcome": ["ok", "error"]},
    {"condition": "control", "model": "gpt-4", "provider": "openai"},
    {"model": ["gpt-4", "gpt-5"]},
    {"tags": "h1"},
    {"tags": ["h2", "h1"]},
    {"sample_id": "q17", "session_id": ["s1"]},
    {"user_id": "ann", "cohort": ["a", "b"], "repeat": 2, "attempt": [0, 1]},
    {"since": T0, "until": T0},
    {"measurement": {"duration": 5}},
    {"measurement": {"tokens.prompt": Gt(100)}},
    {"measurement": {"tokens.prompt": (Ge(120), Lt(121)), "duration": Le(5)}},
    {"measurement": {"gen_ai.usage.input": Ne(8)}},
    {"metadata": {"user.name": OneOf(["ann", "bob"])}},
    {"metadata": {"user.name": Ge("a")}},
    {"metadata": {"user.paid": True, "none": None}},
    {"metadata": {"none": Ne(3), "stops": ("a", "b")}},
    {"predicate": lambda e: e.measurements["duration"]},
]

FITS_NOT = [
    {"event": "req_llm.request"},
    {"event": "llm.*"},
    {"success": False},
    {"success": True, "outcome": "error"},
    {"outcome": "unknown"},
    {"condition": "treatment"},
    {"provider": ["anthropic"]},
    {"model": "gpt"},
    {"tags": ["h1", "h3"]},
    {"sample_id": "q1"},
    {"user_id": "bob"},
    {"cohort": []},
    {"repeat": 1},
    {"attempt": [1, 2]},
    {"since": T0 + 1},
    {"until": T0 - 1},
    {"measurement": {"tokens.prompt": Gt(120)}},
    {"measurement": {"tokens.prompt": (Gt(100), Lt(110))}},
    {"measurement": {"tokens": Gt(1)}},
    {"measurement": {"absent": Ne(1)}},
    {"measurement": {"duration.more": 5}},
    {"metadata": {"user.name": Gt(5)}},
    {"metadata": {"absent": None}},
    {"metadata": {"user.name": OneOf([])}},
    {"predicate": lambda e: e.measurements["duration"] - 5},
]


@pytest.mark.parametrize("conditions", FITS, ids=repr)
def test_an_event_fits_when_every_condition_holds(conditions):
    assert matches(Where(**conditions), event()) is True


@pytest.mark.parametrize("conditions", FITS_NOT, ids=repr)
def test_an_event_does_not_fit_when_one_condition_fails(conditions):
    assert matches(Where(**conditions), event()) is False


def test_events_that_say_neither_success_nor_failure_fit_neither():
    silent = event(success=None, outcome=None)
    assert not matches(Where(success=True), silent)
    assert not matches(Where(success=False), silent)
    assert matches(Where(), silent)


REFUSED = [
    ({"event": ""}, "event"),
    ({"event": 5}, "event"),
    ({"event": [("a", 5)]}, "event"),
    ({"success": "yes"}, "success"),
    ({"outcome": "okay"}, "outcome"),
    ({"model": 4}, "model"),
    ({"tags": ["a", 1]}, "tags"),
    ({"since": datetime(2024, 1, 1)}, "since"),  # noqa: DTZ001 - that is the point
    ({"until": 1.5}, "until"),
    ({"since": 2**63}, "since"),
    ({"since": True}, "since"),
    ({"since": 2, "until": 1}, "until"),
    ({"measurement": ["a"]}, "measurement"),
    ({"metadata": {"": 1}}, "metadata"),
    ({"metadata": {3: 1}}, "metadata"),
    ({"predicate": "e.seq > 3"}, "predicate"),
    ({"user_id": 3}, "user_id"),
    ({"repeat": "1"}, "repeat"),
    ({"attempt": [0, -1]}, "attempt"),
]


@pytest.mark.parametrize(("conditions", "argument"), REFUSED, ids=repr)
def test_a_filter_that_makes_no_sense_is_refused_with_the_argument_named(conditions, argument):
    with pytest.raises(QueryError) as refused:
        Where(**conditions)
    assert refused.value.argument == argument


@pytest.mark.parametrize("value", [None, True, [1], float("nan")])
def test_an_order_needs_a_number_or_a_text(value):
    with pytest.raises(QueryError, match="Gt"):
        Gt(value)


def test_one_of_needs_a_list():
    with pytest.raises(QueryError, match="OneOf"):
        OneOf("abc")


def test_an_unknown_condition_is_an_error():
    with pytest.raises(TypeError, match="modle"):
        Where(modle="gpt-4")


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))])))
def test_a_moment_is_the_same_as_datetime_and_in_microseconds(moment):
    micros = instant_us(moment, "since")
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros) == moment
    assert instant_us(micros, "since") == micros


def test_a_key_with_dots_in_it_wins_over_nesting():
    tree = {"a.b": 1, "a": {"b": 2, "c": {"d.e": 3}}, "a.c": {"f": 4}}
    assert found_at(tree, "a.b") == 1
    assert found_at(tree, "a.c.d.e") == 3
    assert found_at(tree, "a.c.f") == 4
    assert found_at(tree, "a.x") is None
    assert found_at({"a": 1}, "a.b", "absent") == "absent"
