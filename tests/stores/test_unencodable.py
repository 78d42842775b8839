"""Names, options and scores that no file can hold as they are: the lab keeps them marked, and its other experiments."""

import math

import pytest
import servers

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio

LOOP: dict = {}
LOOP["self"] = LOOP
STORES = {
    "sqlite": lambda folder: f"sqlite:///{folder}/runs.db",
    "postgres": lambda _: servers.postgres().url(),
}


@pytest.mark.parametrize("store", STORES)
async def test_what_cannot_be_encoded_is_marked_and_keeps_no_other_experiment_from_being_kept(
    store, tmp_path
):
    url = STORES[store](tmp_path)
    async with ct.Lab(url) as lab:
        good = await lab.start_experiment("good", capture="scope")
        odd = await lab.start_experiment(
            "odd \ud800", tags=["\udfff"], metadata={"seed": 2**80, "loop": LOOP}, capture="scope"
        )
        async with odd.trial(item="\ud800") as trial:
            trial.score(huge=10**40, nan=math.nan, loop=LOOP)
        async with good.scope():
            ct.execute_nowait("a.b")
        assert (await good.flush()).complete
        assert (await odd.flush()).complete
    async with ct.Lab(url) as lab:
        good, odd = lab.list_experiments()
        assert len(await good.events()) == 1
        assert (odd.name, odd.spec.tags) == ("odd \\ud800", ("\\udfff",))
        assert odd.spec.metadata["seed"] == {"crucible:int": str(2**80)}
        (trial,) = await odd.trials()
        assert trial.item == "\\ud800"
        assert trial.scores["huge"] == {"crucible:int": str(10**40)}
        assert math.isnan(trial.scores["nan"])
