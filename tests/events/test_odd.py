"""What msgpack cannot hold, made holdable."""

import decimal
import enum

import numpy as np
import pytest
import strategies

from crucible_telemetry.events.odd import (
    MARK_CUT,
    MARK_INTEGER,
    MARK_REPR,
    MAX_DEPTH,
    MAX_KEY,
    depth_of,
    plain,
    plain_key,
    shrink,
)
from crucible_telemetry.events.shape import encode


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Level(enum.IntEnum):
    HIGH = 4


class Tensor:
    """As torch has it: `size` is a method."""

    nbytes = 8

    def size(self):
        return ()

    def tolist(self):
        return 2.5


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a\ud800", "a\\ud800"), (Text("t"), "t"), (Number(3), 3), (Level.HIGH, 4),
        (strategies.Colour.HALF, 0.5), (strategies.Colour.PAIR, [1, 2]),
        (decimal.Decimal("1.5"), 1.5), (decimal.Decimal(0), 0.0), (np.float32(0.5), 0.5),
        (np.bool_(True), True), (np.longdouble(1.5), 1.5), (np.arange(3), [0, 1, 2]),  # noqa: FBT003
        (Tensor(), 2.5), ((1, 2), [1, 2]), ({1: 2}, {"1": 2}), (2**64 - 1, 2**64 - 1),
        (2**64, {MARK_INTEGER: str(2**64)}), (Number(2**64), {MARK_INTEGER: str(2**64)}),
        (strategies.Opaque(), {MARK_REPR: "<opaque>", "type": "Opaque"}),
    ],
)  # fmt: skip
def test_a_value_becomes_plain_and_can_be_encoded(value, kept):
    found = plain(value, 1)
    assert found == kept
    assert type(found) is type(kept)
    assert encode(found)


@pytest.mark.parametrize("kind", [list, dict])
def test_f11_a_container_inside_itself_is_cut_where_it_comes_again(kind):
    found = plain(strategies.circular(kind), 1)
    parts = list(found.values()) if kind is dict else found
    assert parts[0] == 1
    assert all(part.keys() == {MARK_CUT, "sha256", "type"} for part in parts[1:])


def test_f11_nesting_is_cut_at_the_limit():
    assert depth_of(plain(strategies.nested(1000), 1)) <= MAX_DEPTH + 1
    assert plain(strategies.nested(MAX_DEPTH - 5), 1) == strategies.nested(MAX_DEPTH - 5)


def test_f11_a_value_that_raises_whatever_is_asked_becomes_a_mark():
    kept = plain(strategies.Hostile(), 1)
    assert kept["type"] == "Hostile"
    assert "ValueError" in kept[MARK_REPR]


def test_f12_of_large_values_length_and_hash_stay_and_small_ones_are_untouched():
    small, large = "s", "x" * 10**6
    kept = shrink([small, large, 7], 1000, encode)
    assert kept[0] == small
    assert kept[2] == 7
    assert kept[1][MARK_CUT] == 10**6
    assert len(kept[1]["sha256"]) == 64


def test_long_keys_that_begin_alike_stay_apart():
    one, other = plain_key("k" * 10**6 + "a"), plain_key("k" * 10**6 + "b")
    assert one != other
    assert max(len(one), len(other)) < MAX_KEY + 32
