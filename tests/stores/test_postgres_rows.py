"""Which rows of a change go to the hypertable, and which stand aside."""

from hypothesis import given, strategies as st
from make import columns

from crucible_telemetry.stores.postgres.rows import near

WEEK = 7
times = st.lists(st.integers(-1_000, 1_000), min_size=1, max_size=6)


@given(st.lists(times, max_size=8), st.integers(1, 5))
def test_no_more_chunks_are_touched_than_may_be_and_every_part_goes_one_way(parts, most):
    given_parts = [
        (number, columns(len(at_us), timestamp_us=at_us)) for number, at_us in enumerate(parts)
    ]
    taken, others = near(given_parts, WEEK, most)
    touched = {at // WEEK for _, part in taken for at in part.timestamp_us.tolist()}
    assert len(touched) <= most
    assert sorted(number for number, _ in taken + others) == list(range(len(parts)))
    for _, part in others:
        assert len(touched | set((part.timestamp_us // WEEK).tolist())) > most
    assert [number for number, _ in taken] == sorted(number for number, _ in taken)
