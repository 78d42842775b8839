"""Columns of numbers at once and one by one."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.events.numbers import MISSING, whole

INTS = st.integers(-(2**65), 2**65) | st.integers(0, 2**32)
FLOATS = st.floats() | st.floats(0, 10) | st.integers(0, 2**53).map(lambda n: n + 0.5)
SIZE = 24


@pytest.mark.parametrize("factor", [1, 10**6, 10**12])
@pytest.mark.parametrize("limit", [2**31, 2**62])
@given(
    column=st.lists(INTS, min_size=1, max_size=4)
    | st.lists(FLOATS, min_size=1, max_size=4)
    | st.lists(INTS | FLOATS | st.booleans() | st.none(), min_size=1, max_size=4)
)
def test_a_long_column_gives_the_whole_numbers_its_values_give_alone(column, factor, limit):
    one_by_one, at_once = Counter(), Counter()
    wanted = [whole((value,), factor, one_by_one, limit) for value in column] * SIZE
    found = whole(column * SIZE, factor, at_once, limit)
    said = [MISSING] * len(wanted) if found is None else found.tolist()
    assert said == [MISSING if one is None else one[0] for one in wanted]
    assert at_once == Counter({name: n * SIZE for name, n in one_by_one.items()})
