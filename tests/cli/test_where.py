"""Filters as they are typed."""

import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.cli.where import parse_where
from crucible_telemetry.errors import QueryError

CALLS = (
    ("llm.request.stop", {"duration_ms": 10, "batch": 1}, {"model": "a", "user": {"tier": "gold"}}),
    (
        "llm.request.stop",
        {"duration_ms": 200, "batch": 2},
        {"model": "b", "n": "2", "error": "timeout"},
    ),
    ("llm.request.stop", {"duration_ms": 300}, {"model": "b", "n": 2, "flag": True, "note": "x=y"}),
    ("tool.x.stop", {}, {"sample_id": "q1"}),
)


@pytest.mark.parametrize(
    ("terms", "kept"),
    [
        ([], [0, 1, 2, 3]),
        (["model=b"], [1, 2]),
        (["model=a,b"], [0, 1, 2]),
        (["event=llm.*", "success=true"], [0, 2]),
        (["latency_ms>10", "latency_ms <= 200"], [1]),
        (["latency_ms=300"], [2]),
        (["error_type!=timeout"], [0, 2, 3]),
        (["measurements.batch>=2"], [1]),
        (["measurement.batch>0", "measurements.batch<2"], [0]),
        (["metadata.user.tier=gold"], [0]),
        (["metadata.n=2"], [1, 2]),
        (["metadata.flag=true"], [2]),
        (["metadata.note=x=y"], [2]),
        (["outcome=timeout"], [1]),
        (["item=q1"], [3]),
        (["since=2020-01-01T00:00:00Z", "until=2020-01-02T00:00:00+00:00"], []),
    ],
)
@pytest.mark.asyncio
async def test_terms_leave_the_events_that_fit_all_of_them(exp, terms, kept):
    for name, measurements, metadata in CALLS:
        await ct.execute(name, measurements, metadata)
    expected = [at + 1 for at in kept]
    assert [event.seq for event in await exp.events(parse_where(terms))] == expected


@pytest.mark.parametrize(
    ("term", "match"),
    [
        ("model", "want KEY=VALUE"),
        ("modle=a", "did you mean 'model'"),
        ("zzz=1", "there are event, outcome"),
        ("model!=a", "model takes = only"),
        ("success=maybe", "want true or false"),
        ("outcome=fine", "none of"),
        ("since=yesterday", "ISO 8601"),
        ("since=2020-01-01", "no time zone"),
        ("latency_ms>true", "want a number or a text"),
    ],
)
def test_a_term_that_makes_no_sense_teaches(term, match):
    with pytest.raises(QueryError, match=match):
        parse_where([term])


@given(st.lists(st.text(), max_size=3))
def test_no_text_is_too_odd_to_be_refused_in_words(terms):
    try:
        parse_where(terms)
    except QueryError as error:
        assert str(error)  # noqa: PT017 - either way is fine
