"""The life of a lab and of its experiments: opening, the registry, the verbs, closing."""

import json
import logging

import pytest

import crucible_telemetry as ct
from crucible_telemetry.collect.spec import TRANSITIONS, State

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


async def in_state(lab, state):
    """A running experiment brought to a state by the commands users have (failing is not one)."""
    exp = await lab.start_experiment(f"to-{state}", capture="scope")
    if state is State.PAUSED:
        await exp.pause()
    if state is State.STOPPED:
        await exp.stop()
    if state is State.FAILED:
        exp._fail(RuntimeError("given up"))
    return exp


async def test_what_is_emitted_in_an_experiment_is_there_when_it_has_stopped(lab):
    async with lab.experiment("a", condition="control", tags=["x", "y"]) as exp:
        await ct.execute("work.done", {"size": 3}, {"who": "me"})
        ct.execute_nowait(("work", "done"), {"size": 4}, {"who": "you"})
    first, second = await exp.events()
    assert (first.event_name, first.measurements, first.metadata) == (
        "work.done",
        {"size": 3},
        {"who": "me"},
    )
    assert second.event_name == "work.done"
    assert [first.seq, second.seq] == [1, 2]
    assert first.condition == "control"
    assert first.tags == ("x", "y")
    assert first.experiment_id == exp.id
    assert first.experiment_name == "a"
    assert exp.state == "stopped"


async def test_a_failing_body_stops_the_experiment_and_keeps_its_data(lab):
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is tested
        async with lab.experiment("a") as exp:
            ct.execute_nowait("n", {"i": 1})
            raise ZeroDivisionError
    assert exp.state == "stopped"
    assert await exp.count_events() == 1


@pytest.mark.parametrize("state", [State.RUNNING, State.PAUSED, State.STOPPED, State.FAILED])
@pytest.mark.parametrize("command", ["pause", "resume", "stop", "cleanup"])
async def test_every_command_follows_the_table_in_every_state(lab, state, command):
    exp = await in_state(lab, state)
    after = TRANSITIONS[state].get(command)
    if command == "cleanup":
        await exp.cleanup()  # of one that lives: stopped first
        assert exp.state == (State.FAILED if state is State.FAILED else State.STOPPED)
    elif after is None:
        with pytest.raises(ct.LifecycleError) as told:
            await getattr(exp, command)()
        assert str(told.value) == f"cannot {command} experiment {exp.id!r}: it is {state.value}"
        assert exp.state is state
    else:
        await getattr(exp, command)()
        assert exp.state is after


async def test_stopping_twice_is_stopping_once(lab):
    exp = await lab.start_experiment("a", capture="scope")
    assert await exp.stop() is exp
    assert await exp.stop() is exp


async def test_what_comes_after_the_stop_is_late_and_in_a_pause_skipped(lab):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        ct.execute_nowait("n")
        await exp.pause()
        ct.execute_nowait("n")
        ct.execute_nowait("n")
        await exp.resume()
        ct.execute_nowait("n")
        await exp.stop()
        for _ in range(3):
            ct.execute_nowait("n")
    counts = exp.counts
    assert (counts.stored, counts.skipped, counts.late, counts.in_flight) == (2, 2, 3, 0)
    assert counts.emitted == counts.accounted == 7


async def test_a_failed_experiment_refuses_without_raising_and_still_reads(lab, tmp_path):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        ct.execute_nowait("n")
        await exp.flush()
        exp._fail(RuntimeError("given up"))
        ct.execute_nowait("n")
        await ct.execute("n")
    assert (exp.counts.stored, exp.counts.refused) == (1, 2)
    with pytest.raises(ct.ExperimentFailed, match=r"it is failed \(RuntimeError\)") as told:
        await exp.flush()
    assert "given up" not in f"{told.value!r} {told.value.reason}"
    assert str(exp.failure) == "given up"
    assert len(await exp.events()) == 1
    assert (await exp.metrics()).summary.total_events == 1
    assert (await exp.export(tmp_path / "f.jsonl")).read_text().count("\n") == 1


async def test_the_verbs_by_id_do_what_the_handle_does(lab, tmp_path):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        ct.execute_nowait("llm.request.stop", {"duration": 2_000_000})
    assert lab.get_experiment(exp.id) is exp
    await lab.pause_experiment(exp.id)
    assert lab.is_paused(exp.id)
    await lab.resume_experiment(exp.id)
    assert not lab.is_paused(exp.id)
    assert (await lab.calculate_metrics(exp.id)).latency.mean == 2.0
    path = await lab.export(exp.id, tmp_path / "a.jsonl")
    assert json.loads(path.read_text())["latency_ms"] == 2.0
    await lab.stop_experiment(exp.id)
    await lab.cleanup(exp.id)
    with pytest.raises(ct.UnknownExperiment, match=exp.id):
        lab.get_experiment(exp.id)


async def test_an_unknown_id_is_named_by_every_verb(lab):
    for verb in ("stop_experiment", "pause_experiment", "resume_experiment", "calculate_metrics"):
        with pytest.raises(ct.UnknownExperiment, match="'nope'"):
            await getattr(lab, verb)("nope")
    for verb in ("get_experiment", "is_paused"):
        with pytest.raises(ct.UnknownExperiment, match="'nope'"):
            getattr(lab, verb)("nope")


async def test_cleanup_forgets_the_data_unless_told_to_keep_it(lab):
    kept, gone = [await lab.start_experiment(n, capture="scope") for n in "ab"]
    for exp in (kept, gone):
        with exp.scope():
            ct.execute_nowait("n")
    await kept.cleanup(keep_data=True)
    await gone.cleanup()
    assert await kept.count_events() == 1
    with pytest.raises(ct.LifecycleError, match="cannot read .* it is cleaned up"):
        await gone.count_events()
    assert lab.list_experiments() == []


async def test_the_registry_lists_by_state_condition_and_all_tags(lab):
    a = await lab.start_experiment("a", condition="control", tags=["h1", "x"], capture="scope")
    b = await lab.start_experiment("b", condition="treatment", tags=["h1"], capture="scope")
    await b.pause()
    assert lab.list_experiments() == [a, b]
    assert lab.list_experiments(state="paused") == [b]
    assert lab.list_experiments(condition="control") == [a]
    assert lab.list_experiments(tags=["h1"]) == [a, b]
    assert lab.list_experiments(tags=["h1", "x"]) == [a]
    assert lab.list_experiments(state="running", tags=["y"]) == []


async def test_ids_tell_experiments_of_one_name_apart(lab):
    a = await lab.start_experiment("Prompt A/1", capture="scope")
    b = await lab.start_experiment("Prompt A/1", capture="scope")
    assert a is not b
    assert a.id != b.id
    assert a.id.startswith("prompt-a-1-")
    assert (await lab.start_experiment("…", capture="scope")).id.startswith("experiment-")


async def test_a_second_experiment_of_a_name_is_new_resumed_or_refused_as_asked(lab):
    first = await lab.start_experiment("a", capture="scope")
    with pytest.raises(ct.ConfigurationError, match=first.id):
        await lab.start_experiment("a", on_existing="error")
    await first.pause()
    assert await lab.start_experiment("a", on_existing="resume") is first
    assert first.state == "paused"
    await first.stop()
    with pytest.raises(ct.ConfigurationError, match="is stopped; in memory it cannot go on"):
        await lab.start_experiment("a", on_existing="resume", capture="scope")
    assert await lab.start_experiment("a", capture="scope") is not first


async def test_a_lab_opens_once_and_starts_nothing_when_it_is_not_open():
    lab = ct.Lab()
    with pytest.raises(ct.LabClosed, match="not open yet"):
        await lab.start_experiment("a")
    await lab.open()
    with pytest.raises(ct.LabClosed, match="open already"):
        await lab.open()
    assert await lab.close() == {}
    assert await lab.close() == {}
    with pytest.raises(ct.LabClosed, match="closed"):
        await lab.start_experiment("a")
    with pytest.raises(ct.LabClosed, match="closed already"):
        await lab.open()


async def test_after_closing_the_lab_handles_still_read(tmp_path):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("a", capture="scope")
        with exp.scope():
            ct.execute_nowait("llm.request.stop", {"duration": 5_000_000})
    assert exp.state == "stopped"
    assert len(await exp.events()) == 1
    assert (await exp.metrics()).latency.mean == exp.live().latency.mean == 5.0
    assert (await exp.export(tmp_path / "a.jsonl")).exists()
    with exp.scope():
        ct.execute_nowait("n")
    assert exp.counts.late == 1


async def test_closing_writes_what_was_asked_for_and_says_what_it_could_not(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    async with ct.Lab() as lab:
        good = await lab.start_experiment("a", capture="scope", export_on_exit=tmp_path / "a.jsonl")
        bad = await lab.start_experiment("b", capture="scope", export_on_exit=blocked / "b.jsonl")
        with good.scope():
            ct.execute_nowait("n")
    report = await lab.close()
    assert (tmp_path / "a.jsonl").read_text().count("\n") == 1
    assert list(report) == [bad.id]
    assert "cannot export" in report[bad.id]
    assert any(bad.id in record.getMessage() for record in caplog.records)


async def test_an_event_nobody_takes_is_counted_by_name_and_told_once(lab, caplog):
    exp = await lab.start_experiment("a", capture="scope")
    with caplog.at_level(logging.WARNING, "crucible_telemetry"):
        for _ in range(3):
            ct.execute_nowait("lost.one")
        await ct.execute(("lost", "two"), {"n": 1})
        with ct.span("lost.span"):
            pass
        with exp.scope():
            ct.execute_nowait("found")
    assert lab.unheard == {
        "lost.one": 3,
        "lost.two": 1,
        "lost.span.start": 1,
        "lost.span.stop": 1,
    }
    assert len([r for r in caplog.records if "reached no experiment" in r.getMessage()]) == 1


async def test_emits_and_spans_in_the_scope_of_a_stopped_experiment_are_unheard_too(lab):
    outer = await lab.start_experiment("outer", capture="scope")
    with outer.scope():
        async with lab.experiment("inner") as inner:
            pass
        with inner.scope():
            ct.execute_nowait("n")
            with ct.span("s"):
                pass
    assert inner.counts.late == 3
    assert outer.counts.emitted == 0
    assert lab.unheard == {"n": 1, "s.start": 1, "s.stop": 1}


async def test_nothing_is_counted_unheard_while_no_experiment_runs(lab):
    ct.execute_nowait("before")
    async with lab.experiment("a"):
        pass
    ct.execute_nowait("after")
    assert lab.unheard == {}


async def test_names_of_unheard_events_are_bounded(lab):
    await lab.start_experiment("a", capture="scope")
    for i in range(1100):
        ct.execute_nowait(f"lost.{i}")
    assert len(lab.unheard) == 1025
    assert lab.unheard["(other)"] == 1100 - 1024


async def test_process_captures_each_get_their_own_copy_and_the_second_warns(lab, caplog):
    a = await lab.start_experiment("a")
    with caplog.at_level(logging.WARNING, "crucible_telemetry"):
        b = await lab.start_experiment("b", events=["x.*"])
    assert "share events" in caplog.text
    async with lab.experiment("c") as c:
        ct.execute_nowait("x.1")
        ct.execute_nowait("y.1")
    ct.execute_nowait("x.2")
    assert [e.event_name for e in await a.events()] == ["x.1", "y.1", "x.2"]
    assert [e.event_name for e in await b.events()] == ["x.1", "x.2"]
    assert [e.event_name for e in await c.events()] == ["x.1", "y.1"]


async def test_the_librarys_own_events_are_heard_only_when_named(lab):
    everything = await lab.start_experiment("a")
    named = await lab.start_experiment("b", events=["telemetry.*"])
    ct.attach("bad", "boom", lambda *_: 1 / 0)
    ct.execute_nowait("boom")
    assert [e.event_name for e in await everything.events()] == ["boom"]
    assert [e.event_name for e in await named.events()] == ["telemetry.handler.failure"]


async def test_the_tree_shows_a_collector_for_every_living_experiment(lab):
    exp = await lab.start_experiment("a", capture="scope")
    assert exp.id in str(lab.tree())
    assert "collector" in str(lab.tree())
    await exp.stop()
    assert exp.id not in str(lab.tree())


async def test_the_handle_tells_its_state_when_printed(lab):
    exp = await lab.start_experiment("a", capture="scope")
    await exp.pause()
    assert repr(exp) == f"<Experiment {exp.id} paused, 0 events>"
    assert exp.pause_count == 1


async def test_an_experiment_stands_wherever_its_id_does(tmp_path):
    async with ct.Lab() as lab:
        a, b = [await lab.start_experiment(name, capture="scope") for name in "ab"]
        async for trial in lab.trials([a, b], items=range(5)):
            async with trial:
                trial.score(right=int(trial.item) % 2)
        for exp in (a, b):
            await exp.stop()
        assert lab.get_experiment(a) is a
        by_id = repr(
            await lab.compare_experiments([a.id, b.id], metric="score.right", control=b.id)
        )
        by_handle = await lab.compare_experiments((a, b), metric="score.right", control=b)
        assert repr(by_handle) == by_id
        assert (await lab.calculate_metrics(a)) == await a.metrics()
        asked = "select distinct experiment_id from trials"
        assert [*await lab.sql(asked, experiments=[b])] == [(b.id,)]
        assert await lab.export_multiple([a, b], tmp_path / "both.jsonl")
        await lab.archive(a, tmp_path / "a", format="jsonl")
        await lab.cleanup(a)
        with pytest.raises(ct.UnknownExperiment, match=a.id):
            lab.get_experiment(a)
        with pytest.raises(ct.ConfigurationError, match="experiment_ids"):
            await lab.compare_experiments(b, metric="score.right")
        with pytest.raises(ct.ConfigurationError, match="experiment_id"):
            lab.get_experiment(7)
