"""Filters over real rows: what columns decide agrees with `matches` on every event."""

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.stores.base import matches

pytestmark = pytest.mark.asyncio

PATHS = st.dictionaries(
    st.sampled_from(["i", "run", "run.no", "run.no.x", "user_id", "absent", "deep.key"]),
    st.integers(0, 4)
    | st.builds(ct.Gt, st.integers(0, 4))
    | st.builds(ct.Ne, st.integers(0, 4))
    | st.builds(ct.OneOf, st.lists(st.integers(0, 4))),
    max_size=2,
)
WHERE = st.builds(
    ct.Where,
    event=st.sampled_from([None, "llm.*", "note", ["no*", "odd"], "absent"]),
    success=st.sampled_from([None, None, True, False]),
    outcome=st.sampled_from([None, None, "timeout", ["ok", "error"]]),
    condition=st.sampled_from([None, None, "control", ["other"]]),
    tags=st.sampled_from([None, None, "t", ["t", "u"]]),
    model=st.sampled_from([None, None, "m1", ["m0", "m2"]]),
    sample_id=st.sampled_from([None, None, "q0", ["q1", "own3"], "absent"]),
    session_id=st.sampled_from([None, None, "s", "5"]),
    user_id=st.sampled_from([None, None, "1", ["2", "u"]]),
    repeat=st.sampled_from([None, None, 1, [2, 3]]),
    attempt=st.sampled_from([None, None, 0, 3]),
    measurement=st.none() | PATHS,
    metadata=st.none() | PATHS,
    predicate=st.sampled_from([None, None, lambda event: event.seq % 2]),
)


@pytest_asyncio.fixture
async def exp(lab):
    """Events of several shapes, in and out of trials, some with ids of their own, some generic."""
    async with lab.experiment("a", condition="control", tags=["t"]) as exp:
        for i in range(5):
            async with exp.trial(item=f"q{i % 2}", repeat=i, session="s", user="u"):
                ct.execute_nowait(
                    "llm.request.stop",
                    {"i": i, "duration_ms": i},
                    {"model": f"m{i % 3}", "run": {"no": i}},
                )
                ct.execute_nowait("note", {"deep.key": i}, {"user_id": i, "attempt": 3})
            ct.execute_nowait("llm.request.exception", {"i": 2}, {"error": "timeout", "i": i})
            ct.execute_nowait("odd", {"y" * 5000: i, "i": i}, {"sample_id": f"own{i}", "run.no": i})
            ct.execute_nowait("odd", None, {"session_id": 5, "repeat": 1})
        await exp.flush()
        yield exp


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(where=WHERE)
async def test_a_store_finds_exactly_what_matches_says(exp, where):
    expected = [event for event in await exp.events() if matches(where, event)]
    assert await exp.events(where) == expected
    assert await exp.window(ct.LastN(3), where) == expected[-3:]
    assert await exp.count_events(where) == len(expected)
    assert (await exp.metrics(where)).summary.total_events == len(expected)


@pytest.mark.parametrize(
    ("where", "decoded"),
    [
        (ct.Where(event="note", model="m1", outcome="ok", condition="control", tags="t"), 0),
        (ct.Where(condition="other", predicate=print), 0),
        (ct.Where(measurement={"absent": 1}), 5),  # the generic rows may hold anything
        (ct.Where(event="note", metadata={"absent.key": ct.Ne(1)}), 0),
        (ct.Where(measurement={"deep.key": ct.Ge(0)}), 10),
        (ct.Where(sample_id="q1", event="llm.request.stop"), 2),
        (ct.Where(repeat=4), 1 + 1 + 5 + 5),
    ],
)
async def test_only_rows_that_may_fit_are_decoded(exp, where, decoded, monkeypatch):
    asked = []
    events = ExperimentReader.events

    def counting(reader, columns, indices):
        asked.extend(indices)
        return events(reader, columns, indices)

    monkeypatch.setattr(ExperimentReader, "events", counting)
    await exp.count_events(where)
    assert len(asked) == decoded
