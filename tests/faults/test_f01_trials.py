"""F1 and trials: one is kept as done with the last of its events, or after it, and is run again otherwise."""

import asyncio
from functools import partial

import pytest
from own_stores import LogStore

import crucible_telemetry as ct


async def as_kept(path):
    """(outcome, events) of each trial, as a process would find them that starts after a kill in this moment."""
    async with ct.Lab(path, read_only=True) as lab:
        exp = lab.list_experiments()[0]
        samples = [event.sample_id for event in await exp.events()]
        return {one.item: (one.outcome, samples.count(one.item)) for one in await exp.trials()}


async def one_trial(exp, item):
    async with exp.trial(item=item) as trial:
        await ct.execute("step", {"n": 1})
        trial.score(correct=True)
    return trial


@pytest.mark.asyncio
async def test_f01_a_trial_whose_events_still_wait_is_not_kept_as_done(tmp_path):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("e", capture="scope")
        await one_trial(exp, "a")
        await exp.flush()
        assert await as_kept(path) == {"a": ("ok", 1)}
        with exp._collector._lock:  # another thread drains, and is not through yet
            exp._collector._busy = True
            trial = await one_trial(exp, "b")
            assert await lab._durable.writer.commit() is None
            assert (await as_kept(path)).get("b", (None, 0)) == (None, 0)
            exp._collector._busy = False
        await exp.flush()
        assert await as_kept(path) == {"a": ("ok", 1), "b": ("ok", 1)}
        # What is said of it afterwards makes it open no more, whatever waits meanwhile.
        with exp._collector._lock:
            exp._collector._busy = True
            await one_trial(exp, "c")
            trial.score(bleu=0.5)
            assert await lab._durable.writer.commit() is None
            assert (await as_kept(path))["b"] == ("ok", 1)
            exp._collector._busy = False


class Failing(LogStore):
    """A user's store whose disk is full for a while."""

    full = False

    async def commit(self):
        if self.full:
            raise OSError(28, "No space left on device")
        await super().commit()


@pytest.mark.asyncio
async def test_f01_a_trial_is_not_kept_as_done_before_a_store_of_ones_own_has_its_events(tmp_path):
    path = tmp_path / "runs.db"

    async def outcomes():
        async with ct.Lab(path, read_only=True) as lab:
            return {one.item: one.outcome for one in await lab.list_experiments()[0].trials()}

    async with ct.Lab(path) as lab:
        store = partial(Failing, tmp_path / "e.log")
        exp = await lab.start_experiment("e", capture="scope", store=store)
        own = exp._collector.store.inner
        own.full = True
        await one_trial(exp, "a")
        assert (await exp.flush()).failed
        assert await lab._durable.writer.commit() is None
        assert (await outcomes()).get("a") is None
        own.full = False
        assert not (await exp.flush()).failed
        assert await outcomes() == {"a": "ok"}


@pytest.mark.asyncio
async def test_f01_a_trial_whose_events_all_were_filtered_is_kept_without_a_flush(tmp_path):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("e", capture="scope", event_filter=lambda *_: False)
        await one_trial(exp, "a")
        writer = lab._durable.writer
        async with asyncio.timeout(20):
            while (await as_kept(path)).get("a", (None, 0))[0] != "ok":
                await writer.settled()


@pytest.mark.asyncio
async def test_f01_a_checkpoint_has_no_trial_as_done_that_ended_after_its_events(
    tmp_path, monkeypatch
):
    async with ct.Lab() as lab, ct.Lab() as other:
        exp = await lab.start_experiment("e", capture="scope")
        await one_trial(exp, "a")
        settle = exp._settle

        async def settled_and_gone_on():
            await settle()
            await one_trial(exp, "b")

        monkeypatch.setattr(exp, "_settle", settled_and_gone_on)
        await exp.checkpoint(tmp_path / "kept")
        monkeypatch.undo()
        back = await other.restore(tmp_path / "kept")
        done = {one.item for one in await back.trials() if one.outcome == "ok"}
        assert done == {"a"}
        assert {event.sample_id for event in await back.events()} >= done
