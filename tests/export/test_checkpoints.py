"""Checkpoints: an archive that grows while the experiment runs, and is whole at every moment."""

import asyncio

import anyio
import pytest

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


def emit(n):
    for i in range(n):
        ct.execute_nowait("x", {"i": i})


async def restored(path):
    """What a lab makes of a checkpoint: (state, values, trials)."""
    async with ct.Lab() as lab:
        back = await lab.restore(path)
        values = [event.measurements.get("i") for event in await back.events()]
        return back.state, values, [trial.item for trial in await back.trials()]


async def test_a_checkpoint_of_a_running_experiment_is_an_interrupted_one(tmp_path):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("run", capture="scope")
        with exp.scope():
            emit(10)
            async with exp.trial(item="a"):
                emit(1)
            manifest = await exp.checkpoint(tmp_path / "c")
            assert not manifest.complete
            assert await restored(tmp_path / "c") == ("interrupted", [*range(10), 0], ["a"])
            emit(3)
            await exp.checkpoint(tmp_path / "c")
            assert await restored(tmp_path / "c") == (
                "interrupted",
                [*range(10), 0, *range(3)],
                ["a"],
            )


async def test_only_what_is_new_is_written_and_what_it_replaces_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("crucible_telemetry.export.packing.PART_ROWS", 100)
    written = set()
    async with ct.Lab() as lab, lab.experiment("run") as exp:
        await exp.checkpoint(tmp_path / "c", every=3600)
        for _ in range(8):
            emit(60)
            await lab._checkpoints[exp.id].take()
            blocks = list((tmp_path / "c/blocks").iterdir())
            written |= {(path.name, path.stat().st_mtime_ns) for path in blocks}
    names = [path.name for path in (tmp_path / "c/blocks").iterdir()]
    full = [name for name in names if int(name[13:25]) - int(name[:12]) == 99]
    assert (len(names), len(full)) == (5, 4)
    assert all(len([at for name, at in written if name == one]) == 1 for one in full)
    state, values, _ = await restored(tmp_path / "c")
    assert (state, len(values)) == ("stopped", 480)


async def test_a_checkpoint_that_is_cut_off_leaves_no_file_behind_for_good(tmp_path):
    async with ct.Lab() as lab, lab.experiment("run") as exp:
        await exp.checkpoint(tmp_path / "c", every=3600)
        for _ in range(20):
            emit(10)
            with anyio.move_on_after(0.002):
                await lab._checkpoints[exp.id].take()
            await restored(tmp_path / "c")  # whole at every moment
    assert len(list((tmp_path / "c/blocks").iterdir())) == 1
    assert len((await restored(tmp_path / "c"))[1]) == 200


async def test_checkpoints_end_with_the_experiment_by_a_last_one(tmp_path):
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("run", capture="scope")
        await exp.checkpoint(tmp_path / "c", every=3600)
        assert f"checkpoint-{exp.id}" in str(lab.tree())
        with exp.scope():
            emit(5)
        await exp.stop()
        assert "checkpoint" not in str(lab.tree())
    assert await restored(tmp_path / "c") == ("stopped", [*range(5)], [])


async def test_a_lab_that_closes_leaves_the_last_checkpoint(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("run", capture="scope")
        await exp.checkpoint(tmp_path / "c", every=3600)
        with exp.scope():
            emit(5)
    assert await restored(tmp_path / "c") == ("stopped", [*range(5)], [])


async def test_a_place_that_fails_for_a_while_gets_its_checkpoint_later_and_costs_no_event(
    tmp_path, caplog
):
    async with ct.Lab() as lab, lab.experiment("run") as exp:
        await exp.checkpoint(tmp_path / "c", every=0.02)
        (tmp_path / "c").rename(tmp_path / "away")
        (tmp_path / "c").write_text("in the way")
        emit(5)
        await asyncio.sleep(0.1)
        assert [m for m in caplog.messages if "no checkpoint" in m] == [
            m for m in caplog.messages if str(tmp_path / "c") in m
        ][:1]
        (tmp_path / "c").unlink()
        emit(5)
    assert len((await restored(tmp_path / "c"))[1]) == 10


async def test_an_archive_takes_the_place_of_its_checkpoints(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("run") as exp:
            emit(5)
            await exp.checkpoint(tmp_path / "c")
            emit(5)
        await exp.archive(tmp_path / "c")
    assert len(list((tmp_path / "c/blocks").iterdir())) == 1
    assert len((await restored(tmp_path / "c"))[1]) == 10


async def test_what_makes_no_sense_is_refused(tmp_path):
    async with ct.Lab() as lab:
        async with lab.experiment("run") as exp:
            with pytest.raises(ct.QueryError, match="every"):
                await exp.checkpoint(tmp_path / "c", every=0)
            with pytest.raises(ct.ConfigurationError, match="format"):
                await exp.checkpoint(tmp_path / "c", format="xml")
            await exp.checkpoint(tmp_path / "c", every=3600)
            with pytest.raises(ct.ConfigurationError, match="has checkpoints already"):
                await exp.checkpoint(tmp_path / "d", every=3600)
        with pytest.raises(ct.LifecycleError, match="stopped"):
            await exp.checkpoint(tmp_path / "d", every=3600)
