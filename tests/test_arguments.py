"""What users pass is checked where it is passed: the error names the argument."""

import pathlib

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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("privacy_key", "k" * 32),
        ("privacy_key", b""),
        ("privacy_key", b"short"),
        ("max_event_bytes", 1023),
        ("max_event_bytes", 2048.0),
        ("max_event_bytes", True),
        ("close_timeout_s", 0),
        ("close_timeout_s", float("nan")),
        ("close_timeout_s", "5"),
        ("handle_signals", 1),
        ("url", 5),
        ("url", None),
    ],
)
async def test_a_wrong_option_of_a_lab_is_refused_and_named(option, value):
    with pytest.raises(ct.ConfigurationError) as told:
        ct.Lab(**{option: value})
    assert told.value.option == option
    assert not isinstance(told.value, ct.NotBuiltYet)


async def test_a_key_that_is_refused_is_not_told():
    with pytest.raises(ct.ConfigurationError) as told:
        ct.Lab(privacy_key=b"hunter2")
    assert "hunter2" not in str(told.value)


async def test_resuming_with_other_options_names_the_first_that_differs(lab):
    metadata = {"temperature": 0}
    first = await lab.start_experiment("a", capture="scope", condition="x", metadata=metadata)
    same = {"capture": "scope", "condition": "x", "metadata": metadata, "on_existing": "resume"}
    assert await lab.start_experiment("a", **same) is first
    for option, other in [("condition", "y"), ("metadata", {}), ("privacy", "full")]:
        with pytest.raises(ct.ConfigurationError, match=first.id) as told:
            await lab.start_experiment("a", **{**same, option: other})
        assert told.value.option == option
    assert lab.list_experiments() == [first]


async def test_two_experiments_do_not_write_to_one_file(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = await lab.start_experiment("a", capture="scope", export_on_exit="x.jsonl")
    await first.cleanup()
    for path in ("x.jsonl", tmp_path / "x.jsonl", pathlib.Path("y") / ".." / "x.jsonl"):
        with pytest.raises(ct.ConfigurationError, match=first.id) as told:
            await lab.start_experiment("b", capture="scope", export_on_exit=path)
        assert told.value.option == "export_on_exit"
    await lab.start_experiment("b", capture="scope", export_on_exit=tmp_path / "y.jsonl")


async def test_experiments_are_listed_by_one_tag_and_only_by_states_there_are(lab):
    exp = await lab.start_experiment("a", capture="scope", tags=["h1"])
    assert lab.list_experiments(tags="h1", state="running") == [exp]
    assert lab.list_experiments(tags="h") == []
    assert lab.list_experiments(tags=None) == [exp]
    with pytest.raises(ct.ConfigurationError, match="state: want one of running, paused"):
        lab.list_experiments(state="runing")


async def test_a_plan_takes_one_experiment_or_several_but_none_twice_and_no_ids(lab):
    exp = await lab.start_experiment("a", capture="scope")
    assert lab.trials(exp, items=[1, 2]).remaining == 2
    for wrong in ([exp.id], exp.id, [exp, exp], None, 5):
        with pytest.raises(ct.ConfigurationError) as told:
            lab.trials(wrong, items=[1])
        assert told.value.option == "experiments"


async def test_what_was_cleaned_up_never_reads_as_empty_nor_overwrites_a_file(lab, tmp_path):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        ct.execute_nowait("n")
    path = await exp.export(tmp_path / "x.jsonl")
    before = path.read_bytes()
    following, pages = exp.subscribe(), exp.pages(size=1)
    await exp.cleanup()
    reads = [
        exp.events, exp.metrics, exp.count_events, exp.trials, lambda: exp.window(ct.LastN(1)),
        lambda: exp.windowed_metrics(5), lambda: exp.export(path), lambda: anext(pages),
        lambda: anext(following),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(ct.LifecycleError, match="it is cleaned up"):
            await read()
    for read in (exp.live, exp.reset_live, exp.subscribe):
        with pytest.raises(ct.LifecycleError, match="it is cleaned up"):
            read()
    assert path.read_bytes() == before


async def test_what_is_cleaned_up_while_it_is_read_does_not_look_complete(lab):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        for _ in range(4):
            ct.execute_nowait("n")
    pages = exp.pages(size=2)
    assert len(await anext(pages)) == 2
    await exp.cleanup()
    with pytest.raises(ct.LifecycleError, match="cannot read on from"):
        await anext(pages)


async def test_names_of_later_versions_say_so_and_hasattr_says_no(lab):
    exp = await lab.start_experiment("a", capture="scope")
    later = [
        (ct, "join"),
        (ct, "blocking_lab"),
        (lab, "ledger"),
        (lab, "study"),
        (exp, "quality"),
    ]
    for owner, name in later:
        assert not hasattr(owner, name)
        with pytest.raises(ct.NotBuiltYet, match=f"{name} is not built yet"):
            getattr(owner, name)
    for owner, shown in ((lab, "'Lab' object"), (exp, "'Experiment' object")):
        with pytest.raises(AttributeError, match=f"{shown} has no attribute 'nope'") as told:
            owner.nope  # noqa: B018 - the look itself is tested
        assert not isinstance(told.value, ct.NotBuiltYet)


async def test_a_lab_prints_as_its_state_and_how_much_it_holds(lab):
    await lab.start_experiment("a", capture="scope")
    assert repr(lab) == "<Lab open, 1 experiments>"
