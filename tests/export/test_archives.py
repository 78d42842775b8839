"""Archives: an experiment leaves a lab as a folder of files, and comes back bit for bit."""

import hashlib
import json
import math
import os
import shutil
from datetime import timedelta

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from strategies import ANYTHING, ODD_KEY

import crucible_telemetry as ct
from crucible_telemetry.events.columns import FILL
from crucible_telemetry.events.event import GENERIC_SHAPE

pytestmark = pytest.mark.asyncio
KINDS = ["parquet", "jsonl"]


async def told(exp):
    """Everything that can be asked of an experiment, as text: equal to the bit."""
    return [
        repr(await exp.events()),
        repr(await exp.metrics(by="event")),
        repr(await exp.trials()),
        repr(await exp.windowed_metrics(0.001)),
        repr((exp.spec, exp.counts, exp.pause_count, exp.active_seconds, exp.paused_seconds)),
    ]


async def filled(lab, n=3000, **options):
    """An experiment with all that an archive has to hold."""
    async with lab.experiment("to keep", tags=["x"], metadata={"seed": 7}, **options) as exp:
        for i in range(n):
            ct.execute_nowait("llm.request.stop", {"duration": i * 7}, {"model": f"m-{i % 5}"})
        ct.execute_nowait(
            "odd", {"nan": math.nan, "huge": 2**80}, {"s": "\ud800", "b": b"\x00", 3: "x"}
        )
        await exp.pause()
        await exp.resume()
        for item in range(3):
            async with exp.trial(item=item) as trial:
                with ct.span("work"):
                    ct.execute_nowait("plain")
                trial.score(bleu=item / 3, nan=math.nan)
        async with exp.trial(item="bad") as trial:
            trial.fail("no")
    return exp


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["memory", "a.db"])
@pytest.mark.parametrize("target", ["memory", "b.db"])
async def test_what_was_archived_comes_back_bit_for_bit(tmp_path, source, target, kind):
    def url(name):
        return name if name == "memory" else tmp_path / name

    async with ct.Lab(url(source)) as lab:
        exp = await filled(lab)
        manifest = await exp.archive(tmp_path / "kept", format=kind)
        assert exp.state == "archived"
        before = await told(exp)
    assert (manifest.events, manifest.trials, manifest.complete) == (3010, 4, True)
    async with ct.Lab(url(target)) as lab:
        back = await lab.restore(tmp_path / "kept")
        assert (back.id, back.state) == (exp.id, "stopped")
        assert await told(back) == before
        assert lab.list_experiments() == [back]
    if target != "memory":
        async with ct.Lab(url(target)) as lab:
            assert await told(lab.get_experiment(exp.id)) == before


async def test_an_archive_comes_back_into_a_shared_server(tmp_path):
    pytest.importorskip("asyncpg", reason="asyncpg is optional")
    import servers

    url = servers.postgres().url()
    async with ct.Lab() as lab:
        exp = await filled(lab, n=20_000)
        await exp.archive(tmp_path / "kept", format="jsonl")
        before = await told(exp)
    async with ct.Lab(url) as lab:
        assert await told(await lab.restore(tmp_path / "kept")) == before
    async with ct.Lab(url) as lab:
        back = lab.get_experiment(exp.id)
        assert await told(back) == before
        await back.archive(tmp_path / "again", format="jsonl")
    async with ct.Lab() as lab:
        assert await told(await lab.restore(tmp_path / "again")) == before


@pytest.mark.parametrize("n", [0, 1, 8192, 20_000])
async def test_archives_of_any_length_are_whole(tmp_path, monkeypatch, n):
    monkeypatch.setattr("crucible_telemetry.export.packing.PART_ROWS", 9_000)
    async with ct.Lab() as lab:
        async with lab.experiment("long") as exp:
            for i in range(n):
                ct.execute_nowait("x", {"i": i})
                if i % 4096 == 0:
                    await exp.flush()
        manifest = await exp.archive(tmp_path / "a", format="jsonl")
        rows = [part.rows for part in manifest.of("block")]
        assert sum(rows) == n
        assert max(rows, default=0) <= 9_000
        assert len(rows) == -(-n // 9_000)
    async with ct.Lab() as lab:
        back = await lab.restore(tmp_path / "a")
        assert [event.measurements["i"] for event in await back.events()] == list(range(n))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    numbers=st.dictionaries(ODD_KEY, ANYTHING, max_size=3),
    words=st.dictionaries(ODD_KEY, ANYTHING, max_size=3),
)
async def test_any_event_comes_back_as_it_was(tmp_path, numbers, words):
    async with ct.Lab() as lab:
        async with lab.experiment("any") as exp:
            ct.execute_nowait("any.event", numbers, words)
        await exp.archive(tmp_path / exp.id)
        back = await lab.restore(tmp_path / exp.id, on_existing="new")
        before, after = await exp.events(), await back.events()
        assert repr([(e.measurements, e.metadata) for e in after]) == repr(
            [(e.measurements, e.metadata) for e in before]
        )


async def test_an_archive_says_where_it_was_made_and_lets_other_programs_read_it(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is optional")
    async with ct.Lab() as lab:
        exp = await filled(lab, n=10, seed=11)
        await exp.archive(tmp_path / "a")
    said = json.loads((tmp_path / "a/manifest.json").read_text())["archive"]
    assert said["options"]["seed"] == 11
    assert said["options"]["metadata"] == {"seed": 7}
    assert said["environment"]["packages"]["numpy"]
    assert said["environment"]["machine"]["processors"] >= 1
    assert {"git", "python"} <= said["environment"].keys()
    (events,) = (tmp_path / "a/events").iterdir()
    (trials,) = (tmp_path / "a/tables").iterdir()
    assert pq.read_table(events).column("seq").to_pylist() == list(range(1, said["events"] + 1))
    assert pq.read_table(trials).column("item").to_pylist() == ["0", "1", "2", "bad"]


async def test_an_environment_names_commit_changes_and_graphics_cards(tmp_path, monkeypatch):
    from crucible_telemetry.export.environment import environment

    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB, 550.54'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    told = environment()
    assert told["git"] is None
    assert told["machine"]["gpus"] == ["NVIDIA H100, 81559 MiB, 550.54"]
    assert told["crucible_telemetry"] == ct.__version__
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), (*name, "commit", "-q", "--allow-empty", "-m", "one")):
        await anyio.run_process(["git", *words])
    found = environment()["git"]
    assert len(found["commit"]) == 40
    assert found["changed"]  # the tool itself is in no commit


HOPS = ["memory", "sqlite", "postgres", "memory"]


@pytest.mark.parametrize("kind", KINDS)
async def test_hard_values_go_through_every_store_and_come_out_as_they_went_in(tmp_path, kind):
    pytest.importorskip("asyncpg", reason="asyncpg is optional")
    import servers
    from faults.test_f11_kept import filled as hard

    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is optional")
    urls = {"memory": "memory", "sqlite": tmp_path / "hop.db", "postgres": servers.postgres().url()}
    async with ct.Lab() as lab:
        exp = await hard(lab)
        wanted, raw = await told(exp), await payload_hash(exp)
        await exp.archive(tmp_path / "0", format=kind)
    for hop, store in enumerate(HOPS):
        async with ct.Lab(urls[store]) as lab:
            back = await lab.restore(tmp_path / f"{hop}")
            assert await told(back) == wanted, store
            await back.archive(tmp_path / f"{hop + 1}", format=kind)
        if store != "memory":
            async with ct.Lab(urls[store], read_only=True) as lab:
                again = lab.get_experiment(exp.id)
                assert await payload_hash(again) == raw, store
    hashes = [copies_hash(tmp_path / f"{hop}") for hop in range(len(HOPS) + 1)]
    assert len(set(hashes)) == 1


async def payload_hash(exp):
    """Of every figure, flag and word in the columns of an experiment, and of its rows under their shapes."""
    parts, reader = await exp._parts(None)
    found = hashlib.sha256()
    for part in parts:
        for at, row in enumerate(part.decoded(np.arange(len(part)))):
            shape = int(part.shape[at])
            keys = reader.keys(shape) if shape != GENERIC_SHAPE else ()
            found.update(ascii((row[0], row[3:], keys, part.seqs(np.array([at])))).encode())
            figures = {name: int(column[at]) for name, column in part.optional().items()}
            whole = {n: v for n, v in figures.items() if v != FILL[n]}
            words = reader.model(int(part.model[at])), reader.error(int(part.error[at]))
            found.update(ascii((whole, words, int(part.flags[at]), int(part.outcome[at]))).encode())
    return found.hexdigest()


def copies_hash(archive):
    """Of the copies of events that other programs read, without the words' numbers in a Parquet file."""
    found = hashlib.sha256()
    for path in sorted((archive / "events").iterdir()):
        for event in ct.read_events(path):
            found.update(ascii(event).encode())
    return found.hexdigest()


async def test_a_restored_experiment_goes_on_in_a_lab_that_lasts(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab)
        await exp.archive(tmp_path / "a")
    async with ct.Lab(tmp_path / "r.db") as lab:
        back = await lab.restore(tmp_path / "a")
        await back.reopen()
        with back.scope():
            ct.execute_nowait("more")
        async with back.trial(item="later"):
            pass
        await back.stop()
        seqs = [event.seq for event in await back.events()]
        assert seqs == list(range(1, 3012))
        assert [trial.item for trial in await back.trials()] == ["0", "1", "2", "bad", "later"]


async def test_an_id_that_is_there_is_refused_or_gets_a_new_one(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab, n=5)
        await exp.archive(tmp_path / "a")
        with pytest.raises(ct.ConfigurationError, match="is in this lab already"):
            await lab.restore(tmp_path / "a")
        other = await lab.restore(tmp_path / "a", on_existing="new")
        assert other.id != exp.id
        assert [e.measurements for e in await other.events()][:5] == [
            e.measurements for e in await exp.events()
        ][:5]
        with pytest.raises(ct.ConfigurationError, match="on_existing"):
            await lab.restore(tmp_path / "a", on_existing="maybe")


async def test_only_what_has_ended_is_archived_and_its_place_is_its_own(tmp_path):
    async with ct.Lab() as lab:
        running = await lab.start_experiment("running", capture="scope")
        with pytest.raises(ct.LifecycleError, match="cannot archive experiment .* it is running"):
            await lab.archive(running.id, tmp_path / "a")
        assert list(tmp_path.iterdir()) == []
        exp = await filled(lab, n=5)
        await exp.archive(tmp_path / "a")
        await running.stop()
        with pytest.raises(ct.ExportError, match=f"the archive of '{exp.id}' is there"):
            await running.archive(tmp_path / "a")
        assert running.state == "stopped"
        await exp.archive(tmp_path / "a", format="jsonl")  # again: it takes the place of the first
    assert len(list((tmp_path / "a/events").iterdir())) == 1
    async with ct.Lab() as lab:
        assert (await lab.restore(tmp_path / "a")).counts.stored == 15


async def test_where_an_experiment_was_archived_is_kept_by_a_lab_that_lasts(tmp_path):
    async with ct.Lab(tmp_path / "a.db") as lab:
        exp = await filled(lab, n=5)
    async with ct.Lab(tmp_path / "a.db") as lab:
        found = lab.get_experiment(exp.id)
        await found.archive(tmp_path / "kept")
    async with ct.Lab(tmp_path / "a.db") as lab:
        assert [one.state for one in lab.list_experiments()] == ["archived"]


async def test_a_file_to_write_on_exit_is_not_taken_over_from_an_archive(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab, n=5, export_on_exit=tmp_path / "x.jsonl")
        await exp.archive(tmp_path / "a")
    (tmp_path / "x.jsonl").unlink()
    async with ct.Lab(tmp_path / "r.db") as lab:
        back = await lab.restore(tmp_path / "a")
        await back.reopen()
        await back.stop()
    assert not (tmp_path / "x.jsonl").exists()


async def test_what_is_old_and_archived_is_pruned_and_said(tmp_path, caplog):
    async with ct.Lab(tmp_path / "a.db") as lab:
        exp, other = await filled(lab, n=5), await filled(lab, n=5)
        await exp.archive(tmp_path / "kept")
        assert await lab.prune(older_than=1) == []
        would = await lab.prune(older_than=timedelta(microseconds=1), dry_run=True)
        assert [(one.id, one.events) for one in would] == [(exp.id, 15)]
        assert caplog.messages == []
        gone = await lab.prune(older_than=timedelta(microseconds=1))
        assert gone == would
        assert caplog.messages == [f"pruned experiment {exp.id!r} (archived): 15 events deleted"]
        assert lab.list_experiments() == [other]
        await lab.prune(older_than=timedelta(microseconds=1), archived_only=False)
    async with ct.Lab(tmp_path / "a.db") as lab:
        assert lab.list_experiments() == []
        assert (await lab.restore(tmp_path / "kept")).counts.stored == 15


@pytest.mark.parametrize("url", ["", "ftp://x/y", "s3://", "a\0b"])
async def test_a_place_that_cannot_be_is_refused(url):
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match="url"):
            await lab.restore(url)


async def test_nothing_is_no_archive(tmp_path):
    async with ct.Lab() as lab:
        with pytest.raises(ct.UnreadableFile, match="no archive is there"):
            await lab.restore(tmp_path)
        with pytest.raises(ct.UnreadableFile, match="no archive is there"):
            await lab.restore(f"file://{tmp_path}/nowhere")
