"""F18: what goes wrong in keeping one experiment is that experiment's: it is tried again, then failed; others are kept."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from faults.ledger import NAME
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.stores import sqlite
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import ATTEMPTS

pytestmark = pytest.mark.asyncio


class Failpoint:
    """Raises in the place of a method, for one experiment, a number of times."""

    def __init__(self, times):
        self.times, self.met = times, 0

    def hit(self):
        if self.met < self.times:
            self.met += 1
            raise ZeroDivisionError("a fault in the machine")


def in_gather(store, _exp, point, patch):
    raise_in(store._spelling, "numbered", point, patch)


def in_the_record(store, _exp, point, patch):
    raise_in(store, "news", point, patch)


def in_words(store, _exp, point, patch):
    raise_in(store._spelling, "news", point, patch)


def in_the_encoding(_store, exp, point, patch):
    write = sqlite.write_block

    def failing(connection, one, columns):
        if one == exp.id:
            point.hit()
        return write(connection, one, columns)

    patch.setattr(sqlite, "write_block", failing)


def in_a_refused_row(_store, exp, point, patch):
    write = sqlite.write_small

    def failing(connection, one):
        if one.id == exp.id and point.met < point.times:
            point.met += 1
            raise StoreRefused("the keep", "string or blob too big")
        return write(connection, one)

    patch.setattr(sqlite, "write_small", failing)


def after_the_commit(store, _exp, point, patch):
    raise_in(store._spelling, "written", point, patch)


def raise_in(owner, name, point, patch):
    plain = getattr(owner, name)

    class Failing:
        def __call__(self, *given):
            point.hit()
            return plain(*given)

        def __getattr__(self, inner):
            return getattr(plain, inner)

    patch.setattr(owner, name, Failing())


STAGES = [
    in_gather, in_the_record, in_words, in_the_encoding, in_a_refused_row, after_the_commit,
]  # fmt: skip


async def emitted(exp, first, count):
    with exp.scope():
        for number in range(first, first + count):
            await ct.execute(NAME, {"n": number, "duration_ns": 1_000})


async def flushed(exp):
    """Flush until everything is on the disk."""
    while not (await exp.flush()).complete or exp.health().store.state != "ok":  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # the next commit tries again


@asynccontextmanager
async def three(path):
    """A lab with three experiments that have committed events."""
    async with ct.Lab(path) as lab:
        exps = [await lab.start_experiment(name, capture="scope") for name in "abc"]
        for exp in exps:
            await emitted(exp, 0, 10)
            assert (await exp.flush()).complete
        yield lab, exps


async def read_again(path):
    async with ct.Lab(path) as lab:
        return {
            exp.name: (exp.state, [event.measurements["n"] for event in await exp.events()])
            for exp in lab.list_experiments()
        }


async def holds_all_and_takes_no_more(bad):
    assert [event.measurements["n"] for event in await bad.events()] == list(range(15))
    assert (await bad.metrics()).summary.total_events == 15
    await emitted(bad, 99, 1)
    assert bad.counts.refused == 1
    assert bad.counts.emitted == bad.counts.accounted


@pytest.mark.parametrize("stage", STAGES)
async def test_f18_what_fails_of_one_experiment_for_good_fails_it_alone(stage, tmp_path, caplog):
    path, point = tmp_path / "runs.db", Failpoint(10**9)
    with pytest.MonkeyPatch.context() as patch:
        async with three(path) as (lab, exps):
            good, bad, other = exps
            stage(lab._collectors[bad.id].store, bad, point, patch)
            for exp in exps:
                await emitted(exp, 10, 5)
            with pytest.raises(ct.ExperimentFailed):
                await flushed(bad)
            assert bad.state == "failed"
            assert point.met >= ATTEMPTS
            assert f"experiment {bad.id!r} cannot be written" in caplog.text
            store = bad.health().store
            assert store.state == "refused"
            assert "cannot be written" in store.reason
            await holds_all_and_takes_no_more(bad)
            for exp in (good, other):
                await emitted(exp, 15, 5)
                assert (await exp.flush()).complete
                assert exp.state == "running"
                assert exp.health().store.state == "ok"
            assert "writer · running" in str(lab.tree())
            assert bad.id not in str(lab.tree())
            report = dict(await lab.close())
        assert set(report) <= {bad.id}
    again = await read_again(path)
    assert again["a"] == again["c"] == ("stopped", list(range(20)))
    assert again["b"][0] == "interrupted"
    assert again["b"][1] == list(range(15 if stage is after_the_commit else 10))


@pytest.mark.parametrize("stage", STAGES)
async def test_f18_what_fails_of_one_experiment_in_passing_costs_nothing(stage, tmp_path):
    path, point = tmp_path / "runs.db", Failpoint(ATTEMPTS - 1)
    with pytest.MonkeyPatch.context() as patch:
        async with three(path) as (lab, exps):
            bad = exps[1]
            stage(lab._collectors[bad.id].store, bad, point, patch)
            for exp in exps:
                await emitted(exp, 10, 5)
            async with asyncio.timeout(5):
                for exp in exps:
                    await flushed(exp)
            assert point.met == ATTEMPTS - 1
            rows = await bad.windowed_metrics(60)
            assert sum(row.event_count for row in rows) == 15
    assert set(await read_again(path)) == {"a", "b", "c"}
    assert all(found == ("stopped", list(range(15))) for found in (await read_again(path)).values())


async def test_f18_a_close_tries_again_what_failed_and_reports_what_does_not_last(tmp_path):
    path = tmp_path / "runs.db"
    with pytest.MonkeyPatch.context() as patch:
        async with three(path) as (lab, exps):
            stores = [lab._collectors[exp.id].store for exp in exps]
            in_gather(stores[1], exps[1], Failpoint(10**9), patch)
            raise_in(stores[2], "news", Failpoint(ATTEMPTS - 1), patch)
            for exp in exps:
                await emitted(exp, 10, 5)
            report = await lab.close()
        assert set(report) == {exps[1].id}
        assert report[exps[1].id].startswith("5 events are not on the disk: ")
    again = await read_again(path)
    assert again["a"] == again["c"] == ("stopped", list(range(15)))
    assert again["b"] == ("interrupted", list(range(10)))


async def test_f18_roll_ups_that_cannot_be_kept_cost_no_event(tmp_path, caplog):
    path = tmp_path / "runs.db"
    with pytest.MonkeyPatch.context() as patch:
        async with three(path) as (lab, exps):
            totals = lab._collectors[exps[1].id].store.totals
            raise_in(totals, "rollups", Failpoint(10**9), patch)
            for exp in exps:
                await emitted(exp, 10, 5)
                assert (await exp.flush()).complete
                assert exp.state == "running"
                rows = await exp.windowed_metrics(60)
                assert sum(row.event_count for row in rows) == 15
            assert f"experiment {exps[1].id!r} is kept without roll-ups" in caplog.text
    async with ct.Lab(path) as lab:
        for exp in lab.list_experiments():
            await exp.reopen()
            rows = await exp.windowed_metrics(60)
            assert sum(row.event_count for row in rows) == 15


async def test_f18_an_unforeseen_error_of_the_keep_itself_blames_nobody(tmp_path):
    path, down, failed = tmp_path / "runs.db", True, 0
    with pytest.MonkeyPatch.context() as patch:
        async with three(path) as (_lab, exps):
            write = SqliteKeep._write

            def failing(self, change):
                nonlocal failed
                if down:
                    failed += 1
                    raise ZeroDivisionError("the driver is confused")
                return write(self, change)

            patch.setattr(SqliteKeep, "_write", failing)
            for exp in exps:
                await emitted(exp, 10, 5)
            await comes(lambda: failed >= 2)
            down = False
            for exp in exps:
                assert (await exp.flush()).complete
                assert exp.state == "running"
    assert all(found == ("stopped", list(range(15))) for found in (await read_again(path)).values())
