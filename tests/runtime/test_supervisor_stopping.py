"""Limits, cancellation, interrupts: how supervisors end."""

import asyncio
import contextvars

import anyio
import pytest
from runtime.stage import Deaf, Running, Stage

from crucible_telemetry.runtime.children import ChildSpec
from crucible_telemetry.runtime.loops import Signal, spawn_root
from crucible_telemetry.runtime.restart import Backoff, Restart, Strategy
from crucible_telemetry.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


async def test_a_stop_request_gets_in_between_restarts():
    stage = Stage()
    supervisor = stage.new([stage.child("a", backoff=Backoff(10.0)), "b"])
    async with Running(supervisor):
        stage.crash("a")
        await anyio.sleep(1)
        assert [child.state for child in supervisor.children()] == ["waiting", "running"]
        stage.fresh()
        await supervisor.stop_child("a")
        await anyio.sleep(60)
        assert stage.fresh() == ""
        assert [child.name for child in supervisor.children()] == ["b"]


async def test_a_supervisor_waiting_to_restart_can_be_stopped_at_once():
    stage = Stage()
    async with Running(stage.new([stage.child("a", backoff=Backoff(10.0))])) as root:
        stage.crash("a")
        await anyio.sleep(1)
        before_s = anyio.current_time()
        root.cancel()
        assert await root.wait() is None
        assert anyio.current_time() - before_s < 0.01


async def test_a_child_may_take_its_time_to_end_within_the_limit():
    stage = Stage()

    async def slow():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(4)
            stage.log.append("-slow")

    async with Running(stage.new(["a", ChildSpec("slow", slow, shutdown_s=5.0)])):
        before_s = anyio.current_time()
    assert anyio.current_time() - before_s == pytest.approx(4, abs=1e-3)
    assert stage.fresh() == "+a-slow-a"


async def test_f18_a_child_that_ignores_cancellation_is_abandoned_after_its_limit():
    stage = Stage()
    with Deaf() as deaf:
        supervisor = stage.new(["a", ChildSpec("deaf", deaf.start, shutdown_s=2.0)])
        async with Running(supervisor):
            before_s = anyio.current_time()
        assert anyio.current_time() - before_s == pytest.approx(2, abs=1e-3)
        assert stage.reports[-2:] == [("child_abandoned", "deaf"), ("child_stopped", "a")]
        assert supervisor.children()[1].abandoned == 1
        deaf.release.set()
        await deaf.ended.wait()
        await stage.settle()
        assert supervisor.children()[1].abandoned == 0
        assert stage.reports[-1] == ("child_stopped", "a")


async def test_the_late_end_of_an_abandoned_run_does_not_touch_the_next_one():
    stage = Stage()
    with Deaf(ValueError("late")) as deaf:
        spec = ChildSpec("deaf", deaf.start, shutdown_s=1.0)
        supervisor = stage.new(["a", spec], strategy=Strategy.ONE_FOR_ALL)
        async with Running(supervisor):
            stage.crash("a")
            await anyio.sleep(2)
            deaf.release.set()
            await deaf.ended.wait()
            await stage.settle()
            assert deaf.starts == 2
            assert [child.state for child in supervisor.children()] == ["running", "running"]


def test_f13_native_cancellation_again_and_again_does_not_cut_the_stop_short():
    stage = Stage()

    async def slow():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await stage.slow_end.wait()
            stage.log.append("-slow")

    async def main():
        stage.slow_end = Signal()
        supervisor = stage.new(["a", ChildSpec("slow", slow)])
        task = asyncio.create_task(supervisor.run())
        await supervisor.ready.wait()
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0)
        stage.slow_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.fresh() == "+a-slow-a"

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_f15_a_loop_that_ends_ends_the_tree_with_it(backend, caplog):
    stage = Stage()
    supervisor = stage.new("abc")

    async def main():
        root = spawn_root(supervisor.run, "top")
        await supervisor.ready.wait()
        return root

    assert anyio.run(main, backend=backend).done
    log = stage.fresh()
    assert log[:6] == "+a+b+c"
    assert sorted(log[6:]) == sorted("-a-b-c")
    assert supervisor.tree().state == "ended"
    assert caplog.records == []


async def test_cancellation_from_outside_stops_children_in_reverse_and_goes_on():
    stage = Stage()
    supervisor = stage.new("abc")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tg:
            tg.start_soon(supervisor.run)
            await supervisor.ready.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert stage.fresh() == "+a+b+c-c-b-a"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2)], ids=repr)
async def test_an_interrupt_in_a_child_passes_up_when_the_siblings_have_stopped(error):
    stage = Stage()
    async with Running(stage.new("abc")) as root:
        stage.crash("b", error)
        assert await root.wait() is error
    assert stage.fresh() == "+a+b+c-b-c-a"


async def test_an_interrupt_while_a_child_stops_waits_for_the_others():
    stage = Stage()

    async def start():
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    async with Running(stage.new(["a", ChildSpec("b", start)])) as root:
        root.cancel()
        assert isinstance(await root.wait(), KeyboardInterrupt)
    assert stage.fresh() == "+a-a"


async def test_an_error_while_stopping_is_reported_and_stops_nothing_else():
    stage, errors = Stage(), []

    async def start():
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("flush")

    supervisor = Supervisor(
        "top",
        [stage.child("a"), ChildSpec("b", start)],
        on_event=lambda event: errors.append(event.error),
    )
    async with Running(supervisor) as root:
        root.cancel()
        assert await root.wait() is None
    assert [type(error) for error in errors[-2:]] == [OSError, type(None)]
    assert stage.fresh() == "+a-a"


async def test_a_child_sees_no_context_and_no_cancel_scope_of_who_started_it():
    variable, seen, stage = contextvars.ContextVar("variable"), [], Stage()

    async def start():
        seen.append(len(contextvars.copy_context()))
        await anyio.sleep(10)
        seen.append("end")

    supervisor = stage.new([])
    async with Running(supervisor):
        variable.set(1)
        with anyio.move_on_after(1):
            await supervisor.start_child(ChildSpec("a", start, Restart.TEMPORARY))
            await anyio.sleep_forever()
        await anyio.sleep(20)
    assert seen == [0, "end"]
