"""What every store promises; a new back-end joins by a line in conftest.py."""

import numpy as np
import pytest
from make import columns

from crucible_telemetry.errors import LabClosed, QueryError, SequenceGap
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.stores.base import Gt, Page, Query, Where

pytestmark = pytest.mark.asyncio

T0 = 1_700_000_000_000_000
HOUR_US = 3_600_000_000
TEN_YEARS_US = 10 * 365 * 24 * HOUR_US


def at(*offsets, first_seq=1, **given):
    """Rows at these µs after T0."""
    return columns(len(offsets), first_seq, timestamp_us=[T0 + o for o in offsets], **given)


def filled(store, *offsets, batch=3, **given):
    for start in range(0, len(offsets), batch):
        cut = {name: values[start : start + batch] for name, values in given.items()}
        store.append(at(*offsets[start : start + batch], first_seq=start + 1, **cut))
    return store


async def seqs(store, limit=1000, **query):
    page = await store.page(Query(**query), None, limit)
    return [event.seq for event in page.events]


async def paged(store, query, limit):
    found, after = [], None
    while True:
        page = await store.page(query, after, limit)
        found += [event.seq for event in page.events]
        if len(page.events) < limit:
            return found
        after = page.position


async def test_an_empty_store_has_no_events_and_no_position(store):
    assert await store.page(Query(), None, 10) == Page([], None)
    assert await store.page(Query(last_n=3), None, 10) == Page([], None)
    assert await store.page(Query(after_seq=0), None, 10) == Page([], None)
    assert await store.count(Query()) == 0
    assert [part async for part in store.columns(Query())] == []
    assert store.last_seq == 0


async def test_events_come_in_time_order_however_late_they_arrived(store):
    filled(store, 50, 10, 30, 20, 60, 40, 5)
    assert await seqs(store) == [7, 2, 4, 3, 6, 1, 5]


async def test_events_of_one_time_keep_the_order_of_arrival(store):
    filled(store, *[7] * 30)
    assert await seqs(store) == list(range(1, 31))


async def test_decoded_events_are_those_of_their_rows(store):
    filled(store, *range(30, 0, -1))
    page = await store.page(Query(), None, 100)
    assert [event.event_id for event in page.events] == [str(n) for n in range(30, 0, -1)]
    assert [event.timestamp_us for event in page.events] == [T0 + n for n in range(1, 31)]


async def test_a_batch_that_is_known_is_ignored(store):
    filled(store, 1, 2, 3)
    store.append(at(9, 9, 9))
    assert await seqs(store) == [1, 2, 3]
    assert store.last_seq == 3


async def test_of_a_batch_that_overlaps_only_the_new_rows_are_taken(store):
    filled(store, 1, 2, 3)
    store.append(at(8, 8, 8, 4, 5, first_seq=1))
    page = await store.page(Query(), None, 10)
    assert [(e.seq, e.timestamp_us - T0, e.event_id) for e in page.events][2:] == [
        (3, 3, "3"),
        (4, 4, "4"),
        (5, 5, "5"),
    ]


async def test_a_batch_behind_a_gap_is_refused_and_changes_nothing(store):
    filled(store, 1, 2, 3)
    with pytest.raises(SequenceGap, match="ends at seq 3, this batch begins at 5"):
        store.append(at(9, first_seq=5))
    assert (store.last_seq, await store.count(Query())) == (3, 3)


async def test_pages_hold_every_event_once_at_any_size(store):
    filled(store, *[n * 7 % 23 for n in range(60)], batch=7)
    expected = await seqs(store)
    assert sorted(expected) == list(range(1, 61))
    for limit in (1, 2, 7, 8, 9, 59, 60, 61):
        assert await paged(store, Query(), limit) == expected


async def test_a_page_says_where_its_last_event_stands(store):
    filled(store, 30, 10, 20)
    page = await store.page(Query(), None, 2)
    assert page.position == (T0 + 20, 3)


async def test_time_bounds_are_inclusive(store):
    filled(store, 10, 20, 30, 40)
    assert await seqs(store, since_us=T0 + 20, until_us=T0 + 30) == [2, 3]
    assert await store.count(Query(since_us=T0 + 20, until_us=T0 + 30)) == 2
    assert await seqs(store, where=Where(since=T0 + 30)) == [3, 4]
    assert await seqs(store, since_us=T0 + 20, where=Where(until=T0 + 20)) == [2]


async def test_bounds_that_leave_nothing_find_nothing(store):
    filled(store, 10, 20)
    query = Query(since_us=T0 + 20, where=Where(until=T0 + 10))
    assert await paged(store, query, 5) == []
    assert await store.count(query) == 0
    assert await seqs(store, until_us=T0) == []


async def test_the_last_n_are_last_in_time_not_in_arrival(store):
    filled(store, 50, 10, 40, 20, 30)
    assert await seqs(store, last_n=3) == [5, 3, 1]
    assert await seqs(store, last_n=99) == [2, 4, 5, 3, 1]
    assert await store.count(Query(last_n=3)) == 3
    assert await store.count(Query(last_n=99)) == 5


async def test_the_filter_applies_before_the_last_n_count(store):
    outcome = [Outcome.OK, Outcome.ERROR] * 10
    filled(store, *range(20), outcome=outcome)
    assert await seqs(store, last_n=3, where=Where(success=False)) == [16, 18, 20]
    even = Where(predicate=lambda event: event.seq % 2 == 0)
    assert await seqs(store, last_n=3, where=even) == [16, 18, 20]


async def test_the_last_n_are_paged_from_their_first(store):
    filled(store, *range(20))
    query = Query(last_n=5, upto_seq=20)
    assert await paged(store, query, 2) == [16, 17, 18, 19, 20]
    odd = Query(last_n=5, upto_seq=20, where=Where(predicate=lambda event: event.seq % 2))
    assert await paged(store, odd, 2) == [11, 13, 15, 17, 19]


async def test_subscribers_read_in_the_order_of_arrival(store):
    filled(store, 50, 10, 30, 20, 60, 40, 5, 3, 2, 1)
    assert await seqs(store, after_seq=0) == list(range(1, 11))
    assert await seqs(store, after_seq=7) == [8, 9, 10]
    assert await seqs(store, after_seq=10) == []
    assert await seqs(store, after_seq=3, limit=4) == [4, 5, 6, 7]
    assert await store.count(Query(after_seq=7)) == 3


async def test_subscribers_may_filter_and_page(store):
    filled(store, *range(40, 0, -1), shape=[1, 2] * 20)
    query = Query(after_seq=5, where=Where(event="event.2"))
    assert await paged(store, query, 4) == list(range(6, 41, 2))
    even = Query(after_seq=5, where=Where(predicate=lambda event: event.seq % 2 == 0))
    assert await paged(store, even, 4) == list(range(6, 41, 2))


async def test_what_arrives_while_paging_stays_out_with_upto_seq(store):
    filled(store, *range(0, 100, 10))
    query = Query(upto_seq=store.last_seq)
    page = await store.page(query, None, 5)
    store.append(at(55, 65, 75, first_seq=11))
    rest = await store.page(query, page.position, 100)
    assert [event.seq for event in rest.events] == [6, 7, 8, 9, 10]
    assert await store.count(query) == 10


async def test_every_kind_of_condition_selects_what_matches_says(store):
    n = 40
    filled(
        store,
        *[(i * 13) % 29 for i in range(n)],
        shape=[1 + i % 3 for i in range(n)],
        outcome=[i % 6 for i in range(n)],
        model=[i % 4 for i in range(n)],
    )
    everything = (await store.page(Query(), None, 100)).events
    for where, fits in CONDITIONS.items():
        expected = [event.seq for event in everything if fits(event)]
        assert expected, where
        assert len(expected) < n, where
        assert await paged(store, Query(where=where), 3) == expected
        assert await store.count(Query(where=where)) == len(expected)
        assert await seqs(store, last_n=2, where=where) == expected[-2:]


CONDITIONS = {
    Where(event="event.2"): lambda e: e.event_name == "event.2",
    Where(event=("event", "3")): lambda e: e.event_name == "event.3",
    Where(event=["event.1", ("event", "3")]): lambda e: e.event_name != "event.2",
    Where(success=True): lambda e: e.outcome == "ok",
    Where(success=False): lambda e: e.outcome in {"error", "timeout"},
    Where(success=False, outcome="timeout"): lambda e: e.outcome == "timeout",
    Where(outcome=["cancelled", "unknown"]): lambda e: e.outcome in {"cancelled", "unknown"},
    Where(model="model-2"): lambda e: e.model == "model-2",
    Where(model=["model-1", "model-3"], event="event.1"): lambda e: (
        e.model in {"model-1", "model-3"} and e.event_name == "event.1"
    ),
    Where(provider="provider"): lambda e: e.model is not None,
    Where(since=T0 + 5, until=T0 + 9): lambda e: T0 + 5 <= e.timestamp_us <= T0 + 9,
    Where(predicate=lambda e: e.seq > 30): lambda e: e.seq > 30,
}


async def test_conditions_on_measurements_and_tags_are_kept(store):
    filled(store, *range(20))
    assert await seqs(store, where=Where(measurement={"seq": Gt(17)})) == [18, 19, 20]
    assert await seqs(store, where=Where(tags="t", measurement={"seq": 4})) == [4]
    assert await seqs(store, where=Where(tags=["t", "u"])) == []
    assert await seqs(store, where=Where(condition="treatment")) == []


async def test_a_filter_that_needs_events_looks_as_far_as_it_must(store):
    for first in range(1, 3001, 100):
        store.append(at(*range(-first, -first - 100, -1), first_seq=first))
    rare = Where(predicate=lambda event: event.seq in {3, 700, 701, 2999})
    assert await paged(store, Query(where=rare), 2) == [2999, 701, 700, 3]
    assert await paged(store, Query(where=rare, after_seq=3), 2) == [700, 701, 2999]
    assert await seqs(store, where=rare, last_n=3) == [701, 700, 3]
    assert await seqs(store, where=rare, last_n=9) == [2999, 701, 700, 3]
    assert await store.count(Query(where=rare)) == 4


async def test_a_predicate_that_raises_reaches_the_reader_and_not_the_store(store):
    filled(store, 1, 2, 3)
    with pytest.raises(ZeroDivisionError):
        await seqs(store, where=Where(predicate=lambda event: 1 / (event.seq - 2)))
    assert await seqs(store) == [1, 2, 3]


async def test_columns_hold_all_rows_in_seq_order(store):
    filled(store, *[n * 7 % 23 for n in range(20)])
    parts = [part async for part in store.columns(Query())]
    assert [row for part in parts for row in part.payload.rows()] == [
        str(n).encode() for n in range(1, 21)
    ]
    times = np.concatenate([part.timestamp_us for part in parts])
    assert times.tolist() == [T0 + n * 7 % 23 for n in range(20)]


async def test_columns_are_cut_to_their_bounds(store):
    offsets = [n * 7 % 23 for n in range(20)]
    filled(store, *offsets, latency_ns=list(range(1, 21)))
    parts = [part async for part in store.columns(Query(since_us=T0 + 5, until_us=T0 + 11))]
    kept = [i + 1 for i, offset in enumerate(offsets) if 5 <= offset <= 11]
    assert np.concatenate([part.latency_ns for part in parts]).tolist() == kept
    assert [int(row) for part in parts for row in part.payload.rows()] == kept
    assert [part async for part in store.columns(Query(since_us=T0 + 100, until_us=None))] == []


async def test_columns_that_are_sorted_are_cut_to_a_run(store):
    filled(store, *range(20))
    parts = [part async for part in store.columns(Query(since_us=T0 + 3, until_us=T0 + 12))]
    assert [int(row) for part in parts for row in part.payload.rows()] == list(range(4, 14))
    assert parts[0].first_seq == 4


@pytest.mark.parametrize("limit", [0, -1, 2.5, True])
async def test_a_limit_below_one_is_refused(store, limit):
    with pytest.raises(QueryError, match="limit"):
        await store.page(Query(), None, limit)


async def test_a_closed_store_takes_nothing(store):
    filled(store, 1, 2)
    await store.commit()
    await store.close()
    await store.close()
    with pytest.raises(LabClosed):
        store.append(at(3, first_seq=3))


async def test_f10_a_clock_that_steps_back_or_ten_years_ahead_loses_and_doubles_nothing(store):
    offsets = [0, 1, 2, 3, -HOUR_US, -HOUR_US + 1, 4, TEN_YEARS_US, 5, 6, 7, 8, -HOUR_US, 9]
    filled(store, *offsets)
    expected = [s for _, s in sorted((o, i + 1) for i, o in enumerate(offsets))]
    for limit in (1, 3, 100):
        assert await paged(store, Query(), limit) == expected
    halves = [Query(until_us=T0 + 3), Query(since_us=T0 + 4)]
    assert [s for query in halves for s in await paged(store, query, 2)] == expected
    assert sum([await store.count(query) for query in halves]) == len(offsets)
    assert await seqs(store, last_n=2) == [14, 8]
