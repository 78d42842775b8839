"""Shapes are interned once, bounded, and hold nothing that cannot be kept."""

import pytest

from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.shape import (
    MAX_SHAPES,
    SHAPES,
    ShapeTable,
    decode_rows,
    dictionaries,
    encode_row,
)


def test_spellings_of_one_event_share_a_shape_and_its_keys_order_matters():
    table = ShapeTable()
    one = table.intern("a.b", ["n"], ["w"])
    assert table.intern(("a", "b"), ["n"], ["w"]) is one
    assert table.intern("a.b", ["w"], ["n"]) is not one
    assert table.intern("a.b", ["n", "w"], []) is not one


@pytest.mark.parametrize(
    ("event", "keys"),
    [("a\ud800", ["n"]), ("a", ["\udfff"]), ("a", ["k" * 1000]), ("a" * 1000, []), ("a", [1]), ("a", [None])],
)  # fmt: skip
def test_f11_what_cannot_be_kept_as_a_key_travels_in_its_row(event, keys):
    before = dict(SHAPES.by_key)
    row, name = encode_row(1, event, dict.fromkeys(keys, 5), None, 0, None)
    (decoded,) = decode_rows([row])
    assert decoded[1] == GENERIC_SHAPE
    found, measurements, metadata = dictionaries(decoded)
    assert found == name
    assert (list(measurements.values()), metadata) == ([5] * len(keys), {})
    assert all(len(text) < 300 and text.encode() for text in (name, *measurements))
    assert before == SHAPES.by_key


def test_f09_the_table_is_bounded():
    table = ShapeTable()
    made = [table.intern(f"e{n}", [], []) for n in range(MAX_SHAPES + 100)]
    assert made[MAX_SHAPES - 2].name == f"e{MAX_SHAPES - 2}"
    assert made[MAX_SHAPES:] == [None] * 100
    assert len(table.by_id) <= MAX_SHAPES + 1
    assert table.intern("e5", [], []) is made[5]  # what it holds is found again


def test_a_tuple_that_equals_one_of_another_name_keeps_its_own_name():
    assert encode_row(1, (1, "x"), None, None, 0, None)[1] == "1.x"
    assert encode_row(1, (True, "x"), None, None, 0, None)[1] == "True.x"
    assert (1, "x", None) not in SHAPES.by_key
