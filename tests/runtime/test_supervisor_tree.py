"""Children that come and go, supervisors of supervisors, reports."""

import anyio
import pytest
from runtime.stage import Running, Stage

from crucible_telemetry.errors import ActorStopped, ConfigurationError, RestartsExhausted
from crucible_telemetry.runtime.children import ChildSpec, Report
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.runtime.restart import Backoff, Intensity, Restart
from crucible_telemetry.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


async def test_children_come_and_go_while_the_supervisor_runs():
    stage = Stage()
    supervisor = stage.new("a")
    async with Running(supervisor):
        await supervisor.start_child(stage.child("b"))
        await supervisor.start_child(stage.child("c"))
        await supervisor.stop_child("b")
        assert stage.fresh() == "+a+b+c-b"
        await supervisor.start_child(stage.child("b"))
        stage.crash("c")
        await stage.settle()
        assert [child.name for child in supervisor.children()] == ["a", "c", "b"]
    assert stage.fresh() == "+b-c+c-b-c-a"


async def test_a_child_that_cannot_start_is_refused_to_who_asked_and_harms_nobody():
    stage, error = Stage(), OSError("no disk")

    async def start():
        raise error

    supervisor = stage.new("a", intensity=Intensity(0))
    async with Running(supervisor) as root:
        with pytest.raises(OSError, match="no disk"):
            await supervisor.start_child(ChildSpec("b", start, ready=Signal()))
        await stage.settle()
        assert not root.done
        assert [child.name for child in supervisor.children()] == ["a"]


async def test_ids_are_distinct_and_known():
    stage = Stage()
    with pytest.raises(ConfigurationError, match="two children are called 'a'"):
        stage.new("aa")
    supervisor = stage.new("a")
    async with Running(supervisor):
        with pytest.raises(ConfigurationError, match="has a child 'a' already"):
            await supervisor.start_child(stage.child("a"))
        with pytest.raises(ConfigurationError, match="has no child 'b'"):
            await supervisor.stop_child("b")
        with pytest.raises(ConfigurationError, match="runs already"):
            await supervisor.run()
        assert [child.state for child in supervisor.children()] == ["running"]


async def test_requests_to_a_supervisor_that_ended_are_refused():
    stage = Stage()
    supervisor = stage.new("a")
    with pytest.raises(ActorStopped):
        await supervisor.stop_child("a")
    async with Running(supervisor):
        pass
    with pytest.raises(ActorStopped):
        await supervisor.start_child(stage.child("b"))


async def test_who_waits_for_an_answer_gets_one_when_the_supervisor_ends():
    stage, answers = Stage(), []
    supervisor = stage.new("a")

    async def ask(spec):
        try:
            await supervisor.start_child(spec)
        except ActorStopped:
            answers.append(spec.id)

    async with Running(supervisor) as root, anyio.create_task_group() as tg:
        tg.start_soon(ask, ChildSpec("never ready", anyio.sleep_forever, ready=Signal()))
        await stage.settle()
        tg.start_soon(ask, stage.child("in the queue"))
        await stage.settle()
        root.cancel()
    assert sorted(answers) == ["in the queue", "never ready"]


async def test_a_request_withdrawn_while_it_waits_is_not_carried_out():
    stage, ready = Stage(), Signal()
    supervisor = stage.new([ChildSpec("slow", anyio.sleep_forever, ready=ready)])
    async with Running(supervisor):
        with anyio.move_on_after(1):
            await supervisor.start_child(stage.child("b"))
        ready.set()
        await stage.settle()
        assert stage.fresh() == ""


async def test_a_supervisor_below_that_gives_up_is_restarted_by_the_one_above():
    stage = Stage()
    below = Supervisor("below", [stage.child("x"), stage.child("y")], intensity=Intensity(1, 5.0))
    top = stage.new(["a", below.as_child(), "b"])
    async with Running(top):
        assert stage.fresh() == "+a+x+y+b"
        stage.crash("x")
        await stage.settle()
        stage.fresh()
        stage.crash("x")
        await stage.settle()
        assert stage.fresh() == "-x-y+x+y"
        assert isinstance(top.children()[1].error, RestartsExhausted)
    assert stage.fresh() == "-b-y-x-a"


async def test_f18_giving_up_climbs_to_the_top_and_keeps_the_causes():
    stage, first = Stage(), ValueError("first")
    below = Supervisor("below", [stage.child("x")], intensity=Intensity(0))
    async with Running(stage.new(["a", below.as_child()], intensity=Intensity(0))) as root:
        stage.crash("x", first)
        error = await root.wait()
    assert (error.supervisor, error.child) == ("top", "below")
    assert error.__cause__.supervisor == "below"
    assert error.__cause__.__cause__ is first
    assert stage.fresh() == "+a+x-x-a"


async def test_f18_a_temporary_supervisor_that_gives_up_leaves_its_siblings_alone():
    stage = Stage()
    below = Supervisor("below", [stage.child("x")], intensity=Intensity(0))
    top = stage.new(["a", below.as_child(restart=Restart.TEMPORARY)])
    async with Running(top) as root:
        stage.crash("x")
        await stage.settle()
        assert not root.done
        assert [child.name for child in top.children()] == ["a"]
    assert ("child_crashed", "below") in stage.reports


async def test_a_supervisor_can_run_again_after_its_end():
    stage = Stage()
    supervisor = stage.new("a")
    for _ in range(2):
        async with Running(supervisor):
            await supervisor.start_child(stage.child("extra"))
            assert stage.fresh() == "+a+extra"
        assert stage.fresh() == "-extra-a"


async def test_a_listener_that_raises_is_heard_no_more_and_breaks_nothing():
    calls, stage = [], Stage()

    def on_event(event):
        calls.append(event)
        raise ValueError("listener")

    supervisor = Supervisor("top", [stage.child("a"), stage.child("b")], on_event=on_event)
    async with Running(supervisor) as root:
        assert not root.done
        assert len(calls) == 1
        assert str(supervisor.report_error) == "listener"
    assert stage.fresh() == "+a+b-b-a"


async def test_reports_carry_the_error_and_the_delay():
    events, stage = [], Stage()
    supervisor = Supervisor("top", [stage.child("a", backoff=Backoff(0.5))], on_event=events.append)
    async with Running(supervisor):
        stage.crash("a")
        await anyio.sleep(1)
    assert [event.kind for event in events] == [
        Report.STARTED,
        Report.CRASHED,
        Report.RESTARTING,
        Report.STARTED,
        Report.STOPPED,
    ]
    assert str(events[1].error) == "a"
    assert events[2].delay_s == 0.5


async def test_on_gone_is_called_when_no_restart_is_planned_and_not_before():
    stage, gone = Stage(), []
    supervisor = stage.new([stage.child("a", on_gone=lambda: gone.append("a"))])
    async with Running(supervisor):
        stage.crash("a")
        await stage.settle()
        assert gone == []
        await supervisor.stop_child("a")
        assert gone == ["a"]


async def test_the_tree_prints():
    stage = Stage()
    below = Supervisor("below", [stage.child("x")])
    supervisor = stage.new([below.as_child(), stage.child("a", backoff=Backoff(9.0))])
    async with Running(supervisor):
        stage.crash("a")
        await stage.settle()
        assert str(supervisor.tree()).splitlines() == [
            "top · running",
            "├── below · running",
            "│   └── x · running",
            "└── a · waiting · restarted 1× · ValueError",
        ]
