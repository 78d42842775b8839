"""Whatever arrives and is asked, fails and is opened again: every store answers as a sorted list does."""

import asyncio
import itertools

import pytest
import servers
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from make import PlainReader, columns
from places import InAKeep, InPostgres, Log, Memory, Plain

from crucible_telemetry.errors import SequenceGap
from crucible_telemetry.stores.base import Query, Where, matches

T0 = 1_700_000_000_000_000
FUTURE_US = 10 * 365 * 86_400_000_000

offsets = st.one_of(
    st.integers(0, 12), st.integers(-5, 500), st.sampled_from([-(10**12), 10**9, FUTURE_US])
)
rows = st.lists(st.tuples(offsets, st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=9)
limits = st.integers(1, 12)
wheres = st.sampled_from(
    [
        None,
        Where(event="event.1"),
        Where(success=False),
        Where(predicate=lambda event: event.seq % 3 == 0),
        Where(event=["event.2", "event.3"], predicate=lambda event: event.seq % 2 == 0),
    ]
)


async def collected(parts):
    return [part async for part in parts]


def lasts(machine):
    return machine.place.lasting


class StoreIsASortedList(RuleBasedStateMachine):
    """The store of a `place` beside a list of events."""

    @initialize(segment_rows=st.integers(1, 20))
    def start(self, segment_rows):
        self.loop = asyncio.Runner()
        self.place = self.new_place(segment_rows)
        self.events, self.committed = [], 0
        self.past = []
        self.store = self.loop.run(self.place.open())

    def teardown(self):
        if hasattr(self, "loop"):
            if hasattr(self, "store"):
                self.loop.run(self.place.drop())
            self.loop.close()

    # -- what arrives ---------------------------------------------------------------------------

    def _batch(self, rows, first_seq):
        times, shapes, outcomes = (list(column) for column in zip(*rows, strict=True))
        shapes = [shape + self.place.shift for shape in shapes]
        return columns(
            len(rows),
            first_seq,
            timestamp_us=[T0 + t for t in times],
            shape=shapes,
            outcome=outcomes,
        )

    def _events_of(self, batch):
        return PlainReader(self.place.shift).events(batch, range(len(batch)))

    @rule(rows=rows)
    def append(self, rows):
        batch = self._batch(rows, len(self.events) + 1)
        self.store.append(batch)
        self.past.append(batch)
        self.events += self._events_of(batch)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def repeat(self, data):
        self.store.append(data.draw(st.sampled_from(self.past)))

    @rule(rows=rows, back=st.integers(1, 5))
    def overlap(self, rows, back):
        first = max(len(self.events) + 1 - back, 1)
        batch = self._batch(rows, first)
        self.store.append(batch)
        self.events += self._events_of(batch)[len(self.events) + 1 - first :]

    @rule(rows=rows, ahead=st.integers(1, 3))
    def leave_a_gap(self, rows, ahead):
        with pytest.raises(SequenceGap):
            self.store.append(self._batch(rows, len(self.events) + 1 + ahead))

    # -- what is asked --------------------------------------------------------------------------

    @rule(where=wheres, a=offsets, b=offsets, limit=limits)
    def between(self, where, a, b, limit):
        low, high = sorted((T0 + a, T0 + b))
        expected = [e for e in self._fitting(where) if low <= e.timestamp_us <= high]
        self._agrees(Query(since_us=low, until_us=high, where=where), expected, limit)

    @rule(where=wheres, n=limits, limit=limits)
    def last_n(self, where, n, limit):
        self._agrees(Query(last_n=n, where=where), self._fitting(where)[-n:], limit)

    @rule(where=wheres, data=st.data(), limit=limits)
    def after_seq(self, where, data, limit):
        seq = data.draw(st.integers(0, len(self.events) + 1))
        expected = sorted((e for e in self._fitting(where) if e.seq > seq), key=lambda e: e.seq)
        self._agrees(Query(after_seq=seq, where=where), expected, limit)

    @rule(where=wheres, data=st.data(), limit=limits)
    def as_it_was(self, where, data, limit):
        upto = data.draw(st.integers(0, len(self.events)))
        expected = [e for e in self._fitting(where) if e.seq <= upto]
        self._agrees(Query(upto_seq=upto, where=where), expected, limit)

    @rule(where=wheres, rows=rows, limit=limits)
    def grow_while_it_is_paged(self, where, rows, limit):
        query, expected = Query(upto_seq=len(self.events), where=where), self._fitting(where)
        page = self.loop.run(self.store.page(query, None, limit))
        self.append(rows)
        found = list(page.events)
        while len(page.events) == limit:
            page = self.loop.run(self.store.page(query, page.position, limit))
            found += page.events
        assert found == expected

    @rule(where=wheres, a=offsets, b=offsets, data=st.data())
    def cut_columns(self, where, a, b, data):
        low, high = sorted((T0 + a, T0 + b))
        after, upto = data.draw(st.tuples(*[st.integers(0, len(self.events))] * 2).map(sorted))
        query = Query(since_us=low, until_us=high, where=where, after_seq=after, upto_seq=upto)
        parts = self.loop.run(collected(self.store.columns(query)))
        fitting = sorted(self._fitting(where), key=lambda e: e.seq)
        kept = [e.seq for e in fitting if low <= e.timestamp_us <= high and after < e.seq <= upto]
        assert [int(row) for part in parts for row in part.payload.rows()] == kept
        assert all(len(part) for part in parts)

    # -- what lasts -----------------------------------------------------------------------------

    @rule()
    def commit(self):
        self.loop.run(self.store.commit())
        self.committed = len(self.events)

    @precondition(lambda self: self.place.lasting and self.committed < len(self.events))
    @rule(when=st.sampled_from(["before", "within", "after"]))
    def commit_fails(self, when):
        self.place.fail(when)
        with pytest.raises(OSError, match=r"No space|full"):
            self.loop.run(self.store.commit())

    @precondition(lasts)
    @rule()
    def crash(self):
        """What was committed is there, and of the rest a beginning at most."""
        self._again()
        assert self.committed <= self.store.last_seq <= len(self.events)
        del self.events[self.store.last_seq :]
        self.committed = self.store.last_seq

    @precondition(lasts)
    @rule()
    def close_and_open(self):
        self.loop.run(self.store.close())
        self.committed = len(self.events)
        self._again()

    @precondition(lasts)
    @rule()
    def delete(self):
        self.loop.run(self.store.close(delete=True))
        self.events.clear()
        self.committed = 0
        self._again()

    def _again(self):
        self.past.clear()
        self.loop.run(self.place.drop())
        self.store = self.loop.run(self.place.open())

    # -- what holds -----------------------------------------------------------------------------

    @invariant()
    def whole(self):
        if hasattr(self, "store"):
            assert self.store.last_seq == len(self.events)
            if hasattr(self.store, "_check"):
                self.store._check()

    def _fitting(self, where):
        found = sorted(self.events, key=lambda e: (e.timestamp_us, e.seq))
        return [e for e in found if where is None or matches(where, e)]

    def _agrees(self, query, expected, limit):
        found, after = [], None
        while True:
            page = self.loop.run(self.store.page(query, after, limit))
            found += page.events
            if len(page.events) < limit:
                break
            after = page.position
        assert found == expected
        assert self.loop.run(self.store.count(query)) == len(expected)


EXAMPLES = {Memory: 150, Plain: 50, Log: 120, InAKeep: 120, InPostgres: 15}


@pytest.mark.parametrize("place", EXAMPLES, ids=lambda place: place.__name__)
def test_a_store_answers_as_a_sorted_list_whatever_arrives_fails_or_is_opened_again(
    place, request, tmp_path
):
    if place is InPostgres:
        servers.postgres()  # skips where none can start
    numbers = itertools.count()

    class Machine(StoreIsASortedList):
        def new_place(self, segment_rows):
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            return place(segment_rows, folder)

    deep = request.config.getoption("--deep") or 0
    run_state_machine_as_test(
        Machine,
        settings=settings(
            deadline=None,
            max_examples=max(EXAMPLES[place], deep),
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_small_blocks_that_were_read_and_joined_when_they_were_opened_again_are_read_whole(
    tmp_path,
):
    async def run():
        place = InAKeep(8, tmp_path)
        store = await place.open()
        store.append(columns(7, 1, shape=4))
        await store.close()
        await place.drop()
        store = await place.open()
        store.append(columns(1, 8, shape=5))
        await store.commit()
        found = (await store.page(Query(), None, 10)).events
        await place.drop()
        return [event.seq for event in found]

    assert asyncio.run(run()) == [1, 2, 3, 4, 5, 6, 7, 8]
