import contextvars
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest

from crucible_telemetry.errors import ActorStopped, ConfigurationError, RestartsExhausted
from crucible_telemetry.runtime.children import ChildSpec, Report
from crucible_telemetry.runtime.loops import Signal, spawn_root
from crucible_telemetry.runtime.restart import Backoff, Intensity, Restart, Strategy
from crucible_telemetry.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


class Fall:
    def __init__(self):
        self.signal, self.error = Signal(), None


class Stage:
    """Children that write down what happens to them, and when."""

    def __init__(self):
        self.log = []
        self.reports = []
        self.falls = {}

    def on_event(self, event):
        self.reports.append((event.kind.value, event.child))

    def child(self, name, **options):
        """Runs until cancelled or until `crash` is called with its name."""

        async def start():
            fall = self.falls[name] = Fall()
            self.log.append(f"+{name}")
            try:
                await fall.signal.wait()
            finally:
                self.log.append(f"-{name}")
            if fall.error is not None:
                raise fall.error

        return ChildSpec(name, start, **options)

    def crash(self, name, error=None):
        self.end(name, error or ValueError(name))

    def end(self, name, error=None):
        self.falls[name].error = error
        self.falls[name].signal.set()

    def new(self, names, **options):
        specs = [self.child(name) if isinstance(name, str) else name for name in names]
        return Supervisor("top", specs, on_event=self.on_event, **options)

    async def settle(self):
        """Let everything that can happen now happen (time stands still or jumps by a nanosecond)."""
        await anyio.sleep(1e-6)

    def fresh(self):
        log, self.log = self.log, []
        return "".join(log)


class Running:
    """A supervisor in a root task for the length of a block; at the end it is stopped."""

    def __init__(self, supervisor):
        self.supervisor = supervisor

    async def __aenter__(self):
        self.root = spawn_root(self.supervisor.run, "top")
        await anyio.sleep(1e-6)
        return self.root

    async def __aexit__(self, *_):
        self.root.cancel()
        await self.root.wait()


async def test_children_start_left_to_right_and_stop_right_to_left():
    stage = Stage()
    async with Running(stage.new("abc")):
        assert stage.fresh() == "+a+b+c"
    assert stage.fresh() == "-c-b-a"
    assert stage.reports == [("child_started", c) for c in "abc"] + [
        ("child_stopped", c) for c in "cba"
    ]


@pytest.mark.parametrize(
    ("strategy", "seen"),
    [
        (Strategy.ONE_FOR_ONE, "-b+b"),
        (Strategy.ONE_FOR_ALL, "-b-d-c-a+a+b+c+d"),
        (Strategy.REST_FOR_ONE, "-b-d-c+b+c+d"),
    ],
)
async def test_f18_a_crash_takes_down_and_brings_back_whom_the_strategy_says(strategy, seen):
    stage = Stage()
    async with Running(stage.new("abcd", strategy=strategy)):
        stage.fresh()
        stage.crash("b")
        await stage.settle()
        assert stage.fresh() == seen


@pytest.mark.parametrize(
    ("restart", "error", "back"),
    [
        (Restart.PERMANENT, None, True),
        (Restart.TRANSIENT, None, False),
        (Restart.TRANSIENT, ValueError("x"), True),
        (Restart.TEMPORARY, ValueError("x"), False),
    ],
    ids=["permanent ends", "transient ends", "transient crashes", "temporary crashes"],
)
async def test_f18_the_restart_type_decides_who_comes_back(restart, error, back):
    stage = Stage()
    async with Running(stage.new([stage.child("a", restart=restart), "b"])):
        stage.fresh()
        stage.end("a", error)
        await stage.settle()
        assert stage.fresh() == ("-a+a" if back else "-a")


async def test_f18_a_temporary_child_that_fails_is_gone_and_its_siblings_go_on():
    stage = Stage()
    supervisor = stage.new(
        [stage.child("a", restart=Restart.TEMPORARY), "b"], strategy=Strategy.ONE_FOR_ALL
    )
    async with Running(supervisor):
        stage.fresh()
        stage.crash("a")
        await stage.settle()
        assert stage.fresh() == "-a"
        assert [child.name for child in supervisor.children()] == ["b"]


async def test_a_temporary_child_taken_down_with_a_sibling_stays_down():
    stage = Stage()
    supervisor = stage.new(
        ["a", stage.child("b", restart=Restart.TEMPORARY)], strategy=Strategy.ONE_FOR_ALL
    )
    async with Running(supervisor):
        stage.fresh()
        stage.crash("a")
        await stage.settle()
        assert stage.fresh() == "-a-b+a"


async def test_a_transient_child_that_ended_comes_back_with_the_group():
    stage = Stage()
    supervisor = stage.new(
        ["a", stage.child("b", restart=Restart.TRANSIENT)], strategy=Strategy.ONE_FOR_ALL
    )
    async with Running(supervisor):
        stage.end("b")
        await stage.settle()
        assert [child.state for child in supervisor.children()] == ["running", "ended"]
        stage.fresh()
        stage.crash("a")
        await stage.settle()
        assert stage.fresh() == "-a+a+b"


async def test_f18_one_restart_too_many_stops_the_rest_in_reverse_and_raises_from_the_crash():
    stage, last = Stage(), ValueError("last")
    async with Running(stage.new("abc", intensity=Intensity(1, 5.0))) as root:
        stage.crash("a")
        await anyio.sleep(4.9)
        stage.fresh()
        stage.crash("a", last)
        error = await root.wait()
    assert isinstance(error, RestartsExhausted)
    assert error.__cause__ is last
    assert (error.supervisor, error.child, error.intensity, error.period_s) == ("top", "a", 1, 5.0)
    assert stage.fresh() == "-a-c-b"
    assert stage.reports[-4:] == [
        ("child_crashed", "a"),
        ("gave_up", "a"),
        ("child_stopped", "c"),
        ("child_stopped", "b"),
    ]


async def test_f18_restarts_further_apart_than_the_period_go_on_for_ever():
    stage = Stage()
    async with Running(stage.new("a", intensity=Intensity(1, 5.0))) as root:
        for _ in range(20):
            stage.crash("a")
            await anyio.sleep(5.1)
        assert not root.done
        assert stage.fresh().count("+a") == 21


async def test_f18_same_tick_failures_cost_one_restart_where_all_go_down_together():
    stage = Stage()
    supervisor = stage.new("abc", strategy=Strategy.ONE_FOR_ALL, intensity=Intensity(1, 5.0))
    async with Running(supervisor) as root:
        stage.fresh()
        for name in "abc":
            stage.crash(name)
        await stage.settle()
        assert not root.done
        assert stage.fresh()[-6:] == "+a+b+c"
        assert stage.reports.count(("child_crashed", "b")) == 1


async def test_f18_same_tick_failures_are_counted_each_where_they_are_on_their_own():
    stage = Stage()
    async with Running(stage.new("abc", intensity=Intensity(3, 5.0))) as root:
        for name in "abc":
            stage.crash(name)
        await stage.settle()
        assert not root.done
        stage.crash("a")
        assert isinstance(await root.wait(), RestartsExhausted)


async def test_back_off_waits_exactly_its_delays_and_starts_again_after_a_long_run():
    starts_s = []

    async def start():
        starts_s.append(anyio.current_time())
        await anyio.sleep(100 if len(starts_s) == 4 else 0)
        raise ValueError

    spec = ChildSpec("a", start, backoff=Backoff(1.0, 3.0, 60.0))
    async with Running(Supervisor("top", [spec], intensity=Intensity(10, 50.0))):
        await anyio.sleep(117)
    waits = [b - a for a, b in pairwise(starts_s)]
    assert waits == pytest.approx([1, 3, 9, 101, 3], abs=1e-3)


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
    stage, release, ended = Stage(), anyio.Event(), Signal()

    async def deaf():
        with anyio.CancelScope(shield=True):
            await release.wait()
        ended.set()

    supervisor = stage.new(["a", ChildSpec("deaf", deaf, shutdown_s=2.0)])
    async with Running(supervisor):
        before_s = anyio.current_time()
    assert anyio.current_time() - before_s == pytest.approx(2, abs=1e-3)
    assert stage.reports[-2:] == [("child_abandoned", "deaf"), ("child_stopped", "a")]
    assert supervisor.children()[1].abandoned == 1
    release.set()
    await ended.wait()
    await stage.settle()
    assert supervisor.children()[1].abandoned == 0
    assert stage.reports[-1] == ("child_stopped", "a")


async def test_the_late_end_of_an_abandoned_run_does_not_touch_the_next_one():
    stage, release, starts = Stage(), anyio.Event(), []

    async def deaf():
        starts.append(1)
        if len(starts) == 1:
            with anyio.CancelScope(shield=True):
                await release.wait()
            raise ValueError("late")
        await anyio.sleep_forever()

    supervisor = stage.new(
        ["a", ChildSpec("deaf", deaf, shutdown_s=1.0)], strategy=Strategy.ONE_FOR_ALL
    )
    async with Running(supervisor):
        stage.crash("a")
        await anyio.sleep(2)
        assert len(starts) == 2
        release.set()
        await stage.settle()
        assert len(starts) == 2
        assert [child.state for child in supervisor.children()] == ["running", "running"]


async def test_a_child_is_started_when_the_one_before_it_is_ready():
    stage, first, second = Stage(), Signal(), Signal()

    def slow(name, ready, seconds):
        async def start():
            await anyio.sleep(seconds)
            stage.log.append(f"{name}@{anyio.current_time() - begun_s:.0f} ")
            ready.set()
            await anyio.sleep_forever()

        return ChildSpec(name, start, ready=ready)

    begun_s = anyio.current_time()
    supervisor = stage.new([slow("a", first, 3), slow("b", second, 2), "c"])
    async with Running(supervisor):
        assert supervisor.tree().state == "starting"
        await supervisor.ready.wait()
        assert stage.fresh() == "a@3 b@5 +c"


async def test_f18_a_child_that_fails_before_it_is_ready_fails_the_first_start():
    stage, error = Stage(), OSError("no disk")

    async def start():
        await anyio.sleep(1)
        raise error

    supervisor = stage.new(["a", ChildSpec("b", start, ready=Signal()), "c"])
    async with Running(supervisor) as root:
        assert await root.wait() is error
    assert "child 'b' of supervisor 'top' failed before it was ready" in error.__notes__
    assert stage.fresh() == "+a-a"
    assert not supervisor.ready.is_set


async def test_f18_a_failed_restart_counts_as_a_crash_and_spends_the_budget():
    ready, starts = Signal(), []

    async def start():
        starts.append(1)
        if len(starts) == 1:
            ready.set()
            await anyio.sleep(1)
        raise ValueError(len(starts))

    supervisor = Supervisor(
        "top", [ChildSpec("a", start, ready=ready)], intensity=Intensity(3, 5.0)
    )
    async with Running(supervisor) as root:
        error = await root.wait()
    assert isinstance(error, RestartsExhausted)
    assert error.__cause__.args == (4,)


async def test_a_failed_restart_in_a_group_starts_the_whole_group_again():
    stage, ready, starts = Stage(), Signal(), []

    async def start():
        starts.append(1)
        stage.log.append("+b")
        if len(starts) == 2:
            raise ValueError
        ready.set()
        await anyio.sleep_forever()

    supervisor = stage.new(
        ["a", ChildSpec("b", start, ready=ready), "c"], strategy=Strategy.ONE_FOR_ALL
    )
    async with Running(supervisor):
        stage.fresh()
        stage.crash("a")
        await stage.settle()
        assert stage.fresh() == "-a-c+a+b-a+a+b+c"


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
            "└── a · waiting · restarted 1× · ValueError('a')",
        ]
