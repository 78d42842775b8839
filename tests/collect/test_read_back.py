"""Stored rows read back as events, many at once: each as if it were alone."""

import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.shape import contents, decode_rows, dictionaries, encode_row

pytestmark = pytest.mark.asyncio

KEYS = st.sampled_from(["user_id", "attempt", "k", "x" * 5000])  # the last: too long for a shape
CONTENT = st.dictionaries(KEYS, st.integers(0, 9) | st.text(max_size=2), max_size=3)


async def mixed(exp):
    """Spans, calls, scores and failures of several shapes, in and out of trials."""
    for i in range(6):
        async with exp.trial(item=f"q{i % 2}", repeat=i, session="s"):
            with ct.span("stage.work", {"no": i}):
                ct.execute_nowait("llm.request.stop", {"duration_ms": i}, {"model": f"m{i % 3}"})
            ct.execute_nowait("note", {"i": i}, {"user_id": i, "attempt": 3, "session_id": None})
        ct.execute_nowait("llm.request.exception", {"cost": 1.5}, {"error": "timeout"})
        ct.execute_nowait("odd", {"y" * 5000: i}, {"sample_id": f"own{i}"})
    await exp.flush()


async def test_events_read_together_are_those_read_one_by_one(lab):
    async with lab.experiment("a", tags=["t"]) as exp:
        await mixed(exp)
        events = await exp.events()
        (columns,) = [exp._collector.store._state.tail.columns]
        alone = [exp._reader.events(columns, [i])[0] for i in range(len(columns))]
    by_seq = sorted(events, key=lambda event: event.seq)
    assert by_seq == alone
    assert [event.seq for event in alone] == list(range(1, 37))
    notes = [event for event in alone if event.event_name == "note"]
    assert [(e.user_id, e.attempt, e.session_id) for e in notes] == [
        (str(i), 3, "s") for i in range(6)
    ]
    calls = [event for event in alone if event.event_name == "llm.request.stop"]
    assert [(e.latency_ms, e.model, e.sample_id, e.success) for e in calls] == [
        (float(i), f"m{i % 3}", f"q{i % 2}", True) for i in range(6)
    ]
    spans = [event for event in alone if event.event_name == "stage.work.stop"]
    assert [e.parent_id for e in calls] == [e.span_id for e in spans]
    failed = next(event for event in alone if event.event_name == "llm.request.exception")
    assert (failed.outcome, failed.cost_usd, failed.sample_id) == ("timeout", 1.5, None)
    assert [e.sample_id for e in alone if e.event_name == "odd"] == [f"own{i}" for i in range(6)]


async def test_no_two_events_share_a_mapping_with_each_other_or_the_store(lab):
    async with lab.experiment("a") as exp:
        await mixed(exp)
        first, second = await exp.events(), await exp.events()
        for event in first:
            event.measurements["i"] = event.metadata["no"] = -1
        assert await exp.events() == second


async def test_an_event_is_made_by_name_and_is_frozen():
    given = dict.fromkeys(Event.__struct_fields__)
    event = Event(**given | {"seq": 7})
    assert event == Event(**given | {"seq": 7}) != Event(**given | {"seq": 8})
    assert repr(event).startswith("Event(seq=7, event_id=None,")
    with pytest.raises(AttributeError):
        event.seq = 8


@given(st.lists(st.tuples(st.sampled_from(["a", "b.c"]), CONTENT, CONTENT), min_size=1))
async def test_contents_of_many_rows_are_those_of_each(given_rows):
    rows = decode_rows([encode_row(0, *of, 0, None)[0] for of in given_rows])
    assert list(zip(*contents(rows), strict=True)) == [dictionaries(row) for row in rows]
