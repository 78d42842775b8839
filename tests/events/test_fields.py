"""The fields of an event's category: where each is read, and that reading them in bulk costs nothing."""

import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.events.fields import Field

# What is emitted, and the fields that the event then has.
CASES = [
    (
        "crucible_train.epoch.stop",
        {"duration": 360_000_000_000, "loss": 0.25, "accuracy": 0.85},
        {"epoch": 3, "learning_rate": 0.001},
        {"epoch": 3, "learning_rate": 0.001, "loss": 0.25, "accuracy": 0.85},
    ),
    (
        "crucible_train.batch.stop",
        {"loss": 0.35, "grad_norm": 1.5, "lr": 0.1},
        {"epoch": 2, "batch": 150},
        {"epoch": 2, "batch": 150, "learning_rate": 0.1, "loss": 0.35, "gradient_norm": 1.5},
    ),
    (
        "crucible_train.checkpoint.saved", {}, {"epoch": 5, "checkpoint_path": "/c/5.pt"},
        {"epoch": 5, "checkpoint_path": "/c/5.pt"},
    ),
    (
        "crucible_deployment.inference.stop",
        {"input_size": 512, "output_size": 128},
        {"model_name": "bert", "model_version": "v1", "batch_size": 32},
        {"model_name": "bert", "model_version": "v1", "input_size": 512, "output_size": 128,
         "batch_size": 32},
    ),
    (
        "crucible_framework.stage.stop", {}, {"pipeline_id": "p", "stage_name": "s", "stage_index": 0},
        {"pipeline_id": "p", "stage_name": "s", "stage_index": 0},
    ),
    (
        "ensemble.predict.stop", {}, {"strategy": "majority", "consensus": 1.0, "votes": {"a": 2}},
        {"consensus": 1.0, "strategy": "majority", "votes": {"a": 2}},
    ),
    ("crucible_hedging.hedge.fired", {"delay": 100}, {}, {"delay_ms": 100}),
    (
        "crucible_hedging.request.stop", {"duration": 1},
        {"hedged": True, "hedge_won": False, "hedge_delay": 100, "strategy_name": "Fixed"},
        {"hedged": True, "hedge_won": False, "delay_ms": 100, "strategy": "Fixed"},
    ),
    # Measured figures are taken from measurements, positions and names from metadata, where both say it.
    ("training.step.stop", {"loss": 1.0, "epoch": 1}, {"loss": 2.0, "epoch": 2}, {"epoch": 2, "loss": 1.0}),
    ("my.own.stop", {"loss": 1.0}, {"epoch": 2}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "measurements", "metadata", "fields"), CASES)
@pytest.mark.asyncio
async def test_an_event_has_the_fields_of_its_category(name, measurements, metadata, fields):
    async with ct.Lab() as lab, lab.experiment("fields", privacy="full") as exp:
        await ct.execute(name, measurements, metadata)
        (event,) = await exp.events()
    assert event.fields == fields
    for field, value in fields.items():
        assert getattr(event, field) == value
    assert event.measurements == measurements
    assert event.metadata == metadata


@pytest.mark.asyncio
async def test_a_field_of_another_category_is_none_and_one_of_no_category_an_error():
    async with ct.Lab() as lab, lab.experiment("fields") as exp:
        await ct.execute("crucible_train.epoch.stop", {"loss": 0.5})
        (event,) = await exp.events()
    assert event.consensus is None
    assert event.epoch is None
    with pytest.raises(AttributeError):
        event.losss  # noqa: B018 - the look itself is tested


def test_every_field_a_category_promises_is_an_attribute_or_documented_under_fields():
    fields = {
        "training": "epoch batch learning_rate loss accuracy gradient_norm checkpoint_path",
        "deployment": "model_name model_version input_size output_size batch_size",
        "framework": "pipeline_id stage_name stage_index",
        "ensemble": "consensus strategy votes",
        "hedging": "hedged hedge_won delay_ms attempts",
    }
    for names in fields.values():
        for name in names.split():
            assert hasattr(ct.Event, name)


SPELLINGS = ("loss", "request_options", "request_options.temperature", "other")
VALUES = (
    st.none()
    | st.integers()
    | st.dictionaries(st.sampled_from(["temperature", "x"]), st.integers())
)


@given(
    keys=st.lists(st.sampled_from(SPELLINGS), max_size=4, unique=True),
    split=st.integers(0, 4),
    rows=st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=3),
    measured=st.booleans(),
)
def test_a_field_of_columns_is_what_it_is_of_each_event(keys, split, rows, measured):
    field = Field("t", "", ("loss", "request_options.temperature"), measured=measured)
    events = [dict(zip(keys, row, strict=False)) for row in rows]
    boxes = [({k: e[k] for k in keys[:split]}, {k: e[k] for k in keys[split:]}) for e in events]
    columns = [{k: [e[k] for e in events] for k in some} for some in (keys[:split], keys[split:])]
    alone = [field.read(numbers, words) for numbers, words in boxes]
    assert list(field.read_columns(*columns, len(rows))) == alone
