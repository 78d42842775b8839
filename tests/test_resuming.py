"""``on_existing="resume"`` in a lab that lasts: what goes on, what does not, and what has to be as it was."""

import asyncio
import shutil

import apsw
import numpy as np
import pytest

import crucible_telemetry as ct
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.lab import durable
from crucible_telemetry.lab.records import CALLABLES, GIVEN_AGAIN
from crucible_telemetry.stores.seals import sealed

pytestmark = pytest.mark.asyncio
NAME = "fault.numbered"


@pytest.fixture
def url(tmp_path):
    return tmp_path / "runs.db"


async def emitted(exp, count):
    with exp.scope():
        for number in range(count):
            await ct.execute(NAME, {"n": number, "duration_ns": 1_000})


def resumed(lab, name="a", **options):
    return lab.start_experiment(name, capture="scope", on_existing="resume", **options)


# -- states -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["archived", "failed"])
async def test_what_cannot_go_on_says_so_and_how_to_begin_anew(url, state, tmp_path):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 3)
        if state == "archived":
            await exp.stop()
            await exp.archive(tmp_path / "archive", format="jsonl")
        else:
            await exp.flush()
            exp._fail(RuntimeError("its collector crashed too often"))
        with pytest.raises(ct.ConfigurationError, match=f"is {state}; it cannot go on"):
            await resumed(lab)
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert exp.state == state
        with pytest.raises(ct.ConfigurationError, match=f"is {state}; it cannot go on"):
            await resumed(lab)
        with pytest.raises(ct.LifecycleError, match=f"cannot reopen .* it is {state}"):
            await exp.reopen()
        fresh = await lab.start_experiment("a", capture="scope", on_existing="new")
        assert fresh.id != exp.id
        assert await resumed(lab) is fresh
        assert len(await exp.events()) == 3


async def test_what_is_paused_stays_paused_when_it_is_resumed_in_its_process(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await exp.pause()
        assert await resumed(lab) is exp
        assert exp.state == "paused"


async def test_time_in_which_no_process_had_it_is_neither_active_nor_paused(
    url, tmp_path, monkeypatch
):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 1)
        await exp.pause()
        await asyncio.sleep(0.05)
        await exp.flush()
        (tmp_path / "copy").mkdir()
        for file in tmp_path.glob("runs.db*"):  # as it is when the process is killed now
            shutil.copy(file, tmp_path / "copy" / file.name)
    await asyncio.sleep(0.2)
    with monkeypatch.context() as patched:
        patched.setattr(durable, "OPEN", set())
        lab = await ct.Lab(tmp_path / "copy" / "runs.db").open()
    (exp,) = lab.list_experiments()
    assert (exp.state, exp.pause_count) == ("interrupted", 1)
    paused_s, active_s = exp.paused_seconds, exp.active_seconds
    assert paused_s < 0.2
    await asyncio.sleep(0.1)
    assert (exp.paused_seconds, exp.active_seconds) == (paused_s, active_s)
    await exp.reopen()
    assert (exp.state, exp.paused_seconds) == ("running", paused_s)
    assert exp.active_seconds - active_s < 0.1
    (pause,), (gap,) = exp._life.pauses_us, exp._life.gaps_us
    assert pause[0] <= pause[1] <= gap[0] < gap[1]
    await lab.close()


# -- options ------------------------------------------------------------------------------------

OTHER = {
    "hypothesis": "another", "condition": "treatment", "tags": ["x"], "metadata": {"seed": 2},
    "sample_size": 9, "events": "other.*", "sampling_rate": 0.5, "metrics_config": {"custom": ["f1"]},
    "privacy": "none", "privacy_sees": "raw", "mailbox_size": 99, "overflow": "drop_newest", "seed": 7,
    "capture": "process", "stop_at_sample_size": True,
}  # fmt: skip


async def test_every_option_is_either_data_and_stays_or_is_given_again():
    fields = set(ExperimentSpec.__struct_fields__) - {"name", "on_existing"}
    assert set(OTHER) | set(GIVEN_AGAIN) == fields
    assert not set(OTHER) & set(GIVEN_AGAIN)


@pytest.mark.parametrize("option", OTHER)
async def test_an_option_that_differs_is_refused_with_both_values_and_nothing_goes_on(url, option):
    first = {"capture": "scope", "sample_size": 5, "metadata": {"seed": 1}}
    async with ct.Lab(url) as lab:
        await emitted(await lab.start_experiment("a", **first), 2)
    async with ct.Lab(url) as lab:
        given = {**first, option: OTHER[option]}
        with pytest.raises(ct.ConfigurationError) as refused:
            await lab.start_experiment("a", on_existing="resume", **given)
        assert refused.value.option == option
        assert "was started with" in str(refused.value)
        assert "mappingproxy" not in str(refused.value)
        (exp,) = lab.list_experiments()
        assert exp.state == "stopped"
        with pytest.raises(ct.ConfigurationError, match=f"{option}: was settled"):
            await exp.reopen(**{option: OTHER[option]})
        exp = await lab.start_experiment("a", on_existing="resume", **first)
        assert exp.state == "running"


class Total:
    def calculate(self, events):
        return len(events)


CODE = {
    "event_filter": lambda *_: True, "sampling_strategy": lambda *_: True,
    "custom_metrics": {"n": Total()}, "enrichers": [lambda *_: None], "redact": lambda value: value,
}  # fmt: skip


@pytest.mark.parametrize("option", CODE)
async def test_code_has_to_be_given_again_or_given_up_by_name(url, option):
    assert set(CODE) == set(CALLABLES)
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", **{option: CODE[option]})
        await emitted(exp, 2)
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        for without in (lambda: resumed(lab), exp.reopen):
            with pytest.raises(ct.ConfigurationError, match=f"{option}: 'a' was started with it"):
                await without()
        assert exp.state == "stopped"
        assert len(await exp.events()) == 2  # reading needs none of it
        await resumed(lab, **{option: CODE[option]})
        await emitted(exp, 2)
        assert (await exp.metrics()).summary.total_events == 4
        await exp.stop()
        # Given up, it is not asked for again.
        await exp.reopen(**{option: None if option != "enrichers" else ()})
    async with ct.Lab(url) as lab:
        exp = await resumed(lab)
        assert exp.state == "running"


# -- trials -------------------------------------------------------------------------------------


async def a_night(url, items, ends):
    """One session of a run over items that fails at some and is cut off at the end of its list."""
    run = []
    async with ct.Lab(url) as lab:
        exp = await resumed(lab)
        async for trial in lab.trials(exp, items=items, repeats=2, skip_done=True):
            async with trial:
                run.append((trial.item, trial.repeat))
                await ct.execute(NAME, {"n": len(run)})
                if (trial.item, trial.repeat) in ends:
                    trial.fail("refused")
            if len(run) == 5:
                break
        numbers = [record.number for record in await exp.trials()]
        assert len(numbers) == len(set(numbers))
    return run


async def test_three_nights_of_one_run_do_every_trial_once_and_the_failed_ones_again(url):
    items = ["q0", "q1", "q2", "q3"]
    failing = {("q0", 0), ("q1", 1)}
    nights = [await a_night(url, items, failing), await a_night(url, items, ())]
    nights.append(await a_night(url, items, ()))
    everything = {(item, repeat) for item in items for repeat in range(2)}
    done = [key for night in nights for key in night]
    again = [key for key in everything if done.count(key) > 1]
    assert set(done) == everything
    assert set(again) <= failing
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert exp.trials_done() == everything
        assert len(await exp.trials()) == len(done)
        events = await exp.events()
        assert [event.seq for event in events] == list(range(1, len(done) + 1))
        assert [(event.sample_id, event.repeat) for event in events] == done


async def test_what_identifies_a_trial_is_a_number_that_is_read_again(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab, lab.experiment("a") as exp:
        for argument in ("repeat", "attempt"):
            for value in ("1", 1.5, None, 2**63, -(2**63) - 1):
                with pytest.raises(ct.ConfigurationError, match=f"{argument}.*want a"):
                    exp.trial(item="q", **{argument: value})
        for value in (np.int64(7), np.uint8(7), True, 2**63 - 1):
            async with exp.trial(item="q", repeat=value):
                await ct.execute("x")
    async with ct.Lab(tmp_path / "runs.db", read_only=True) as lab:
        (exp,) = lab.list_experiments()
        assert [repr(trial.repeat) for trial in await exp.trials()] == [
            "7",
            "7",
            "1",
            str(2**63 - 1),
        ]


async def test_a_trial_that_is_none_costs_no_event(tmp_path, caplog):
    async with ct.Lab(tmp_path / "runs.db") as lab, lab.experiment("a") as exp:
        for item in "pq":
            async with exp.trial(item=item):
                await ct.execute("x")
    file = apsw.Connection(str(tmp_path / "runs.db"))
    number = file.execute("SELECT min(number) FROM trials").get
    other = sealed(b"\x92\xc3\x80", "trial", exp.id, number)
    file.execute("UPDATE trials SET record = ? WHERE number = ?", (other, number))
    file.close()
    async with ct.Lab(tmp_path / "runs.db", read_only=True) as lab:
        (exp,) = lab.list_experiments()
        assert [trial.item for trial in await exp.trials()] == ["q"]
        assert [event.sample_id for event in await exp.events()] == ["p", "q"]
    assert f"trial {number} cannot be read" in caplog.text
