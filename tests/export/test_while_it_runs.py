"""What is taken from an experiment that runs: of a trial that has ended there, all events are there too."""

import pytest

import crucible_telemetry as ct
from crucible_telemetry.experiment import Experiment


async def one_trial(exp, item):
    async with exp.trial(item=item):
        await ct.execute("step", {"n": 1})


@pytest.fixture
def going_on(monkeypatch):
    """Whenever the events are looked at, a trial ends in the same moment."""
    moment = Experiment._moment

    async def moment_and_on(exp, wishes):
        found = await moment(exp, wishes)
        await one_trial(exp, f"later-{len(await exp.trials())}")
        return found

    monkeypatch.setattr(Experiment, "_moment", moment_and_on)


@pytest.mark.asyncio
async def test_a_file_of_trials_has_none_that_ended_after_the_events(tmp_path, going_on):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("e", capture="scope")
        await one_trial(exp, "a")
        await exp.export(tmp_path / "e.jsonl")
    run = await ct.load(tmp_path / "e.jsonl")
    assert [trial.item for trial in await run.trials()] == ["a"]
    assert [event.sample_id for event in await run.events()] == ["a"]


@pytest.mark.asyncio
async def test_sql_has_no_trial_as_ended_that_ended_after_the_events(going_on):
    pytest.importorskip("duckdb")
    async with ct.Lab() as lab:
        for name in ("e", "f"):
            await one_trial(await lab.start_experiment(name, capture="scope"), "a")
        found = await lab.sql(
            "select count(*) from trials t where outcome = 'ok' and not exists (select 1 from events e"
            " where e.experiment_id = t.experiment_id and e.sample_id = t.item)"
        )
        assert [tuple(row) for row in found] == [(0,)]
