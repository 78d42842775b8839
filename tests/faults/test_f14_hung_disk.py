"""F14: a disk that hangs or is full keeps neither emitters nor a close; what is not saved is said, per experiment."""

import asyncio
import threading
import time

import apsw
import pytest
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreUnavailable
from crucible_telemetry.stores import kept
from crucible_telemetry.stores.sqlite import SqliteKeep

pytestmark = pytest.mark.asyncio
NAME = "fault.numbered"


@pytest.fixture
def hanging(monkeypatch):
    """Writes hang while this is set."""
    hung, go_on = threading.Event(), threading.Event()
    plain = SqliteKeep._write

    def write(self, change):
        if hung.is_set():
            go_on.wait(30)
        return plain(self, change)

    monkeypatch.setattr(SqliteKeep, "_write", write)
    yield hung
    go_on.set()


async def emitted(exp, numbers):
    with exp.scope():
        for number in numbers:
            await ct.execute(NAME, {"n": number})


async def test_f14_a_close_returns_in_time_and_names_what_is_not_saved(tmp_path, hanging):
    lab = await ct.Lab(tmp_path / "runs.db", close_timeout_s=0.5).open()
    one = await lab.start_experiment("one", capture="scope")
    two = await lab.start_experiment("two", capture="scope")
    await emitted(one, range(5))
    await one.flush()
    hanging.set()
    await emitted(one, range(5, 8))
    await emitted(two, range(2))
    done = await two.flush(0.2)
    assert (done.timed_out, done.failed, done.complete) == (True, 2, False)
    began = time.monotonic()
    report = await lab.close()
    assert time.monotonic() - began < 1.5
    assert report[one.id].startswith("3 events are not on the disk")
    assert report[two.id].startswith("2 events are not on the disk")
    assert await lab.close() == report


async def test_f14_a_stop_and_a_start_wait_for_a_hung_disk_as_long_as_they_are_told(
    tmp_path, hanging
):
    async with ct.Lab(tmp_path / "runs.db", close_timeout_s=0.3) as lab:
        exp = await lab.start_experiment("one", capture="scope")
        hanging.set()
        await emitted(exp, range(3))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lab.start_experiment("two", capture="scope"), 0.2)
        await exp.stop()
        assert exp.state == "stopped"
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("command", ["cleanup", "reopen", "archive"])
async def test_f14_a_command_that_is_cancelled_leaves_a_hung_disk_behind(
    command, tmp_path, hanging, monkeypatch
):
    plain = SqliteKeep._claim

    def claim(self, *given):
        return plain(self, *given) if not hanging.is_set() else self._write(())

    monkeypatch.setattr(SqliteKeep, "_claim", claim)
    async with ct.Lab(tmp_path / "runs.db", close_timeout_s=0.3) as lab:
        exp = await lab.start_experiment("one", capture="scope")
        await emitted(exp, range(3))
        await exp.stop()
        acts = {
            "cleanup": exp.cleanup,
            "reopen": exp.reopen,
            "archive": lambda: exp.archive(tmp_path / "a", format="jsonl"),
        }
        hanging.set()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(acts[command](), 1.0)
        assert time.monotonic() - began < 2
        assert exp.state == "stopped"
        assert len(await exp.events()) == 3
        began = time.monotonic()
        await lab.close()
        assert time.monotonic() - began < 2
    hanging.clear()


async def test_f14_a_close_takes_as_many_commits_as_what_waits_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "GATHER_ROWS", 1_000)
    path, away = tmp_path / "runs.db", True
    plain = SqliteKeep.write

    async def write(self, change):
        if away:
            raise StoreUnavailable(self.url, "the disk is full")
        return await plain(self, change)

    lab = await ct.Lab(path).open()
    exp = await lab.start_experiment("one", capture="scope")
    monkeypatch.setattr(SqliteKeep, "write", write)
    await emitted(exp, range(30_000))
    assert (await exp.flush()).failed == exp.health().store.waiting == 30_000
    away = False
    assert await lab.close() == {}
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        assert (exp.state, exp.counts.stored) == ("stopped", 30_000)


async def test_f14_a_close_on_a_full_disk_names_what_stands_beside_the_events_too(
    tmp_path, monkeypatch
):
    lab = await ct.Lab(tmp_path / "runs.db").open()
    exp = await lab.start_experiment("one", capture="scope")
    async with exp.trial(item="q") as trial:
        await ct.execute(NAME, {"n": 1})
    assert (await exp.flush()).complete

    async def write(self, _change):
        raise StoreUnavailable(self.url, "the disk is full")

    monkeypatch.setattr(SqliteKeep, "write", write)
    trial.score(late=1.0)
    result = await exp.flush()
    assert not result.complete  # no event waits, and yet not all is kept
    report = await lab.close()
    assert report[exp.id].startswith("its state and trials are not on the disk: ")
    assert "the disk is full" in report[exp.id]


async def test_f03_a_file_that_is_locked_is_told_of_within_a_second_and_loses_nothing(tmp_path):
    heard = []
    ct.attach("locked", "crucible.store.*", lambda event, *_: heard.append(event))
    path = tmp_path / "runs.db"
    try:
        async with ct.Lab(path) as lab:
            exp = await lab.start_experiment("one", capture="scope")
            await emitted(exp, range(3))
            await exp.flush()
            other = apsw.Connection(str(path))
            other.execute("BEGIN IMMEDIATE")
            await emitted(exp, range(3, 9))
            await comes(lambda: exp.health().store.state != "ok", within_s=1)
            assert heard == ["crucible.store.waiting"]
            assert (await exp.flush()).failed == 6
            assert [e.measurements["n"] for e in await exp.events()] == list(range(9))
            began = time.monotonic()
            other.execute("ROLLBACK")
            other.close()
            while not (await exp.flush()).complete:
                assert time.monotonic() - began < 10
            assert exp.health().store.state == "ok"
            assert heard == ["crucible.store.waiting", "crucible.store.recovered"]
    finally:
        ct.detach("locked")
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        assert [e.measurements["n"] for e in await exp.events()] == list(range(9))
