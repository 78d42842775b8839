"""Tables of events that were decoded once, by shape, against the same events one by one."""

import math

import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.export.cells import json_text, json_value
from crucible_telemetry.export.columns import flat_row
from crucible_telemetry.export.kinds import Held, held

pa = pytest.importorskip("pyarrow", reason="pyarrow is optional")

VALUES = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.binary(max_size=3), st.floats(),
    st.integers(-3, 3), st.integers(-(2**63), 2**64 - 1),
    st.lists(st.one_of(st.integers(0, 3), st.text(max_size=2), st.floats()), max_size=2),
    st.dictionaries(st.sampled_from("xy"), st.one_of(st.none(), st.integers(0, 3), st.text(max_size=2)), max_size=2),
)  # fmt: skip
IDS = st.one_of(st.text(max_size=3), st.integers(0, 3), st.floats(allow_nan=False), st.none())
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b.stop", "llm.request.stop", "training.step"]),
        st.dictionaries(st.sampled_from(["v", "w", "duration", "loss"]), VALUES, max_size=3),
        st.dictionaries(st.sampled_from(["v", "m.n", "model", "step"]), VALUES, max_size=3)
        | st.fixed_dictionaries({"session_id": IDS, "repeat": IDS}),
    ),
    min_size=1,
    max_size=12,
)


def rows(table):
    """The rows of a table by column, without what is null, JSON read again."""
    kinds = {field.name: field.metadata[b"crucible.kind"] for field in table.schema}
    found = []
    for row in table.to_pylist():
        said = {name: value for name, value in row.items() if value is not None}
        found.append({n: json_value(v) if kinds[n] == b"json" else v for n, v in said.items()})
    return found


def alike(value):
    """A value so that NaN equals itself, an integer its float, a lone surrogate its escape."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return float(value) if abs(value) <= 2**53 else value
    if isinstance(value, list | tuple):
        # Inside a list NaN and infinities are words: see `export.cells`.
        return [
            json_text(x) if type(x) is float and not math.isfinite(x) else alike(x) for x in value
        ]
    return json_text(value) if type(value) is float else value


async def compared(events, **options):
    async with ct.Lab() as lab:
        async with lab.experiment("kinds", privacy="full", tags=["t"]) as exp:
            async with exp.trial(item="i", repeat=1):
                for name, numbers, words in events[: len(events) // 2]:
                    with ct.span("s"):
                        ct.execute_nowait(name, numbers, words)
            for name, numbers, words in events[len(events) // 2 :]:
                ct.execute_nowait(name, numbers, words)
        table = await exp.to_arrow(**options)
        stored = await exp.events()
        flags = {e.seq: row for e, row in zip(stored, rows(table), strict=True)}
        for event in stored:
            want = flat_row(event, 0)
            found = {name: value for name, value in flags[event.seq].items() if name in want}
            expected = {name: value for name, value in want.items() if value is not None}
            assert {n: alike(v) for n, v in found.items()} == {
                n: alike(v) for n, v in expected.items()
            }
            extra = flags[event.seq].keys() - expected.keys()
            assert extra <= {"ends", "llm", "wraps", "marked", "rank"}
    return table


@given(EVENTS)
@settings(max_examples=60, deadline=None)
def test_a_table_holds_what_its_events_hold(events):
    import anyio

    anyio.run(compared, events)


@pytest.mark.asyncio
async def test_groups_that_wait_in_a_file_and_differ_in_kinds_make_one_table(tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet")
    from crucible_telemetry.export import tables

    monkeypatch.setattr(tables, "GROUP_ROWS", 1)
    monkeypatch.setattr(tables, "SLICE", 2)
    monkeypatch.setattr(tables, "WAITING_BYTES", 0)
    async with ct.Lab() as lab:
        async with lab.experiment("waiting") as exp:
            for value in (1, 0.5, 2, None, 3, "x", 2**60, True):
                ct.execute_nowait("e", {"mixed": value, "f": 0.5 if value == 1 else 7, "i": 1})
                ct.execute_nowait("f", {"f": math.nan})
        table = pq.read_table(await exp.export(tmp_path / "w.parquet"))
    column = table.column("measurements.mixed").to_pylist()[::2]
    assert column == ["1", "0.5", "2", None, "3", '"x"', str(2**60), "true"]
    assert table.column("measurements.f").to_pylist()[:5:2] == [0.5, 7.0, 7.0]
    assert table.column("measurements.i").to_pylist() == [1, None] * 8
    assert table.column("experiment_name").to_pylist() == ["waiting"] * 16


@given(st.lists(st.lists(VALUES.filter(lambda v: type(v) is not dict), max_size=4), max_size=4))
def test_what_a_column_holds_does_not_depend_on_how_it_is_cut(parts):
    together = Held()
    for part in parts:
        together |= held(part, set(map(type, part)))
    values = [value for part in parts for value in part]
    assert together == held(values, set(map(type, values)))
    backwards = Held()
    for part in reversed(parts):
        backwards |= held(part, set(map(type, part)))
    assert backwards == together
