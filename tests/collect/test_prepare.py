"""A batch of rows → columns: by shape or row by row, the same; nothing raises, nothing is lost."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import strategies
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.wanted import Guard
from crucible_telemetry.events.columns import DTYPES, FILL, FIXED, LLM, MARKED, WRAPS, Columns
from crucible_telemetry.events.odd import MARK_CUT, MARK_INTEGER, MARK_REPR
from crucible_telemetry.events.sensitive import sensitive
from crucible_telemetry.events.shape import SHAPES, encode_row

KEY = b"k" * 32
NAMES = (
    "llm.request.stop",
    "a.exception",
    "a.start",
    "req_llm.request.stop",
    "crucible_hedging.x.stop",
)
NUMBER = st.one_of(
    st.integers(-5, 10**12), st.floats(), st.none(), st.booleans(), st.just(2**63), st.just(1e308),
    st.just(2**31 - 1), st.lists(st.floats() | st.integers(-3, 3), max_size=3), st.just("7"),
)  # fmt: skip
WORD = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 600), st.just(""),
    st.sampled_from(["ok", "error", "timeout", "TimeoutError", "CancelledError", "unknown", "m", "n"]),
    st.fixed_dictionaries({"id": st.sampled_from(["", "a", "b"]), "provider": st.just("p")}),
    st.fixed_dictionaries({"input_tokens": NUMBER, "output_tokens": NUMBER, "total_cost": NUMBER}),
)  # fmt: skip
NUMBER_KEYS = ("duration", "duration_s", "ttft_ms", "itl", "cost", "input_tokens", "output_tokens",
               "total_tokens", "start", "stop")  # fmt: skip
WORD_KEYS = ("model", "provider", "status", "error", "kind", "success", "outcome", "usage", "cost_usd",
             "result", "error_code", "http_status", "prompt")  # fmt: skip


@st.composite
def events(draw):
    """Events of few shapes and many values, as (name, measurements, metadata, link)."""
    shapes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.lists(st.sampled_from(NUMBER_KEYS), unique=True, max_size=4),
                st.lists(st.sampled_from(WORD_KEYS), unique=True, max_size=4),
            ),
            min_size=1,
            max_size=3,
        )
    )
    made = []
    for name, numbers, words in draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=8)):
        link = draw(st.sampled_from([None, (1, None, 1, True), (2, 1, 1, False)]))
        made.append(
            (
                name,
                {key: draw(NUMBER) for key in numbers},
                {key: draw(WORD) for key in words},
                link,
            )
        )
    return made


def names_a_text(value):
    """Whether a key at some depth is one that privacy looks at, a mark of ours included."""
    if isinstance(value, dict):
        return any(
            sensitive(key) or key in (MARK_REPR, MARK_CUT, MARK_INTEGER) or names_a_text(item)
            for key, item in value.items()
        )
    return isinstance(value, list) and any(map(names_a_text, value))


def preparer(**options):
    spec = make_spec("e", options)
    reader = ExperimentReader("e", spec, Trials())
    return Preparer(reader, Guard(spec, KEY))


def rows_of(batch):
    return [
        encode_row(at, name, numbers, words, at % 3, link)[0]
        for at, (name, numbers, words, link) in enumerate(batch)
    ]


def meaning(columns, reader):
    """What columns say, with words instead of their numbers."""
    said = {name: getattr(columns, name).tolist() for name in FIXED}
    said["model"] = [reader.model(number) for number in said["model"]]
    said["error"] = [reader.error(number) for number in said["error"]]
    for name, fill in FILL.items():
        column = getattr(columns, name)
        said[name] = [fill] * len(columns) if column is None else column.tolist()
    said["payload"] = columns.payload.rows()
    return said


def prepared(batch_rows, cuts, **options):
    """(meaning, marks) of rows prepared in pieces cut at these places."""
    worker = preparer(**options)
    edges = [0, *sorted(cuts), len(batch_rows)]
    parts, marks, seq = [], Counter(), 1
    for start, stop in pairwise(edges):
        if start < stop:
            done = worker.prepare(batch_rows[start:stop], seq, start)
            parts.append(done.columns)
            marks.update(done.marks)
            seq += stop - start
    return meaning(Columns.joined(parts), worker.reader), marks


@given(batch=events(), data=st.data())
@settings(max_examples=300)
def test_a_batch_in_one_piece_means_what_it_means_in_any_pieces(batch, data):
    rows = rows_of(batch)
    cuts = data.draw(st.sets(st.integers(1, max(len(rows) - 1, 1)), max_size=3))
    whole, marks = prepared(rows, set())
    pieces, marks_of_pieces = prepared(rows, cuts)
    singly, marks_singly = prepared(rows, set(range(1, len(rows))))
    assert whole == singly
    assert whole == pieces
    assert marks == marks_of_pieces == marks_singly


@given(batch=events())
@settings(max_examples=100)
def test_rows_that_carry_their_own_keys_mean_the_same_as_rows_with_a_shape(batch):
    shaped, marks = prepared(rows_of(batch), set())
    full = SHAPES.by_key
    try:
        SHAPES.by_key = dict.fromkeys(range(4096), 0)  # the table is full
        said, generic_marks = prepared(rows_of(batch), set())
    finally:
        SHAPES.by_key = full
    unlike = {"shape", "payload"}
    assert set(said["shape"]) == {0}
    assert {k: v for k, v in said.items() if k not in unlike} == {
        k: v for k, v in shaped.items() if k not in unlike
    }
    assert marks == generic_marks


@given(values=st.lists(strategies.ANYTHING, min_size=1, max_size=4), keys=st.data())
@settings(max_examples=150)
def test_f11_whatever_is_emitted_nothing_raises_and_it_is_stored_once(values, keys):
    names = [keys.draw(strategies.ODD_KEY) for _ in values]
    rows = [
        encode_row(1, "odd.stop", {name: value}, {name: value}, 0, None)[0]
        for name, value in zip(names, values, strict=True)
    ]
    for privacy in ("metadata", "full", "none"):
        done = preparer(privacy=privacy).prepare(rows, 1, 0)
        assert len(done.columns) == len(rows)
        assert done.quarantined == 0


@given(value=strategies.JSON)
@settings(max_examples=150)
def test_f11_plain_json_comes_back_equal(value):
    row = encode_row(1, "plain", {"value": value}, {"value": value}, 0, None)[0]
    for privacy in ("full",) if names_a_text(value) else ("metadata", "full"):
        worker = preparer(privacy=privacy)
        (event,) = worker.reader.events(worker.prepare([row], 1, 0).columns, [0])
        assert event.measurements == {"value": value}
        assert event.metadata == {"value": value}
        assert repr(event.metadata) == repr({"value": value})  # True is not 1, -0.0 is not 0.0


@pytest.mark.asyncio
async def test_f11_odd_values_pass_the_whole_way_and_are_counted():
    odd = {
        "nan": float("nan"),
        "set": {1},
        "object": object(),
        "huge": 10**400,
        "circle": strategies.circular(dict),
        "deep": strategies.nested(100),
        "surrogate": "\ud800",
        "hostile": strategies.Hostile(),
    }
    async with ct.Lab() as lab, lab.experiment("odd") as exp:
        for key, value in odd.items():
            ct.execute_nowait("odd", {key: value})
            await ct.execute("odd", None, {key: value})
        events = await exp.events()
        assert len(events) == exp.counts.stored == 2 * len(odd)
        marks = exp.health().marks
    assert marks["nan"] == 2
    assert marks["repr"] == 4
    assert marks["integer"] == 2
    assert marks["cut"] >= 4


@pytest.mark.parametrize("value", [[object()], {"a": object()}, [[10**400]], {"a": [object()]}])
@pytest.mark.parametrize("privacy", ["metadata", "full"])
@pytest.mark.parametrize("name", ["odd", "odd" * 1000])  # a name too long for the table of shapes
def test_a_replaced_value_is_counted_and_its_row_flagged_wherever_it_lies(value, privacy, name):
    row = encode_row(1, name, {}, {"value": value}, 0, None)[0]
    plain = encode_row(1, name, {}, {"value": [1, {"a": 2}]}, 0, None)[0]
    done = preparer(privacy=privacy).prepare([row, plain], 1, 0)
    assert sum(done.marks[kind] for kind in ("repr", "integer")) == 1
    assert [bool(flags & MARKED) for flags in done.columns.flags.tolist()] == [True, False]


@pytest.mark.parametrize("others", [[None], [1], [2.5, None], ["text"], [True]])
def test_nan_and_infinities_are_counted_whatever_stands_beside_them(others):
    values = [float("nan"), float("inf"), float("-inf"), *others]
    rows = [encode_row(1, "odd", {"value": value}, {}, 0, None)[0] for value in values]
    done = preparer().prepare(rows, 1, 0)
    assert (done.marks["nan"], done.marks["infinite"]) == (1, 2)


def test_an_end_that_wraps_counted_ones_is_flagged_in_its_own_row_only():
    link = (1, None, 1, True)
    rows = [encode_row(1, "llm.x.stop", {}, {}, 0, each)[0] for each in (link, None, link)]
    flags = preparer().prepare(rows, 1, 0).columns.flags
    assert [bool(flag & WRAPS) for flag in flags.tolist()] == [True, False, True]
    assert all(flag & LLM for flag in flags.tolist())


def test_a_filter_that_leaves_nothing_leaves_no_columns_and_counts_all():
    rows = [encode_row(1, "a", {"n": n}, {}, 0, None)[0] for n in range(5)]
    done = preparer(event_filter=lambda *_: False).prepare(rows, 1, 0)
    assert done.columns is None
    assert (done.taken, done.filtered, done.sampled_out) == (5, 5, 0)


def test_what_a_filter_changes_nobody_else_sees():
    def spoil(name, measurements, metadata):
        measurements.clear()
        metadata["deep"]["list"].append("spoilt")
        return True

    worker = preparer(event_filter=spoil, privacy="full")
    row = encode_row(1, "a", {"n": 1}, {"deep": {"list": [1]}}, 0, None)[0]
    (event,) = worker.reader.events(worker.prepare([row], 1, 0).columns, [0])
    assert event.measurements == {"n": 1}
    assert event.metadata == {"deep": {"list": [1]}}


@pytest.mark.parametrize("table_is_full", [False, True])
def test_what_an_enricher_adds_is_stored_and_redacted(table_is_full):
    worker = preparer(enrichers=[lambda *_: {"added": 1, "prompt": "a secret of mine"}])
    rows = [encode_row(1, "enriched.by.us", {"n": n}, {}, 0, None)[0] for n in range(3)]
    full = SHAPES.by_key
    try:
        if table_is_full:
            SHAPES.by_key = dict.fromkeys(range(4096), 0)
        done = worker.prepare(rows, 1, 0)
    finally:
        SHAPES.by_key = full
    assert done.marks["redacted"] == 3
    events = worker.reader.events(done.columns, range(3))
    assert [event.metadata["added"] for event in events] == [1, 1, 1]
    assert [event.event_name for event in events] == ["enriched.by.us"] * 3
    assert [worker.reader.row_name(done.columns, i) for i in range(3)] == ["enriched.by.us"] * 3
    assert b"secret" not in done.columns.payload.blob


def test_columns_have_their_types_and_only_those_that_some_row_has():
    rows = [
        encode_row(1, "a.stop", {"duration": 5}, {}, 0, None)[0],
        encode_row(2, "b.stop", {"cost_usd": 0.5}, {}, 0, None)[0],
    ]
    columns = preparer().prepare(rows, 7, 0).columns
    assert columns.optional().keys() == {"latency_ns", "cost_pico"}
    for name in (*FIXED, "latency_ns", "cost_pico"):
        assert getattr(columns, name).dtype == np.dtype(DTYPES[name]), name
    assert columns.latency_ns.tolist() == [5, FILL["latency_ns"]]
    assert columns.cost_pico.tolist() == [FILL["cost_pico"], 5 * 10**11]
    assert (columns.first_seq, columns.last_seq) == (7, 8)
