"""The memory store beside its contract: crashes at any line, readers in threads."""

import asyncio
import itertools
import sys
import threading

import numpy as np
import pytest
from make import PlainReader, columns

from crucible_telemetry.errors import QueryError
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.stores import segments
from crucible_telemetry.stores.base import Query, Where
from crucible_telemetry.stores.memory import MemoryStore

T0 = 1_700_000_000_000_000


class Crash(Exception):
    """Raised in the middle of an append."""


def crash_at(line, act):
    """Run `act` and raise at its n-th line; whether it got that far."""
    seen = 0

    def trace(frame, kind, _):
        nonlocal seen
        if "crucible_telemetry" not in frame.f_code.co_filename:
            return None
        if kind == "line":
            seen += 1
            if seen == line:
                raise Crash
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Crash:
        return True
    finally:
        sys.settrace(before)
    return False


def rows_of(store):
    async def read():
        page = await store.page(Query(), None, 10_000)
        return [(event.timestamp_us, event.seq) for event in page.events]

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("held", "doing"),
    [(0, "the first"), (3, "an open part"), (5, "joining parts"), (9, "sealing"), (10, "sealed")],
)
def test_an_append_that_crashes_at_any_line_changes_nothing_and_can_be_repeated(
    held, doing, monkeypatch
):
    monkeypatch.setattr(segments, "MAX_PARTS", 4)
    store = MemoryStore(PlainReader(), segment_rows=10)
    for seq in range(1, held + 1):
        store.append(columns(1, seq, timestamp_us=T0 - seq))
    before, batch = rows_of(store), columns(2, held + 1)
    for line in itertools.count(1):
        if not crash_at(line, lambda: store.append(batch)):
            break
        store._check()
        assert rows_of(store) == before, f"{doing}, crash at line {line}"
    assert line > 10
    store._check()
    assert rows_of(store) == sorted([*before, (T0 + held + 1, held + 1), (T0 + held + 2, held + 2)])


def test_a_thread_that_reads_while_another_appends_sees_a_whole_store():
    store = MemoryStore(PlainReader(), segment_rows=16)
    torn = []

    def read():
        while store.last_seq < 2000:
            seqs = sorted(seq for _, seq in rows_of(store))
            if seqs != list(range(1, len(seqs) + 1)):
                torn.append(seqs)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seq in range(1, 2001, 2):
        store.append(columns(2, seq, timestamp_us=[T0 - seq, T0 + seq]))
    for reader in readers:
        reader.join()
    assert torn == []
    assert len(rows_of(store)) == 2000


def test_single_rows_never_leave_many_parts_to_join():
    store = MemoryStore(PlainReader())
    most = 0
    for seq in range(1, 3001):
        store.append(columns(1, seq))
        most = max(most, len(store._state.parts))
    assert most <= segments.MAX_PARTS
    store._check()


def test_a_segment_is_sealed_before_its_offsets_run_out_of_bits(monkeypatch):
    monkeypatch.setattr(segments, "MAX_OPEN_BYTES", 20)
    store = MemoryStore(PlainReader())
    for seq in range(1, 100):
        store.append(columns(1, seq))
    assert max(len(part.columns.payload.blob) for part in store._state.sealed) <= 22
    store._check()


@pytest.mark.asyncio
async def test_memory_still_answers_after_close_and_forgets_with_delete():
    store = MemoryStore(PlainReader())
    store.append(columns(3))
    await store.close()
    assert await store.count(Query()) == 3
    await store.close(delete=True)
    assert await store.count(Query()) == 0


@pytest.mark.asyncio
async def test_generic_rows_are_found_by_the_name_they_carry():
    class Generic(PlainReader):
        def row_name(self, columns, index):
            if columns.shape[index] == GENERIC_SHAPE:
                return f"own.{columns.payload[index].decode()}"
            return super().row_name(columns, index)

    store = MemoryStore(Generic(), segment_rows=4)
    store.append(columns(10, shape=[0, 1] * 5))
    page = await store.page(Query(where=Where(event=["own.3", "own.9", "event.*"])), None, 20)
    assert [event.seq for event in page.events] == [2, 3, 4, 6, 8, 9, 10]


@pytest.mark.asyncio
async def test_a_name_is_looked_up_once_per_shape():
    asked = []

    class Counting(PlainReader):
        def name(self, shape):
            asked.append(shape)
            return super().name(shape)

    store = MemoryStore(Counting(), segment_rows=50)
    store.append(columns(200, shape=np.arange(200) % 4 + 1))
    assert await store.count(Query(where=Where(event="event.2"))) == 50
    assert sorted(asked) == [1, 2, 3, 4]


@pytest.mark.asyncio
async def test_a_window_decodes_only_what_it_returns():
    decoded = []

    class Counting(PlainReader):
        def events(self, columns, indices):
            decoded.extend(indices)
            return super().events(columns, indices)

    store = MemoryStore(Counting(), segment_rows=100)
    for first in range(1, 5001, 50):
        store.append(columns(50, first))
    for query in (Query(last_n=7), Query(until_us=T0 + 7), Query(after_seq=4993)):
        decoded.clear()
        page = await store.page(query, None, 1000)
        assert len(page.events) == len(decoded) == 7


def test_a_segment_needs_a_row():
    with pytest.raises(QueryError, match="segment_rows"):
        MemoryStore(PlainReader(), segment_rows=0)
