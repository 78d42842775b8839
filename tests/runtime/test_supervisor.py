"""Order, strategies, budget, back-off, readiness."""

import re
from itertools import pairwise

import anyio
import hypothesis
import pytest
from hypothesis import strategies as st
from runtime.stage import Running, Stage

from crucible_telemetry.errors import RestartsExhausted
from crucible_telemetry.runtime.children import ChildSpec
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.runtime.restart import Backoff, Intensity, Restart, Strategy
from crucible_telemetry.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


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


falls = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 0.5, 1.0, 7.0])), max_size=25
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(strategy=st.sampled_from(Strategy), falls=falls)
async def test_f18_any_row_of_crashes_ends_as_counting_by_hand_says(strategy, falls):
    """One run of a child at a time, the budget as counted by hand, and nobody left at the end."""
    stage, spent_s, too_many = Stage(), [], False
    async with Running(stage.new("abcd", strategy=strategy, intensity=Intensity(3, 5.0))) as root:
        for name, pause_s in falls:
            stage.crash(name)
            spent_s.append(anyio.current_time())
            await anyio.sleep(pause_s + 1e-3)
            too_many = sum(spent_s[-1] - then_s <= 5.0 for then_s in spent_s) > 3
            assert root.done is too_many
            if too_many:
                break
    for name in "abcd":
        steps = re.findall(f"[+-]{name}", "".join(stage.log))
        assert steps == [f"+{name}", f"-{name}"] * (len(steps) // 2)
    assert isinstance(root.error, RestartsExhausted) is too_many


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
