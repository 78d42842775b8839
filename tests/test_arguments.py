"""What users pass is checked where it is passed: the error names the argument."""

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def lab():
    async with ct.Lab() as opened:
        yield opened


@pytest.mark.parametrize("events", ["a*b", [], [""], ["a", "*b"], 5])
async def test_what_is_no_pattern_is_refused_wherever_one_listens(lab, events):
    exp = await lab.start_experiment("a", capture="scope")
    with pytest.raises(ct.ConfigurationError, match="events"):
        ct.attach("h", events, print)
    assert ct.list_handlers() == []
    with pytest.raises(ct.ConfigurationError, match="events"), ct.testing.capture(events):
        pass
    with pytest.raises(ct.ConfigurationError, match="patterns"):
        exp.subscribe(events)
    with pytest.raises(ct.ConfigurationError, match="events"):
        await lab.start_experiment("b", events=events)


async def test_attach_many_takes_one_name_as_one_name():
    ct.attach_many("h", "llm.*", print)
    try:
        assert ct.list_handlers()[0].events == ("llm.*",)
    finally:
        ct.detach("h")


@pytest.mark.parametrize("where", ["llm.*", {"event": "llm.*"}, 5])
async def test_a_filter_that_is_no_where_is_refused(lab, where):
    exp = await lab.start_experiment("a", capture="scope")
    reads = [
        exp.events(where),
        exp.count_events(where),
        exp.metrics(where),
        exp.window(ct.LastN(5), where),
        exp.windowed_metrics(5, None, where),
    ]
    for read in reads:
        with pytest.raises(ct.QueryError, match=r"where: want ct\.Where"):
            await read


async def test_an_enricher_that_returns_no_mapping_has_failed_and_stores_nothing(lab):
    exp = await lab.start_experiment(
        "a", capture="scope", enrichers=[lambda *_: "text", lambda *_: None]
    )
    with exp.scope():
        ct.execute_nowait("n", {"x": 1})
    (event,) = await exp.events()
    assert event.metadata == {}
    assert exp.health().marks["enricher"] == 1
