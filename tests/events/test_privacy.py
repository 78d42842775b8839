"""No text of a known field survives, at whatever depth; numbers, names of errors and frames do."""

import hashlib
import hmac
import traceback
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.collect.prepare import Preparer
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.collect.wanted import Guard, count_marks
from crucible_telemetry.events.odd import MARK_REPR
from crucible_telemetry.events.privacy import MARK_REDACTED, Redactor, only_counts
from crucible_telemetry.events.sensitive import (
    CREDENTIALS,
    ERRORS,
    RESULTS,
    TEXTS,
    WHOLE,
    sensitive,
)
from crucible_telemetry.events.shape import encode_row

KEY = b"a key of the lab"
SECRET = "the secret words"
KEYS = sorted({"b64_json"} | TEXTS | WHOLE | CREDENTIALS | ERRORS | RESULTS)
SPELLINGS = st.sampled_from([str, str.upper, str.title, "llm.{}".format, "a.B.{}".format])
KNOWN = st.builds(lambda spell, key: spell(key), SPELLINGS, st.sampled_from(KEYS))
# Secrets hide in texts, bytes, lists, dictionaries, unknown objects and look-alikes of our own marks.
HIDING = st.recursive(
    st.sampled_from(
        [SECRET, f"ValueError: {SECRET}", SECRET.encode(), [SECRET], {"id": SECRET}, {SECRET: 1}]
    )
    | st.sampled_from(
        [
            {MARK_REDACTED: 16, "hmac": SECRET},
            {MARK_REDACTED: 16, "hmac": "0" * 32, "more": SECRET},
            {MARK_REPR: SECRET, "type": "X"},
            ValueError(SECRET),
            Exception(SECRET, 1),
        ]
    )
    | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "type", "code", "role", "error", "n"]), inner)
    ),
    max_leaves=6,
)
AROUND = st.recursive(
    st.builds(lambda key, value: {key: value}, KNOWN, HIDING),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.dictionaries(st.sampled_from(["meta", "x", "items"]), inner, min_size=1, max_size=2)
    ),
    max_leaves=4,
)


def redactor(**options):
    return Redactor(KEY, **options)


def prepared(rows, **options):
    spec = make_spec("e", options)
    reader = ExperimentReader("e", spec, Trials())
    return Preparer(reader, Guard(spec, KEY)).prepare(rows, 1, 0).columns, reader


@given(metadata=st.dictionaries(KNOWN, HIDING, min_size=1, max_size=2), around=AROUND)
@settings(max_examples=300)
def test_no_secret_under_a_known_key_survives_at_any_depth(metadata, around):
    everything = {**metadata, "outer": around}
    row, _ = encode_row(1, "llm.request.exception", {}, everything, 0, None)
    columns, reader = prepared([row])
    assert b"secret words" not in columns.payload.blob
    (event,) = reader.events(columns, [0])
    assert "secret words" not in repr(event)


@given(metadata=st.dictionaries(st.text(max_size=5), HIDING, max_size=3), around=AROUND)
@settings(max_examples=100)
def test_without_metadata_only_numbers_are_stored(metadata, around):
    numbers = {"n": 1, "text": SECRET, "box": around}
    row, _ = encode_row(1, "a.b", numbers, {**metadata, "outer": around}, 0, None)
    columns, reader = prepared([row], privacy="none")
    (event,) = reader.events(columns, [0])
    assert event.measurements == {"n": 1}
    assert event.metadata == {}
    assert b"secret words" not in columns.payload.blob


def test_a_redacted_text_is_its_length_and_a_keyed_hash():
    kept = redactor().value("prompt", SECRET)
    digest = hmac.new(KEY, SECRET.encode(), hashlib.sha256).hexdigest()[:32]
    assert kept == {MARK_REDACTED: len(SECRET), "hmac": digest}
    assert Redactor(b"another lab").value("prompt", SECRET)["hmac"] != digest


@pytest.mark.parametrize("key", KEYS)
def test_every_known_key_is_found_in_any_case_and_below_any_prefix(key):
    for spelling in (key, key.upper(), f"llm.{key}", f"a.b.{key.title()}"):
        assert sensitive(spelling)
    assert not sensitive(f"{key}_count")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prompt", 12), ("completion", 0.5), ("prompt", None), ("response", True),
        ("completion", {"tokens": 3, "n": [1, 2]}), ("choices", [1, 2]),
        ("error", "timeout"), ("error", "rate_limited"), ("error", "429"), ("error", "ValueError"),
        ("error", "openai.RateLimitError"), ("error", {"type": "RateLimitError", "code": 429}),
        ("error", ["timeout", "429"]), ("exception", 503), ("model", "gpt-4o"), ("note", SECRET),
        ("prompt_name", SECRET), ("data", {"note": [SECRET]}), ("blob", b"bytes"),
    ],
)  # fmt: skip
def test_numbers_names_of_errors_and_fields_nobody_listed_stay(key, value):
    judge = redactor()
    assert judge.value(key, value) == value
    assert judge.redacted == 0


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (SECRET, 1), ([SECRET, 1], 1), ({"role": "user", "content": SECRET}, 1), (b"raw", 1),
        ({"a text as a key": 1}, 1),
    ],
)  # fmt: skip
def test_a_known_field_is_replaced_whole_and_counted(value, count):
    judge = redactor()
    assert judge.value("messages", value).keys() == {MARK_REDACTED, "hmac"}
    assert judge.redacted == count


def test_redacting_again_changes_nothing():
    judge = redactor()
    once = {
        key: judge.value(key, SECRET) for key in ("prompt", "error", "response", "traceback")
    } | {"nested": judge.value("nested", {"prompt": SECRET, "error": {"detail": SECRET}})}
    before = judge.redacted
    assert {key: judge.value(key, value) for key, value in once.items()} == once
    assert judge.redacted == before


def test_of_a_traceback_the_frames_stay():
    try:
        int(SECRET)
    except ValueError:
        text = traceback.format_exc()
    kept = redactor().value("traceback", text)
    assert kept["frames"] == [
        f"test_of_a_traceback_the_frames_stay:{line}" for line in _line_numbers(text)
    ]
    assert "secret" not in repr(kept)


def _line_numbers(text):
    return [
        line.split(", line ")[1].split(",")[0] for line in text.splitlines() if ", line " in line
    ]


@pytest.mark.parametrize("key", ["messages", "error", "note"])
def test_f11_nesting_beyond_the_limit_is_cut_and_costs_no_event(key):
    deep = 1
    for _ in range(400):
        deep = [deep]
    row, _ = encode_row(1, "deep", {}, {key: 1}, 0, None)
    row = row[:-1] + msgspec.msgpack.encode(deep)
    columns, reader = prepared([row])
    (event,) = reader.events(columns, [0])
    assert repr(event.metadata).count("[") <= 66
    assert len(columns) == 1


def test_full_keeps_every_text():
    value = {"messages": [{"role": "user", "content": SECRET}], "error": SECRET}
    row, _ = encode_row(1, "a", {}, value, 0, None)
    columns, reader = prepared([row], privacy="full")
    assert reader.events(columns, [0])[0].metadata == value
    assert prepared([row], privacy="metadata")[0].payload.blob != columns.payload.blob


@pytest.mark.asyncio
async def test_an_error_raised_in_a_span_is_stored_by_type_and_frames_without_its_text():
    async with ct.Lab() as lab, lab.experiment("p") as exp:
        with pytest.raises(ValueError, match="secret words"), ct.span("work"):
            raise ValueError(SECRET)
        with pytest.raises(KeyError), ct.span("work"):
            raise KeyError("hunter two")
        events = [e for e in await exp.events() if e.outcome == "error"]
        summary = await exp.metrics()
        assert summary.summary.marks["redacted"] == 2
    assert [event.error_type for event in events] == ["ValueError", "KeyError"]
    assert all(event.metadata["frames"] for event in events)
    assert "secret" not in repr(events)
    assert "hunter" not in repr(events)


@pytest.mark.asyncio
async def test_a_redact_callable_that_raises_lets_numbers_through_and_no_text():
    def broken(name, measurements, metadata):
        raise RuntimeError("oops")

    async with ct.Lab() as lab, lab.experiment("p", redact=broken) as exp:
        await ct.execute("a", {"n": 1, "word": SECRET}, {"note": SECRET})
        (event,) = await exp.events()
        assert exp.health().marks["redact"] == 1
    assert event.measurements["n"] == 1
    assert event.metadata["note"].keys() == {MARK_REDACTED, "hmac"}
    assert "secret words" not in repr(event)


@pytest.mark.asyncio
async def test_the_error_type_is_no_way_out_for_a_text():
    async with ct.Lab() as lab, lab.experiment("p", privacy="none") as exp:
        await ct.execute("a.exception", None, {"error": "user@example.com,secret"})
        await ct.execute("a.exception", None, {"error": {"message": "the secret"}})
        events = await exp.events()
    assert [event.error_type for event in events] == ["error", "error"]
    assert "secret" not in repr(events)


INNER_KEYS = st.sampled_from(
    ["input_tokens", "prompt", "error", "a b", SECRET, "crucible:cut", MARK_REDACTED, "x.y", 1, ""]
)
COUNTS = st.recursive(
    st.integers() | st.floats() | st.none() | st.booleans() | st.sampled_from([SECRET, b"x"]),
    lambda inner: st.dictionaries(INNER_KEYS, inner, max_size=3) | st.lists(inner, max_size=1),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["n", "m", "error", MARK_REPR]), COUNTS), min_size=1),
    st.sampled_from(["usage", "prompt", "error", "result", "token", "logprobs"]),
)
@settings(max_examples=300)
def test_records_of_counts_are_those_that_privacy_leaves_and_nobody_marks(column, key):
    if only_counts(column):
        marks, redactor = Counter(), Redactor(KEY)
        assert [redactor.value(key, value) for value in column] == column
        assert not count_marks(column, marks)
        assert (redactor.redacted, marks) == (0, Counter())


def test_records_of_counts_need_not_be_looked_at_one_by_one():
    assert only_counts([{"input_tokens": 5, "details": {"cached": None}, "cost": 0.1}, {"n": 1}, 7])
    assert not only_counts([{"n": 1}, {"n": SECRET}])
    assert not only_counts([{SECRET: 1}])
    assert not only_counts([{"cost": float("nan")}])
