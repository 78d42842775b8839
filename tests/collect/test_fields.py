"""Named fields: where they are read, what counts, and that live and at rest say the same."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.collect.fields import NamedFields
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.events.columns import DTYPES, FIXED, Columns, Payload
from crucible_telemetry.events.shape import encode_row
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.figures import Timing
from crucible_telemetry.metrics.rest import at_rest
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR
from crucible_telemetry.metrics.summary import live

CUSTOM = ("accuracy", "score.bleu")
QUANTILES = ("median", "p25", "p50", "p75", "p90", "p95", "p99", "p99_9")


def kept(events, first_seq=1):
    """Columns of (name, measurements, metadata), as a store keeps them."""
    rows = [encode_row(0, name, numbers, words, 0, None)[0] for name, numbers, words in events]
    shapes = [encode_shape(row) for row in rows]
    arrays = {name: np.zeros(len(rows), DTYPES[name]) for name in FIXED}
    arrays["shape"] = np.array(shapes, np.uint32)
    return Columns(first_seq, Payload.of(rows), arrays)


def encode_shape(row):
    from crucible_telemetry.events.shape import decode_rows

    return decode_rows([row])[0][1]


def column(field, events):
    found = NamedFields([field]).columns(kept(events)).get(field)
    return None if found is None else found.tolist()


def test_measurements_come_first_then_metadata_then_paths_into_mappings():
    events = [
        ("a.b", {"accuracy": 0.5}, {"accuracy": 9}),
        ("a.b", {"accuracy": None}, {"accuracy": 2}),
        ("a.c", {}, {"score": {"bleu": 0.25}}),
        ("a.c", {}, {"score.bleu": 3}),
        ("a.d", {"x": {"y": {"z": 4}}}, {}),
    ]
    assert column("accuracy", events)[:2] == [0.5, 2.0]
    assert column("score.bleu", events)[2:4] == [0.25, 3.0]
    assert column("x.y.z", events)[4] == 4.0
    assert column("nowhere", events) is None


def test_any_real_number_counts_and_nothing_else_does():
    values = [True, False, -2, 2**63, "0.5", None, [1], -0.0]
    found = column("accuracy", [("a.b", {"accuracy": value}, {}) for value in values])
    assert found[:4] == [1.0, 0.0, -2.0, float(2**63)]
    assert [math.isnan(value) for value in found[4:7]] == [True] * 3
    assert math.copysign(1, found[7]) == 1


def test_metadata_of_a_start_are_left_to_its_end():
    events = [("job.start", {"depth": 1}, {"lr": 0.1}), ("job.stop", {}, {"lr": 0.1})]
    assert math.isnan(column("lr", events)[0])
    assert column("lr", events)[1] == 0.1
    assert column("depth", events)[0] == 1.0


VALUES = st.one_of(
    st.floats(),
    st.floats(-1, 1),
    st.integers(-100, 100),
    st.none(),
    st.booleans(),
    st.text(max_size=2),
)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["train.step", "train.step.stop", "eval.start"]),
        st.fixed_dictionaries({}, optional={"accuracy": VALUES, "n": st.integers()}),
        st.fixed_dictionaries(
            {}, optional={"accuracy": VALUES, "score": st.fixed_dictionaries({"bleu": VALUES})}
        ),
    ),
    max_size=30,
)


def reader():
    spec = make_spec("e", {"metrics_config": {"custom": CUSTOM}})
    return ExperimentReader("e-1", spec, Trials())


@settings(max_examples=60)
@given(st.lists(EVENTS, min_size=1, max_size=5), st.randoms())
def test_f25_live_and_at_rest_agree_to_the_bit_in_any_order_and_split(batches, random):
    reading, parts, first = reader(), [], 1
    for batch in batches:
        if batch:
            parts.append(kept(batch, first))
            first += len(batch)
    config, timing = reading.spec.metrics_config, Timing()
    rest = at_rest(parts, reading, timing, config=config, by_event=True)
    random.shuffle(parts)
    boards = [Board.empty().plus(part, reading) for part in parts]
    merged = Board.empty()
    for board in boards:
        merged = board.merged(merged)
    one = Board.empty()
    for part in parts:
        one = one.plus(part, reading)
    running = live(one, reading, timing, config=config, by_event=True)
    assert running.fields == live(merged, reading, timing, config=config).fields
    pairs = [(running.fields, rest.fields)] + [
        (running.events.by_event[name].fields, figures.fields)
        for name, figures in rest.events.by_event.items()
    ]
    for some, others in pairs:
        assert set(some) == set(others) == set(CUSTOM)
        for name in CUSTOM:
            same_but_for_the_sketch(some[name], others[name])


def same_but_for_the_sketch(running, rest):
    for figure in rest.__struct_fields__:
        mine, exact = getattr(running, figure), getattr(rest, figure)
        if figure not in QUANTILES or exact is None:
            assert repr(mine) == repr(exact), figure
        else:
            slack = (rest.max - rest.min) * 1e-13 if math.isfinite(rest.max - rest.min) else 1e296
            assert mine == pytest.approx(exact, rel=QUANTILE_ERROR, abs=slack + 5e-324), figure


@pytest.mark.asyncio
async def test_named_fields_are_summarised_live_and_at_rest_and_by_event():
    async with ct.Lab() as lab:
        config = {"custom": ["accuracy", "score.bleu", "missing"]}
        async with lab.experiment("a", metrics_config=config) as exp:
            for k in range(10):
                await ct.execute("train.epoch", {"accuracy": k / 10})
            await ct.execute("eval.stop", {"accuracy": math.nan}, {"score": {"bleu": -0.5}})
            live_, rest = exp.live(by="event"), await exp.metrics(by="event")
    assert rest.fields["accuracy"].count == live_.fields["accuracy"].count == 10
    assert rest.fields["accuracy"].left_out == 1
    assert rest.fields["accuracy"].mean == live_.fields["accuracy"].mean == 0.45
    assert rest.fields["score.bleu"].min == -0.5
    assert (rest.fields["missing"].count, rest.fields["missing"].mean) == (0, None)
    assert rest.events.by_event["train.epoch"].fields["accuracy"].max == 0.9
    assert rest.events.by_event["eval.stop"].fields["accuracy"].count == 0
    said = [line.split() for line in str(rest).split("\n")]
    assert ["accuracy", "10", "0.45"] in [line[:3] for line in said]
    assert ["not", "finite", "accuracy", "1"] in said


@pytest.mark.asyncio
async def test_a_field_that_an_enricher_adds_and_one_that_privacy_hides():
    async with ct.Lab() as lab:
        options = {"metrics_config": {"custom": ["double", "secret.n"]}}
        enrich = [lambda event, numbers, words: {"double": 2 * numbers["x"]}]
        async with lab.experiment("a", enrichers=enrich, **options) as exp:
            await ct.execute("e", {"x": 4})
            assert exp.live().fields["double"].mean == (await exp.metrics()).fields["double"].mean
            assert exp.live().fields["double"].mean == 8.0
        async with lab.experiment("b", privacy="none", **options) as exp:
            await ct.execute("e", {}, {"secret": {"n": 4}})
            assert exp.live().fields["secret.n"].count == 0
            assert (await exp.metrics()).fields["secret.n"].count == 0


@pytest.mark.asyncio
async def test_fields_of_events_beyond_the_table_of_shapes_are_found_too(monkeypatch):
    from crucible_telemetry.events import shape

    monkeypatch.setattr(shape, "MAX_SHAPES", 0)
    async with ct.Lab() as lab, lab.experiment("a", metrics_config={"custom": ["zeal"]}) as exp:
        for k in range(5):
            await ct.execute(f"never.seen.before.{k}", {"zeal": k})
        assert exp.live().fields["zeal"].mean == (await exp.metrics()).fields["zeal"].mean == 2
