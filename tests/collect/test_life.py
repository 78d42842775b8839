"""State and time of one experiment, times handed in."""

import pytest

from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.spec import State
from crucible_telemetry.errors import LifecycleError

S = 10**9


def test_running_and_paused_time_are_kept_apart():
    life = Life("e", 0, 0)
    life.move("pause", 10, 3 * S)
    life.move("resume", 20, 5 * S)
    life.move("stop", 30, 9 * S)
    assert life.seconds(State.RUNNING, 100 * S) == 7.0
    assert life.seconds(State.PAUSED, 100 * S) == 2.0
    assert (life.pause_count, life.pauses(99), life.ended_us) == (1, [(10, 20)], 30)


def test_a_pause_that_goes_on_ends_now():
    life = Life("e", 0, 0)
    life.move("pause", 10, S)
    assert life.pauses(25) == [(10, 25)]
    assert life.seconds(State.PAUSED, 4 * S) == 3.0
    assert life.seconds(State.RUNNING, 4 * S) == 1.0


def test_f10_a_clock_that_steps_back_makes_no_negative_pause():
    life = Life("e", 100, 0)
    life.move("pause", 100, S)
    assert life.pauses(50) == [(100, 100)]
    life.move("resume", 40, 2 * S)
    assert life.pauses(0) == [(100, 100)]


def test_stopping_twice_changes_nothing():
    life = Life("e", 0, 0)
    life.move("stop", 5, S)
    life.move("stop", 9, 8 * S)
    assert (life.state, life.ended_us, life.seconds(State.RUNNING, 9 * S)) == (
        State.STOPPED,
        5,
        1.0,
    )


@pytest.mark.parametrize(
    ("before", "command"), [((), "resume"), (("pause",), "pause"), (("stop",), "pause")]
)
def test_a_wrong_move_changes_nothing(before, command):
    life = Life("e7", 0, 0)
    for move in before:
        life.move(move, 1, S)
    state = life.state
    with pytest.raises(LifecycleError, match="e7"):
        life.move(command, 2, 2 * S)
    assert life.state is state
    assert life.seconds(State.RUNNING, S) == 1.0
