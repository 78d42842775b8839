"""A store of one's own for a lab or an experiment: how it is named, when it is committed, and its troubles."""

from functools import partial

import anyio
import pytest
from make import columns
from own_stores import (
    Away,
    Hasty,
    Impatient,
    Lonely,
    Noting,
    Unopened,
    WithoutColumns,
    full_disk,
)

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused, StoreUnavailable
from crucible_telemetry.stores import Query, lasting

pytestmark = pytest.mark.asyncio


async def emit(n, start=0):
    for i in range(start, start + n):
        await ct.execute("step.stop", {"i": i, "duration_ms": 1.0})


def made():
    return Noting.made[-1]


@pytest.mark.parametrize("store", [Noting, "own_stores:Noting", partial(Noting)])
async def test_every_experiment_of_a_lab_has_a_store_of_that_kind(store):
    async with ct.Lab(store=store) as lab:
        for name in ("a", "b"):
            async with lab.experiment(name) as exp:
                await emit(3)
            assert made().experiment_id == exp.id
            assert [e.measurements["i"] for e in await exp.events()] == [0, 1, 2]
            assert (await exp.metrics()).latency.count == 3


async def test_it_is_committed_each_interval_by_flush_and_at_the_end():
    async with ct.Lab(store=Noting) as lab:
        async with lab.experiment("a") as exp:
            await emit(1)
            with anyio.fail_after(5):
                while not made().commits:  # noqa: ASYNC110 - a user's store has no signal
                    await anyio.sleep(0.01)
            before = made().commits
            await emit(1)
            assert (await exp.flush()).complete
            assert made().commits == before + 1
            assert exp.health().store.waiting == 0
            await exp.flush()
            assert made().commits == before + 1
            await emit(1)
        assert made().commits == before + 2
        assert not made().closed
    assert made().closed == 1


async def test_what_commit_raises_is_trouble_that_users_are_told_of_and_that_ends():
    heard = []
    ct.attach_many(
        "t",
        ["crucible.store.waiting", "crucible.store.recovered"],
        lambda event, _measurements, metadata, _config: heard.append((event, metadata)),
    )
    try:
        async with ct.Lab(store=Noting) as lab, lab.experiment("a") as exp:
            made().failing = full_disk()
            await emit(4)
            result = await exp.flush()
            assert (result.failed, result.complete) == (4, False)
            store = exp.health().store
            assert (store.state, store.waiting) == ("waiting", 4)
            assert "Noting: OSError: [Errno 28] No space left on device" in store.reason
            assert store.since_us > 1_700_000_000_000_000
            assert len(await exp.events()) == 4
            made().failing = None
            assert (await exp.flush()).complete
            assert exp.health().store.state == "ok"
            assert exp.health().store.since_us is None
            assert exp.health().restarts == 0
    finally:
        ct.detach("t")
    assert [event for event, _ in heard] == ["crucible.store.waiting", "crucible.store.recovered"]
    assert "No space left" in heard[0][1]["error"]


async def test_a_store_that_refuses_says_so_and_the_lab_reports_what_it_could_not_save():
    lab = await ct.Lab(store=Noting).open()
    async with lab.experiment("a") as exp:
        made().failing = StoreRefused("disk", "may not be written")
        await emit(2)
        await exp.flush()
        assert exp.health().store.state == "refused"
    report = await lab.close()
    assert report == {exp.id: "2 events are not durable: disk: may not be written"}
    assert made().closed == 1


async def test_a_commit_that_hangs_holds_up_neither_emits_nor_the_end():
    class Hanging(Noting):
        async def commit(self):
            await anyio.sleep_forever()

    lab = await ct.Lab(store=Hanging, close_timeout_s=0.3).open()
    exp = await lab.start_experiment("a")
    await emit(5)
    result = await exp.flush(timeout_s=0.05)
    assert result.timed_out
    assert exp.live().summary.total_events == 5
    with anyio.fail_after(5):
        report = await lab.close()
    assert "5 events are not durable: closing took longer than 0.3 s" in report[exp.id]


async def test_emitters_wait_while_a_store_that_cannot_commit_holds_too_much(monkeypatch):
    monkeypatch.setattr(lasting, "FULL_ROWS", 50)
    async with ct.Lab(store=Noting) as lab, lab.experiment("a", mailbox_size=64) as exp:
        made().failing = full_disk()
        with anyio.move_on_after(0.5) as limit:
            await emit(2000)
        assert limit.cancelled_caught
        assert exp.counts.stored < 1500
        made().failing = None
        await emit(10)
        assert (await exp.flush()).complete
        counts = exp.counts
        assert counts.emitted == counts.stored == counts.accounted
        assert [e.seq for e in await exp.events()] == list(range(1, counts.stored + 1))


async def test_the_tree_shows_who_commits(tmp_path):
    async with ct.Lab(store=Noting) as lab, lab.experiment("a") as exp:
        assert str(lab.tree()).splitlines()[1:] == [
            f"└── {exp.id} · running",
            "    ├── committer · running",
            "    └── collector · running",
        ]
    async with ct.Lab(tmp_path / "runs.db") as lab:
        assert "writer · running" in str(lab.tree())


async def test_a_store_that_opens_with_events_in_it_is_gone_on_with():
    kept = {}

    def again(experiment_id, reader):
        store = Noting(experiment_id, reader)
        if "parts" in kept:
            for part in kept["parts"]:
                store.append(part)
        return store

    async with ct.Lab(store=again) as lab:
        async with lab.experiment("a") as exp:
            await emit(5)
        kept["parts"] = [part async for part in made().columns(Query())]
        async with lab.experiment("a") as exp:
            assert exp.live().summary.total_events == 5
            await emit(2, start=5)
            assert (await exp.flush()).complete
            assert exp.counts.stored == exp.counts.emitted == 7
            assert [e.seq for e in await exp.events()] == [1, 2, 3, 4, 5, 6, 7]
            assert exp.live().latency.count == (await exp.metrics()).latency.count == 7


WRONG = {
    "own_stores": "want 'package.module:Class', not 'own_stores'",
    "no.such.module:Store": "cannot import 'no.such.module:Store': ModuleNotFoundError: No module named 'no'",
    "own_stores:Nope": "cannot import 'own_stores:Nope': AttributeError: .*no attribute 'Nope'",
    7: "want a Store class, a factory .* or its dotted name, not 7",
    WithoutColumns: "WithoutColumns lacks columns, last_seq: see crucible_telemetry.stores.Store",
    Impatient: "Impatient.append is async; it must take a batch at once",
    Hasty: "Hasty: commit must be async",
    Lonely: r"Lonely cannot be called with \(experiment_id, reader\): too many positional arguments",
    full_disk: r"full_disk cannot be called with \(experiment_id, reader\)",
}


@pytest.mark.parametrize("store", WRONG, ids=str)
async def test_a_store_that_is_none_is_refused_in_words(store):
    with pytest.raises(ct.ConfigurationError, match=f"store: {WRONG[store]}"):
        ct.Lab(store=store)
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match=f"store: {WRONG[store]}"):
            await lab.start_experiment("a", store=store)
        assert lab.list_experiments() == []


async def test_a_factory_that_returns_no_store_or_waits_is_refused():
    async def later(experiment_id, reader):
        return Noting(experiment_id, reader)

    with pytest.raises(ct.ConfigurationError, match="the factory is async"):
        ct.Lab(store=later)
    async with ct.Lab(store=lambda _one, _reader: None) as lab:
        with pytest.raises(ct.ConfigurationError, match="what <lambda> returned lacks append"):
            await lab.start_experiment("a")
        assert lab.list_experiments() == []


async def test_a_store_that_cannot_be_opened_is_an_error_of_the_start():
    async with ct.Lab() as lab:
        with pytest.raises(StoreRefused, match="Unopened: cannot be opened: OSError: no such disk"):
            await lab.start_experiment("a", store=Unopened)
        with pytest.raises(StoreUnavailable, match="redis://x: connection refused"):
            await lab.start_experiment("a", store=Away)
        assert lab.list_experiments() == []


async def test_cleanup_closes_it_and_deletes_what_it_holds():
    async with ct.Lab(store=Noting) as lab:
        async with lab.experiment("a") as exp:
            await emit(2)
        await exp.cleanup()
        assert made().closed == 1
        assert await made().count(Query()) == 0
        made_columns = columns(1, 3)
        with pytest.raises(ct.LabClosed):
            made().append(made_columns)
