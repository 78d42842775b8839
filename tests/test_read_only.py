"""A lab that is opened to be read: nothing is written, whoever else writes."""

import hashlib
import sqlite3

import pytest
import servers

import crucible_telemetry as ct


async def filled(path, n=50):
    async with ct.Lab(path) as lab:
        async with lab.experiment("a", condition="control", tags=["t"]) as exp:
            for i in range(n):
                async with ct.llm_call(provider="openai", model="gpt-4o") as call:
                    call.usage(input_tokens=i, output_tokens=1)
        return exp.id, (await exp.metrics()).to_dict()


def bytes_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.asyncio
async def test_it_reads_what_was_written_and_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "runs.db"
    one, figures = await filled(path)
    before = bytes_of(path)
    async with ct.Lab(path, read_only=True) as lab:
        exp = lab.get_experiment(one)
        assert exp.state == "stopped"
        assert (await exp.metrics()).to_dict() == figures
        assert (await lab.sql("select count(*) from events")).rows == [(100,)]
        assert await exp.count_events() == 100
    assert bytes_of(path) == before


@pytest.mark.asyncio
async def test_of_a_run_that_goes_on_it_reads_what_is_committed_and_as_it_was_at_the_opening(
    tmp_path,
):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as writing:
        exp = await writing.start_experiment("live", capture="scope")

        async def emit(n):
            with exp.scope():
                for i in range(n):
                    ct.execute_nowait("x.y", {"i": i})
            await exp.flush()

        await emit(10)
        async with ct.Lab(path, read_only=True) as reading:
            seen = reading.get_experiment(exp.id)
            assert seen.state == "running"
            assert 0 <= seen.active_seconds < 60
            for _ in range(40):  # small blocks are joined meanwhile; the view keeps its own
                await emit(300)
            assert [event.measurements["i"] for event in await seen.events()] == list(range(10))
        async with ct.Lab(path, read_only=True) as reading:
            assert await reading.get_experiment(exp.id).count_events() == 12_010
        assert exp.state == "running"
        await emit(1)
    assert (await two_states(path)) == ["stopped"]


async def two_states(path):
    async with ct.Lab(path, read_only=True) as lab:
        return [exp.state for exp in lab.list_experiments()]


@pytest.mark.asyncio
async def test_what_would_write_is_refused_and_named(tmp_path):
    path = tmp_path / "runs.db"
    await filled(path)
    async with ct.Lab(path) as writing:
        exp = await writing.start_experiment("live", capture="scope")
        async with ct.Lab(path, read_only=True) as lab:
            live = lab.get_experiment(exp.id)
            old = lab.list_experiments()[0]
            for act in (
                lab.start_experiment("new"),
                old.reopen(),
                live.pause(),
                live.stop(),
                live.cleanup(),
                old.cleanup(),
            ):
                with pytest.raises(ct.CrucibleError, match="read only|another lab"):
                    await act
            assert live.state == "running"
            await old.stop()  # nothing to do
    assert await two_states(path) == ["stopped", "stopped"]


@pytest.mark.asyncio
async def test_on_a_server_it_is_the_same():
    url = servers.postgres().url()
    with pytest.raises(ct.CrucibleError, match="holds no lab"):
        await ct.Lab(url, read_only=True).open()
    one, figures = await filled(url)
    async with ct.Lab(url) as writing:
        live = await writing.start_experiment("live", capture="scope")
        async with ct.Lab(url, read_only=True) as lab:
            assert {exp.id: exp.state for exp in lab.list_experiments()} == {
                one: "stopped",
                live.id: "running",
            }
            assert (await lab.get_experiment(one).metrics()).to_dict() == figures
            assert (await lab.sql("select count(*) from events")).rows == [(100,)]
            for act in (lab.start_experiment("x"), lab.get_experiment(one).cleanup()):
                with pytest.raises(ct.LabClosed, match="read only"):
                    await act
        assert live.state == "running"


@pytest.mark.asyncio
async def test_no_file_is_made_and_what_is_none_of_ours_is_refused(tmp_path):
    gone, other, text = tmp_path / "sub" / "no.db", tmp_path / "other.db", tmp_path / "x.db"
    with sqlite3.connect(other) as db:
        db.execute("create table t (a)")
    db.close()
    text.write_text("hello, this is a text and no database at all\n" * 50)
    for path, why in ((gone, "not there"), (other, "another program"), (text, "no SQLite")):
        with pytest.raises(ct.CrucibleError, match=why):
            await ct.Lab(path, read_only=True).open()
    assert not gone.parent.exists()
    with pytest.raises(ct.ConfigurationError, match="read_only"):
        ct.Lab(read_only=True)
    with pytest.raises(ct.ConfigurationError, match="read_only"):
        ct.Lab(gone, read_only="yes")
