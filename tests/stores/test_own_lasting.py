"""A store of one's own in a lab that lasts: it has the events, the lab keeps record and trials, and all goes on."""

import asyncio
import shutil
from functools import partial

import pytest
import servers
from own_stores import LogStore, Noting, full_disk

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.lab import durable

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return tmp_path / "runs.db" if request.param == "sqlite" else servers.postgres().url()


@pytest.fixture
def logs(tmp_path):
    """A log file for each experiment."""

    def log_of(experiment_id, reader):
        return LogStore(tmp_path / "logs" / f"{experiment_id}.log", experiment_id, reader)

    return log_of


async def ran(exp, items):
    for item in items:
        async with exp.trial(item=item) as trial:
            async with ct.llm_call(provider="openai", model="gpt-4o") as call:
                call.usage(input_tokens=10, output_tokens=5)
                call.cost(0.25)
            trial.score(correct=item % 2)


async def told(exp):
    await exp.flush()
    return {
        "events": await exp.events(),
        "metrics": (await exp.metrics()).to_dict(),
        "live": exp.live().to_dict(),
        "trials": await exp.trials(),
        "counts": exp.counts,
        "state": exp.state,
        "times": (exp.active_seconds, exp.paused_seconds, exp.pause_count),
    }


async def test_a_lab_opened_again_with_its_store_says_and_does_what_any_lab_does(url, logs):
    async with ct.Lab(url, store=logs) as lab:
        a = await lab.start_experiment("a", capture="scope")
        b = await lab.start_experiment("b", capture="scope")
        await ran(a, range(4))
        await ran(b, range(4))
        await a.pause()
        await a.stop()
        await b.stop()
        first = [await told(a), await told(b)]
    async with ct.Lab(url, store=logs) as lab:
        a, b = lab.list_experiments()
        assert [await told(a), await told(b)] == first
        compared = await lab.compare_experiments([a.id, b.id], metric="score.correct")
        assert compared.result.n
        assert (await lab.sql("select count(*) from events")).rows == [(16,)]
        await a.reopen()
        run = [
            t.item async for t in lab.trials(a, items=range(6), skip_done=True) if await begun(t)
        ]
        assert run == ["4", "5"]
        await a.stop()
        assert [event.seq for event in await a.events()] == list(range(1, 13))
        assert a.pause_count == 1
        assert a.counts.emitted == a.counts.accounted == 12
        await b.cleanup()
    async with ct.Lab(url, store=logs) as lab:
        (a,) = lab.list_experiments()
        assert [r.item for r in await a.trials()] == ["0", "1", "2", "3", "4", "5"]
        assert {event.sample_id for event in await a.events()} == {r.item for r in await a.trials()}
        assert a.live().upto_seq in (0, 12)
        assert not (await lab.close())


async def begun(trial):
    async with trial:
        await ct.execute("work.start", {"n": 1})
        await ct.execute("work.stop", {"duration_ms": 1.0})
    return True


async def test_one_experiment_may_have_its_own_and_is_found_by_its_lab(url, logs):
    async with (
        ct.Lab(url) as lab,
        lab.experiment("a", store=logs) as a,
        lab.experiment("b") as b,
    ):
        await ran(a, range(2))
        await ran(b, range(3))
    async with ct.Lab(url) as lab:
        a, b = lab.list_experiments()
        assert (a.state, a.counts.stored, b.counts.stored) == ("stopped", 4, 6)
        assert a.trials_done() == {("0", 0), ("1", 0)}
        assert len(await b.events()) == 6
        told_where = f"LogStore: the events of experiment {a.id!r} are there: give that store again"
        for read in (a.events, a.metrics, a.count_events, a.cleanup):
            with pytest.raises(StoreRefused, match=told_where):
                await read()
        pruned = await lab.prune(1e-9, archived_only=False)
        assert [one.name for one in pruned] == ["b"]
        with pytest.raises(ct.ConfigurationError, match="store: 'a' was started with LogStore"):
            await a.reopen()
        assert a.state == "stopped"
        await a.reopen(store=logs)
        await ran(a, [7])
        assert (await told(a))["counts"].stored == 6
        assert (await a.metrics()).cost.total == 0.75
    async with ct.Lab(url) as lab:
        a = await lab.start_experiment("a", capture="scope", store=logs, on_existing="resume")
        assert a.trials_done() == {("0", 0), ("1", 0), ("7", 0)}
        assert [event.seq for event in await a.events()] == list(range(1, 7))


async def test_what_was_flushed_is_there_after_a_crash(tmp_path, logs, monkeypatch):
    url = tmp_path / "runs.db"
    async with ct.Lab(url, store=logs) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await ran(exp, range(3))
        assert (await exp.flush()).complete
        (tmp_path / "copy").mkdir()
        for file in tmp_path.glob("runs.db*"):
            shutil.copy(file, tmp_path / "copy" / file.name)
        with monkeypatch.context() as patched:
            patched.setattr(durable, "OPEN", set())
            async with ct.Lab(tmp_path / "copy" / "runs.db", store=logs) as again:
                (found,) = again.list_experiments()
                assert (found.state, found.counts.stored) == ("interrupted", 6)
                assert len(found.trials_done()) == 3


async def test_what_another_lab_runs_is_not_opened_a_second_time(url, logs):
    async with ct.Lab(url, store=logs) as one:
        exp = await one.start_experiment("a", capture="scope")
        await ran(exp, range(2))
        await exp.flush()
        opened = []

        def noting(experiment_id, reader):
            opened.append(experiment_id)
            return logs(experiment_id, reader)

        async with ct.Lab(url, store=noting) as other:
            (seen,) = other.list_experiments()
            assert seen.state == "running"
            with pytest.raises(StoreRefused, match="it is written by another lab, of this process"):
                await seen.events()
        assert opened == []


async def test_a_store_that_cannot_be_opened_hides_no_other_experiment(url, logs, tmp_path, caplog):
    async with ct.Lab(url, store=logs) as lab:
        for name in "ab":
            async with lab.experiment(name) as exp:
                await ran(exp, range(2))
    log = next((tmp_path / "logs").glob("a-*.log"))
    log.write_bytes(b"\0" * 20 + log.read_bytes()[20:])
    async with ct.Lab(url, store=logs) as lab:
        a, b = lab.list_experiments()
        assert f"experiment {a.id!r} is without its events" in caplog.text
        assert len(await b.events()) == 4
        assert len(await a.trials()) == 2
        with pytest.raises(StoreRefused, match="bytes changed"):
            await a.events()


async def test_trouble_of_either_half_is_told_and_flush_knows(tmp_path, monkeypatch):
    from crucible_telemetry.errors import StoreUnavailable

    async with ct.Lab(tmp_path / "runs.db", store=Noting) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await ran(exp, range(2))
        await exp.flush()
        Noting.made[-1].failing = full_disk()
        await ran(exp, [2])
        assert (await exp.flush()).failed == 2
        assert "No space left" in exp.health().store.reason
        Noting.made[-1].failing = None
        assert (await exp.flush()).complete

        async def away(_change):
            raise StoreUnavailable("runs.db", "disk full")

        with monkeypatch.context() as patched:
            patched.setattr(lab._durable.keep, "write", away)
            await ran(exp, [3])
            assert not (await exp.flush()).complete
            assert exp.health().store.state == "waiting"
            assert "disk full" in exp.health().store.reason
        async with asyncio.timeout(5):
            while not (await exp.flush()).complete:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_an_archive_comes_back_into_a_lab_with_a_store_of_its_own(tmp_path, logs):
    async with ct.Lab() as lab, lab.experiment("a") as exp:
        await ran(exp, range(3))
        await exp.stop()
        await exp.archive(tmp_path / "archive")
        events = await exp.events()
    async with ct.Lab(tmp_path / "runs.db", store=logs) as lab:
        back = await lab.restore(tmp_path / "archive")
        assert await back.events() == events
    async with ct.Lab(tmp_path / "runs.db", store=logs) as lab:
        (back,) = lab.list_experiments()
        assert await back.events() == events
        assert len(await back.trials()) == 3
        await back.archive(tmp_path / "again")
    async with ct.Lab() as lab:
        assert await (await lab.restore(tmp_path / "again")).events() == events


async def test_a_partial_names_no_store_but_works(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        store = partial(LogStore, tmp_path / "a.log")
        async with lab.experiment("a", store=store) as exp:
            await ran(exp, range(2))
        await exp.reopen()  # its store is open still
        await ran(exp, [2])
        await exp.stop()
        assert [event.seq for event in await exp.events()] == list(range(1, 7))
