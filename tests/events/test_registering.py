"""A user's own events in the catalog: said once, checked early, heard by experiments that run."""

from typing import Annotated

import msgspec
import pytest

import crucible_telemetry as ct
from crucible_telemetry.events.rows import NS_PER


@pytest.fixture
def register():
    """`ct.catalog.register`, taken back at the end."""
    names = []

    def registering(name, **said):
        info = ct.catalog.register(name, **said)
        names.append(name)
        return info

    yield registering
    for name in names:
        ct.catalog.unregister(name)


class Retrieved(msgspec.Struct):
    """What a retrieval measures."""

    documents: int
    recall: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Query(msgspec.Struct):
    """What a retrieval is about."""

    index: str
    model: str | None = None


# -- what the library knows ------------------------------------------------------------------------


def test_every_category_has_events_and_every_event_a_category_and_a_description():
    by_category = ct.catalog.events_by_category()
    assert list(by_category) == list(dict.fromkeys(by_category))
    assert set(by_category) == {
        "llm", "ensemble", "hedging", "training", "deployment", "framework", "trace", "tools", "task",
    }  # fmt: skip
    names = [name for names in by_category.values() for name in names]
    assert sorted(names) == sorted(ct.catalog.standard_events())
    assert all(ct.catalog.event_info(name).description for name in names)


@pytest.mark.parametrize(
    "name",
    ["req_llm.request.start", "req_llm.request.stop", "req_llm.request.exception", "ensemble.prediction.start", "ensemble.prediction.stop", "ensemble.vote.completed", "ensemble.predict.start", "ensemble.predict.stop", "ensemble.predict.exception", "ensemble.vote.complete", "hedging.request.start", "hedging.request.duplicated", "hedging.request.stop", "hedging.hedge.fired", "hedging.hedge.won", "causal_trace.event.created", "altar.tool.start", "altar.tool.stop", "crucible_train.training.start", "crucible_train.epoch.stop", "crucible_train.batch.stop", "crucible_train.checkpoint.saved", "crucible_deployment.inference.stop", "crucible_deployment.inference.exception", "crucible_framework.pipeline.stop", "crucible_framework.stage.stop", "llm.request.stop", "gen_ai.chat.stop", "tinkex.http.request.stop"],
)  # fmt: skip
def test_the_events_of_the_seeds_and_of_their_libraries_are_listed(name):
    assert name in ct.catalog.standard_events()
    assert ct.catalog.event_info(tuple(name.split("."))).name == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ensemble.prediction.stop", "ensemble.predict.stop"),
        ("ensemble.predict.stop", "crucible_ensemble.predict.stop"),
        ("ensemble.vote.completed", "ensemble.vote.complete"),
        ("hedging.request.duplicated", "hedging.hedge.fired"),
        ("hedging.hedge.won", "crucible_hedging.hedge.won"),
        ("causal_trace.event.created", "crucible_trace.event.created"),
    ],
)
@pytest.mark.asyncio
async def test_both_spellings_of_an_event_can_be_asked_for(one, other, exp):
    assert ct.catalog.event_info(one).canonical == ct.catalog.event_info(other).canonical
    spellings = ct.catalog.event_info(one).spellings
    assert spellings == ct.catalog.event_info(other).spellings
    await ct.execute(one)
    await ct.execute(other)
    await ct.execute("something.else")
    assert len(await exp.events(ct.Where(event=list(spellings)))) == 2


def test_a_name_that_no_row_is_for_is_unknown_and_one_below_a_library_is_not():
    assert ct.catalog.event_info("my.own.stop") is None
    assert ct.catalog.event_info("crucible_ensemble.new.stop").unit == "us"
    assert "crucible_ensemble.new.stop" not in ct.catalog.standard_events()


# -- registering -----------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_registered_event_has_its_unit_category_and_fields(register, exp):
    info = register(
        "rag.retrieve.*", category="retrieval", unit="ms", description="One look into the index",
        fields={"recall": "share", "index": "name"},
    )  # fmt: skip
    assert (info.category, info.unit, info.ends) == ("retrieval", "ms", False)
    await ct.execute("rag.retrieve.stop", {"duration": 12, "recall": 0.5}, {"index": "wiki"})
    (event,) = await exp.events()
    assert (event.latency_ms, event.category, event.outcome) == (12.0, "retrieval", "ok")
    assert event.fields == {"recall": 0.5, "index": "wiki"}
    assert ct.catalog.events_by_category()["retrieval"] == ["rag.retrieve.*"]
    assert "rag.retrieve.*" not in ct.catalog.standard_events()


@pytest.mark.asyncio
async def test_an_experiment_that_runs_follows_a_registration_and_its_end(exp):
    async def latency_ms():
        await ct.execute("rag.retrieve.stop", {"duration": 12})
        return (await exp.events())[-1].latency_ms

    assert await latency_ms() == 12e-6
    ct.catalog.register("rag.retrieve.*", unit="ms")
    assert await latency_ms() == 12.0
    ct.catalog.unregister("rag.retrieve.*")
    assert await latency_ms() == 12e-6


@pytest.mark.asyncio
async def test_ends_wraps_and_money_are_what_was_registered(register, exp):
    register("shop.order.done", ends=True, category="llm")
    register("shop.order.stop", ends=False)
    register("shop.basket.stop", wraps=True)
    register("shop.points.stop", money=False)
    await ct.execute("shop.order.done", {"duration": 5}, {"cost_usd": 1.0})
    await ct.execute("shop.order.stop", {"duration": 7})
    await ct.execute("shop.basket.stop", None, {"cost_usd": 1.0})
    await ct.execute("shop.points.stop", None, {"cost": 99})
    summary = await exp.metrics()
    assert summary.pool == "llm operations"
    assert summary.reliability.total_requests == 1
    assert summary.cost.total == 1.0


@pytest.mark.asyncio
async def test_an_operation_whose_registered_end_has_a_word_of_its_own_succeeded_unless_it_says_otherwise(
    register, exp
):
    for word in ("finished", "done", "crashed"):
        register(f"my.job.{word}", ends=True)
    await ct.execute("my.job.finished", {"duration_ms": 5})
    await ct.execute("my.job.finished", {"duration_ms": 7}, {"error": "ValueError"})
    await ct.execute("my.job.done", {"duration_ms": 9})
    await ct.execute("my.job.crashed", {"duration_ms": 11})
    assert [event.outcome for event in await exp.events()] == ["ok", "error", "ok", "error"]
    assert (await exp.metrics()).latency.mean == 7.0


def test_a_prefix_and_a_name_below_it_are_read_together_the_nearer_one_first(register):
    register("rag.*", category="retrieval", unit="ms", fields=["index"])
    assert register("rag.rank.stop", unit="s").category == "retrieval"
    assert ct.catalog.event_info("rag.rank.stop").unit == "s"
    assert ct.catalog.event_info("rag.other.stop").unit == "ms"
    assert [field.name for field in ct.catalog.event_info("rag.rank.stop").fields] == ["index"]


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("", {}, "event: ''"),
        ("*", {}, "want a dotted name"),
        ("a.*.b", {}, "want a dotted name"),
        ("a..b", {}, "want a dotted name"),
        ("a.b*", {}, "want a dotted name"),
        ("req_llm.request.stop", {}, "is a standard event"),
        ("req_llm.*", {}, "is a standard event"),
        ("a.b", {"unit": "minutes"}, "unit: want one of ns, us, ms, s, not 'minutes'"),
        ("a.b", {"latency_unit": None}, "latency_unit: want one of"),
        ("a.b", {"category": "My Events"}, "category: want a word"),
        ("crucible_train.mine.stop", {"category": "llm"}, "is one of the training events"),
        ("a.b", {"ends": 1}, "ends: want True or False"),
        ("a.b.*", {"ends": True}, "ends: 'a.b.*' has starts below it too"),
        ("a.b", {"wraps": 9}, "wraps: want True, False or 0 … 7"),
        ("a.b", {"fields": "recall"}, "fields: want names"),
        ("a.b", {"fields": {"recall": 1}}, "fields: want texts"),
        ("a.b", {"fields": ["latency_ms"]}, "'latency_ms' is a column of every event"),
        ("a.b", {"measurements": dict}, "measurements: want a msgspec.Struct class"),
        ("a.b", {"colour": "red"}, "colour: unknown; want category"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_registered(name, said, told):
    before = ct.catalog.events_by_category()
    with pytest.raises(ct.ConfigurationError, match=told.replace("*", r"\*")):
        ct.catalog.register(name, **said)
    assert ct.catalog.events_by_category() == before


def test_a_name_is_registered_once_and_unregistered_once(register):
    register("rag.*")
    with pytest.raises(ct.ConfigurationError, match="unregister it first"):
        ct.catalog.register(("rag", "*"))
    for name in ("other.*", "req_llm.*", "llm.request.stop"):
        with pytest.raises(ct.ConfigurationError, match="was not registered"):
            ct.catalog.unregister(name)


def test_every_row_has_a_unit_that_can_be_converted():
    for name in ct.catalog.standard_events():
        info = ct.catalog.event_info(name)
        assert info.unit in NS_PER
        assert info.latency_unit in {None, *NS_PER}
        assert 0 <= (info.rank or 0) <= 7


# -- types -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("privacy", ["full", "metadata"])
@pytest.mark.asyncio
async def test_an_event_that_is_not_as_its_types_say_is_stored_marked_and_counted(
    register, lab, privacy
):
    register("rag.retrieve.*", measurements=Retrieved, metadata=Query)
    good = [{"documents": 3}, {"documents": 3, "recall": 0.5, "more": "is fine"}]
    bad = [{}, {"documents": "3"}, {"documents": 3, "recall": 7}]
    async with lab.experiment("typed", privacy=privacy) as exp:
        for measurements in (*good, *bad):
            await ct.execute("rag.retrieve.stop", measurements, {"index": "wiki"})
        await ct.execute("rag.retrieve.stop", {"documents": 3}, {"index": 7})
        await ct.execute("rag.retrieve.start", None, {"index": 7})
        events = await exp.events()
        assert exp.health().marks["schema"] == 4
    if privacy == "full":
        assert [event.measurements for event in events[:5]] == [*good, *bad]
    assert len(events) == 7
    assert (await exp.metrics()).summary.marks["schema"] == 4


def test_the_fields_of_a_struct_are_fields_of_the_event_but_those_every_event_has(register):
    info = register("rag.retrieve.*", measurements=Retrieved, metadata=Query)
    units = {field.name: field.unit for field in info.fields}
    assert units == {"documents": "int", "recall": "float | None", "index": "str"}


@pytest.mark.asyncio
async def test_a_struct_whose_own_check_raises_loses_no_event(register, exp):
    class Picky(msgspec.Struct):
        n: int

        def __post_init__(self):
            raise RuntimeError("never")

    register("rag.picky.stop", measurements=Picky)
    await ct.execute("rag.picky.stop", {"n": 1})
    assert exp.counts.stored + exp.counts.in_flight == 1
    assert len(await exp.events()) == 1
    assert exp.health().marks["schema"] == 1
