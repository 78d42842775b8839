"""Experiments that go on: after their process died, after they were stopped; and those that must not."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from datetime import date

import pytest

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.lab import durable

pytestmark = pytest.mark.asyncio
NAME = "fault.numbered"


@pytest.fixture
def url(tmp_path):
    return tmp_path / "runs.db"


@asynccontextmanager
async def after_a_crash(url, folder, monkeypatch):
    """A lab on what is on the disk at this moment, as if nobody had closed anything."""
    copies = folder / "copy"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for file in url.parent.glob("runs.db*"):
        shutil.copy(file, copies / file.name)
    with monkeypatch.context() as patched:
        patched.setattr(durable, "OPEN", set())
        async with ct.Lab(copies / "runs.db") as lab:
            yield lab


async def emitted(exp, count, name=NAME):
    with exp.scope():
        for number in range(count):
            await ct.execute(name, {"n": number, "duration_ns": 1_000})


# -- what a crash leaves ------------------------------------------------------------------------


async def test_a_trial_that_ended_before_a_flush_is_done_after_a_crash(url, tmp_path, monkeypatch):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        async with exp.trial(item="q1") as trial:
            await ct.execute(NAME, {"n": 1})
            await exp.flush()
            trial.score(correct=True)
        await exp.flush()  # no event has come since the last
        async with after_a_crash(url, tmp_path, monkeypatch) as again:
            (exp,) = again.list_experiments()
            assert exp.trials_done() == {("q1", 0)}
            assert (await exp.trials())[0].scores == {"correct": True}


async def test_a_score_given_after_the_trial_is_kept_by_a_flush(url, tmp_path, monkeypatch):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        async with exp.trial(item="q1") as trial:
            await ct.execute(NAME, {"n": 1})
        await exp.flush()
        trial.score(graded=0.5)
        await exp.flush()
        async with after_a_crash(url, tmp_path, monkeypatch) as again:
            assert (await again.list_experiments()[0].trials())[0].scores == {"graded": 0.5}


async def test_a_pause_is_known_after_a_crash_in_it(url, tmp_path, monkeypatch):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 3)
        await exp.flush()
        await exp.pause()
        await exp.flush()
        async with after_a_crash(url, tmp_path, monkeypatch) as again:
            (exp,) = again.list_experiments()
            assert exp.state == "interrupted"
            assert exp.pause_count == 1
            await exp.reopen()
            assert exp.state == "running"
            assert exp.pause_count == 1


async def test_what_was_not_flushed_is_written_within_the_commit_interval(
    url, tmp_path, monkeypatch
):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        async with exp.trial(item="q1"):
            await ct.execute(NAME, {"n": 1})
        await exp.pause()
        await asyncio.sleep(0.5)
        async with after_a_crash(url, tmp_path, monkeypatch) as again:
            (exp,) = again.list_experiments()
            assert exp.counts.stored == 1
            assert exp.trials_done() == {("q1", 0)}
            assert exp.pause_count == 1


async def test_a_trial_that_was_cut_off_is_open_not_done_and_runs_again(url, tmp_path, monkeypatch):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment(
            "a", capture="scope", sample_size=2, stop_at_sample_size=True
        )
        async with exp.trial(item="q0"):
            await ct.execute(NAME, {"n": 0})
        async with exp.trial(item="q1"):
            await ct.execute(NAME, {"n": 1})
            await exp.flush()
            async with after_a_crash(url, tmp_path, monkeypatch) as again:
                (exp,) = again.list_experiments()
                await exp.reopen()
                run = []
                async for trial in again.trials(exp, items=["q0", "q1", "q2"], skip_done=True):
                    async with trial:
                        run.append(trial.item)
                        await ct.execute(NAME, {"n": 2})
                assert run == ["q1"]  # q0 is done, and q1 completes the sample of two
                assert exp.trials_done() == {("q0", 0), ("q1", 0)}


async def test_a_sample_of_operations_counts_those_of_the_earlier_process(url):
    options = {"sample_size": 5, "stop_at_sample_size": True, "capture": "scope"}
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", **options)
        await emitted(exp, 3, "llm.request.stop")
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", on_existing="resume", **options)
        await emitted(exp, 9, "llm.request.stop")
        await exp.flush()
        assert exp.counts.stored == 5
        assert exp.counts.emitted == exp.counts.accounted == 12


# -- going on -----------------------------------------------------------------------------------


async def test_a_stopped_experiment_goes_on_with_seq_board_counts_and_trials(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", metadata={"seed": 1})
        await emitted(exp, 5)
        async with exp.trial(item="q"):
            await ct.execute(NAME, {"n": 5})
        await exp.stop()
        await exp.reopen()
        await emitted(exp, 5)
        assert exp.live().summary.total_events == 11
        (first, last) = exp._life.gaps_us[0]
        assert last - first < 1_000_000
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment(
            "a", capture="scope", metadata={"seed": 1}, on_existing="resume"
        )
        await emitted(exp, 5)
        assert [event.seq for event in await exp.events()] == list(range(1, 17))
        live, rest = exp.live(), await exp.metrics()
        assert live.summary.total_events == rest.summary.total_events == 16
        assert live.latency.mean == rest.latency.mean
        assert exp.counts.emitted == exp.counts.accounted == 16
        assert exp.trials_done() == {("q", 0)}
        assert len(exp._life.gaps_us) == 2


async def test_what_reaches_a_scope_of_the_time_before_is_counted_as_late(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        with exp.scope():
            await ct.execute(NAME, {"n": 1})
            await exp.stop()
            ct.execute_nowait(NAME, {"n": 2})
            await exp.reopen()
            ct.execute_nowait(NAME, {"n": 3})  # the scope is the one that has ended
        assert exp.counts.late == 2
        assert exp.counts.emitted == exp.counts.accounted == 3


async def test_two_that_resume_one_name_at_once_get_one_experiment(url):
    async with ct.Lab(url) as lab:
        await (await lab.start_experiment("a", capture="scope")).stop()
    async with ct.Lab(url) as lab:
        both = await asyncio.gather(
            *(lab.start_experiment("a", capture="scope", on_existing="resume") for _ in range(2))
        )
        assert both[0] is both[1]
        assert both[0].state == "running"


async def test_code_is_given_again_or_given_up_and_other_options_stay(url):
    def keep(event, measurements, metadata):
        return measurements["n"] % 2 == 0

    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", event_filter=keep)
        await emitted(exp, 4)
        await exp.stop()
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        with pytest.raises(ct.ConfigurationError, match="event_filter: 'a' was started with it"):
            await exp.reopen()
        with pytest.raises(ct.ConfigurationError, match="event_filter"):
            await lab.start_experiment("a", capture="scope", on_existing="resume")
        with pytest.raises(ct.ConfigurationError, match="condition: was settled"):
            await exp.reopen(event_filter=keep, condition="other")
        assert exp.state == "stopped"
        await exp.reopen(event_filter=keep)
        await emitted(exp, 4)
        await exp.stop()
        assert exp.counts.stored == exp.counts.filtered == 4
        await exp.reopen(event_filter=None)
        await emitted(exp, 4)
        await exp.flush()
        assert exp.counts.stored == 8


async def test_options_that_are_data_are_compared_as_they_are_kept(url):
    options = {
        "capture": "scope",
        "metadata": {"seeds": (1, 2), "day": date(2026, 1, 2), "big": 2**100, "odd": "\ud800"},
        "tags": ["a", "b"],
        "metrics_config": {"custom": ["f1"]},
        "privacy": "none",
        "events": "fault.*",
    }
    async with ct.Lab(url) as lab:
        await lab.start_experiment("a", **options)
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", on_existing="resume", **options)
        assert exp.spec.metadata["seeds"] == [1, 2]
        await exp.stop()
        with pytest.raises(ct.ConfigurationError, match="tags: .* was started with"):
            await lab.start_experiment("a", on_existing="resume", **{**options, "tags": ["c"]})


async def test_trials_of_odd_items_and_scores_are_kept(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        async with exp.trial(item="\ud800") as trial:
            trial.score(big=2**100, nan=float("nan"))
        assert (await exp.flush()).complete
    async with ct.Lab(url) as lab:
        (record,) = await lab.list_experiments()[0].trials()
        assert record.item == "\\ud800"
        assert record.scores["big"] == {"crucible:int": str(2**100)}


async def test_streaming_custom_metrics_see_every_event_again(url):
    class Count:
        def __init__(self):
            self.n = 0

        def add(self, _event):
            self.n += 1

        def merge(self, other):
            self.n += other.n

        def result(self):
            return self.n

    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", custom_metrics={"n": Count()})
        await emitted(exp, 4)
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment(
            "a", capture="scope", custom_metrics={"n": Count()}, on_existing="resume"
        )
        await emitted(exp, 3)
        assert (await exp.metrics()).custom["n"] == 7
        exp.reset_live()
        await emitted(exp, 2)
        assert exp.live().summary.total_events == 2
        assert (await exp.metrics()).custom["n"] == 9


async def test_a_subscription_follows_the_experiment_that_goes_on(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 2)
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert [event.seq async for event in exp.subscribe()] == []  # from now on, and it has ended
        await exp.reopen()
        following = exp.subscribe()
        await emitted(exp, 2)
        await exp.stop()
        assert [event.seq async for event in following] == [3, 4]


async def test_trial_numbers_of_a_later_process_are_new(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        for item in range(3):
            async with exp.trial(item=item):
                await ct.execute(NAME, {"n": item})
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        await exp.reopen()
        async with exp.trial(item=9):
            await ct.execute(NAME, {"n": 9})
        assert [event.sample_id for event in await exp.events()] == ["0", "1", "2", "9"]
        assert len({record.number for record in await exp.trials()}) == 4


# -- what must not happen -----------------------------------------------------------------------


async def test_an_experiment_of_an_earlier_process_is_stopped_again_and_cleaned_up_at_once(url):
    async with ct.Lab(url) as lab:
        await lab.start_experiment("a", capture="scope")
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        await asyncio.wait_for(exp.stop(), 5)
        await asyncio.wait_for(exp.cleanup(), 5)
    async with ct.Lab(url) as lab:
        assert lab.list_experiments() == []


async def test_looking_at_experiments_writes_no_export_and_going_on_does(url, tmp_path):
    target = tmp_path / "a.jsonl"
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", export_on_exit=target)
        await emitted(exp, 2)
    target.unlink()
    async with ct.Lab(url) as lab:
        assert lab.list_experiments()
    assert not target.exists()
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment(
            "a", capture="scope", export_on_exit=target, on_existing="resume"
        )
        await emitted(exp, 2)
    assert len(target.read_text().splitlines()) == 4


async def test_what_another_lab_runs_is_read_here_and_nothing_else(url):
    async with ct.Lab(url) as one:
        running = await one.start_experiment("a", capture="scope")
        await emitted(running, 3)
        await running.flush()
        async with ct.Lab(url) as other:
            (exp,) = other.list_experiments()
            assert exp.state == "running"
            assert len(await exp.events()) == 3
            for command in (exp.stop, exp.pause, exp.reopen, exp.cleanup):
                with pytest.raises(ct.LifecycleError, match="in another lab"):
                    await command()
            with pytest.raises(ct.LifecycleError, match="cannot reopen"):
                await other.start_experiment("a", capture="scope", on_existing="resume")
            mine = await other.start_experiment("b", capture="scope")
            await emitted(mine, 3)
        await emitted(running, 3)
        await running.flush()
        assert running.state == "running"
    async with ct.Lab(url) as lab:
        assert [(e.name, e.counts.stored) for e in lab.list_experiments()] == [("a", 6), ("b", 3)]
        for exp in lab.list_experiments():
            assert [event.measurements["n"] for event in await exp.events()][:3] == [0, 1, 2]


async def test_of_two_labs_that_go_on_with_an_experiment_one_does(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 3)
    async with ct.Lab(url) as one, ct.Lab(url) as other:
        first, second = one.list_experiments()[0], other.list_experiments()[0]
        await first.reopen()
        with pytest.raises((ct.LifecycleError, StoreRefused), match="another lab"):
            await second.reopen()
        assert second.state == "stopped"
        await emitted(first, 3)
        await first.stop()
        with pytest.raises((ct.LifecycleError, StoreRefused), match="another lab"):
            await second.reopen()
    async with ct.Lab(url) as lab:
        assert lab.list_experiments()[0].counts.stored == 6


async def test_a_reopening_that_was_cancelled_leaves_an_experiment_that_can_be_reopened(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 3)
    for awaits in range(40):
        async with ct.Lab(url) as lab:
            (exp,) = lab.list_experiments()
            reopening = asyncio.ensure_future(exp.reopen())
            for _ in range(awaits):
                await asyncio.sleep(0.0002 * (awaits % 5))
            reopening.cancel()
            try:
                await reopening
            except asyncio.CancelledError:
                assert exp.state in ("stopped", "interrupted")
                await exp.reopen()
            assert exp.state == "running"
            await emitted(exp, 1)
            assert (await exp.flush()).complete
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert [event.seq for event in await exp.events()] == list(range(1, 44))


async def test_a_start_that_was_cancelled_leaves_nothing(url):
    for awaits in range(30):
        async with ct.Lab(url) as lab:
            starting = asyncio.ensure_future(lab.start_experiment("a", capture="process"))
            for _ in range(awaits % 8):
                await asyncio.sleep(0.0003 * (awaits // 8))
            starting.cancel()
            try:
                exp = await starting
            except asyncio.CancelledError:
                assert lab.list_experiments() == []
                ct.execute_nowait(NAME, {"n": 1})
            else:
                await exp.cleanup()
    async with ct.Lab(url) as lab:
        assert lab.list_experiments() == []
