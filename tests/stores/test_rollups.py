"""Windows from roll-ups against the same windows from the rows."""

import gc
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from make import PlainReader, columns, plain_shapes

from crucible_telemetry.analysis.pools import Pools
from crucible_telemetry.analysis.rolled import rolled
from crucible_telemetry.analysis.windows import windowed
from crucible_telemetry.events.columns import AROUND_ALL, ENDS, LLM, MISSING, RANK_SHIFT, WRAPS
from crucible_telemetry.metrics.config import MetricsConfig
from crucible_telemetry.metrics.rollups import (
    DAY_S,
    HOUR_S,
    LEVELS_S,
    MINUTE_S,
    counted,
    levels_for,
    packed,
    unpacked,
)
from crucible_telemetry.metrics.sketch import QUANTILE_ERROR
from crucible_telemetry.stores.base import Query
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import Writer

T0 = 1_700_000_000_000_000
S = 1_000_000
MINUTE, HOUR, DAY = (level * S for level in (MINUTE_S, HOUR_S, DAY_S))
QUANTILES = ("p50", "p95", "p99")


@asynccontextmanager
async def a_store(path, kept=None, segment_rows=8):
    keep = SqliteKeep(path)
    found = {one.id: one for one in await keep.open()}
    kept = found.get("e1") or KeptExperiment(id="e1", record=b"", words=[], trials=[], blocks=[])
    writer = Writer(keep)
    store = KeptStore(kept, PlainReader(), keep, writer, segment_rows, plain_shapes())
    await store.resume()
    store.news = Record()
    try:
        yield store
    finally:
        await keep.close()


class Record:
    """A record that never changes."""

    waits = False

    def look(self):
        pass

    def __call__(self, _numbers, _upto_seq):
        import msgspec

        return msgspec.msgpack.encode({"name": "e", "state": "running", "started_us": T0}), ()

    def written(self):
        pass


def batch(rng, n, first_seq, *, since_us=0, span_us=3 * DAY):
    """Rows of every kind there is, in no order of time."""
    times = T0 + since_us + rng.integers(0, span_us, n)
    flags = rng.choice(
        [0, ENDS, ENDS | LLM, ENDS | WRAPS, ENDS | 1 << RANK_SHIFT, ENDS | AROUND_ALL, 2 << RANK_SHIFT],
        n,
    )  # fmt: skip
    latency = np.where(rng.random(n) < 0.2, MISSING, rng.lognormal(18, 3, n).astype(np.int64))
    cost = np.where(rng.random(n) < 0.4, MISSING, rng.integers(0, 2**62, n))
    outcome = rng.integers(0, 6, n)
    return columns(
        n, first_seq, timestamp_us=times, flags=flags, outcome=outcome,
        latency_ns=latency if rng.random() < 0.9 else None,
        cost_pico=cost if rng.random() < 0.9 else None,
    )  # fmt: skip


async def rows_of(store):
    return [part async for part in store.columns(Query())]


def same_but_for_quantiles(found, exact):
    assert len(found) == len(exact)
    for row, wanted in zip(found, exact, strict=True):
        assert (row.exact, row.quantile_error) == (False, QUANTILE_ERROR)
        for name in row.__struct_fields__:
            if name in QUANTILES:
                near(getattr(row, name), getattr(wanted, name))
            elif name not in ("exact", "quantile_error"):
                assert getattr(row, name) == getattr(wanted, name), name


def near(value, exact):
    assert (value is None) == (exact is None)
    if value is not None:
        assert abs(value - exact) <= QUANTILE_ERROR * exact * (1 + 1e-9)


async def check_windows(store, size, step, config=MetricsConfig()):  # noqa: B008
    (level, *_) = levels_for(size, step)
    buckets = await store.buckets(level)
    assert buckets is not None
    pauses = [(T0 + MINUTE, T0 + 2 * HOUR)]
    exact = windowed(await rows_of(store), size, step, pauses, Pools(config))
    same_but_for_quantiles(
        [row for some in rolled(buckets, size, step, pauses, config) for row in some], exact
    )


spans = st.sampled_from([MINUTE, 5 * MINUTE, 90 * MINUTE, HOUR, 7 * HOUR, DAY, 2 * DAY])
configs = st.builds(
    MetricsConfig, pool=st.sampled_from(["auto", "llm", "all"]), billed=st.sampled_from(["auto", "all"])
)  # fmt: skip


@pytest.mark.asyncio
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=6),
    span_us=st.sampled_from([S, 10 * MINUTE, 5 * HOUR, 3 * DAY]),
    asked=st.tuples(spans, spans, configs),
)
async def test_windows_from_roll_ups_are_those_of_the_rows_whatever_is_written_yet(
    tmp_path_factory, seed, sizes, span_us, asked
):
    rng = np.random.default_rng(seed)
    async with a_store(tmp_path_factory.mktemp("keep") / "runs.db") as store:
        for n, commits in sizes:
            store.append(batch(rng, n, store.last_seq + 1, span_us=span_us))
            if commits:
                await store.commit()
        found = await store.buckets(MINUTE_S)
        if found is None:  # what waits is older than the first; written, it has them made anew
            await store.commit()
        await check_windows(store, *asked)


@pytest.mark.asyncio
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_what_is_kept_of_each_level_is_what_its_rows_count(tmp_path_factory, seed):
    from crucible_telemetry.metrics.rollups import counted, merged

    rng = np.random.default_rng(seed)
    async with a_store(tmp_path_factory.mktemp("keep") / "runs.db") as store:
        for _ in range(5):
            store.append(batch(rng, 20, store.last_seq + 1))
            await store.commit()
        await store.buckets(DAY_S)
        await store.commit()
        origin = store.totals.mark.origin_us
        for level in LEVELS_S:
            kept = {}
            async for page in store.totals.between(level, origin, origin + 4 * DAY):
                kept |= page
            wanted = {}
            for part in await rows_of(store):
                wanted = merged(wanted, counted(part, origin, level))
            assert kept == wanted


@pytest.mark.asyncio
async def test_a_store_that_is_opened_again_goes_on_with_its_roll_ups(tmp_path):
    rng = np.random.default_rng(1)
    async with a_store(tmp_path / "runs.db") as store:
        store.append(batch(rng, 30, 1))
        await store.commit()
    async with a_store(tmp_path / "runs.db") as store:
        store.append(batch(rng, 30, 31, since_us=10 * HOUR))
        await store.commit()
        assert store.totals.upto_seq == 60
        await check_windows(store, HOUR, HOUR)


@pytest.mark.asyncio
async def test_an_event_older_than_the_first_has_roll_ups_made_anew_when_they_are_read(tmp_path):
    rng = np.random.default_rng(2)
    async with a_store(tmp_path / "runs.db") as store:
        store.append(batch(rng, 30, 1))
        await store.commit()
        store.append(batch(rng, 30, 31, since_us=-5 * DAY))
        assert await store.buckets(MINUTE_S) is None
        await store.commit()
        assert store.totals.mark is None
        await check_windows(store, MINUTE, MINUTE)
        assert store.totals.upto_seq == 60
    async with a_store(tmp_path / "runs.db") as store:
        assert store.totals.upto_seq == 60


@pytest.mark.asyncio
async def test_roll_ups_reach_over_decades_without_a_page_for_every_day(tmp_path):
    rng = np.random.default_rng(3)
    async with a_store(tmp_path / "runs.db") as store:
        store.append(batch(rng, 20, 1))
        await store.commit()
        store.append(batch(rng, 20, 21, since_us=365 * 40 * DAY))
        await store.commit()
        await check_windows(store, HOUR, HOUR)


def test_buckets_leave_the_garbage_collector_next_to_nothing_to_walk():
    """Read for a window over ten days, fourteen thousand of them stopped the loop for 40 ms in a full collection."""
    made = counted(columns(64, latency_ns=range(64)), T0, MINUTE_S)
    data = packed(next(iter(made.values())))
    gc.collect()
    before = len(gc.get_objects())
    found = [unpacked(data) for _ in range(1000)]
    gc.collect(0)
    gc.collect()
    assert found[0].llm.latency.n == 64
    assert len(gc.get_objects()) - before < 1500
