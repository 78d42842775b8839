"""Several labs, of one process or of two, on one file: each writes its own, and nobody touches what another runs."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
import servers

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreRefused

pytestmark = pytest.mark.asyncio
CHILD = Path(__file__).with_name("two_labs_child.py")
NAME = "fault.numbered"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return tmp_path / "runs.db" if request.param == "sqlite" else servers.postgres().url()


async def emitted(exp, count):
    with exp.scope():
        for number in range(count):
            await ct.execute(NAME, {"n": number, "duration_ns": 1_000})


def begun(stack, url, label):
    """A child that has opened the lab."""
    child = subprocess.Popen(
        [sys.executable, CHILD, str(url), label],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(child)
    stack.callback(child.kill)
    assert child.stdout.readline() == "open\n", child.stderr.read()
    return child


def ended(child):
    """What it told when it was asked to end."""
    out, err = child.communicate("", timeout=30)
    assert child.returncode == 0, err
    return json.loads(out)


async def test_two_processes_write_at_full_load_and_neither_notices_the_other(url):
    with ExitStack() as stack:
        children = [begun(stack, url, label) for label in "ab"]
        await asyncio.sleep(1)
        told = [ended(child) for child in children]
    for one in told:
        assert one["heard"] == []
        assert one["complete"] == [True, True]
        assert one["commit_ms_max"] < 2_000
    async with ct.Lab(url) as lab:
        counts = {exp.id: exp.counts.stored for exp in lab.list_experiments()}
        assert counts == told[0]["emitted"] | told[1]["emitted"]
        for exp in lab.list_experiments():
            assert exp.state == "stopped"
            seen = 0
            async for page in exp.pages(size=4096):
                assert [event.measurements["n"] for event in page] == [
                    *range(seen, seen + len(page))
                ]
                seen += len(page)
            assert seen == counts[exp.id] > 500


async def test_what_another_process_runs_is_left_alone_and_its_owner_is_named(url, tmp_path):
    with ExitStack() as stack:
        child = begun(stack, url, "c")
        await asyncio.sleep(0.6)  # longer than a commit interval
        async with ct.Lab(url) as lab:
            exp = lab.list_experiments()[0]
            assert exp.state == "running"
            owner = re.escape(
                f"running in another lab, of process {child.pid} on {socket.gethostname()}"
            )
            since = r", since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00"
            for command in (
                exp.stop(),
                exp.pause(),
                exp.reopen(),
                exp.cleanup(),
                exp.archive(tmp_path / "archive"),
                lab.start_experiment(exp.name, capture="scope", on_existing="resume"),
            ):
                with pytest.raises(ct.LifecycleError, match=owner + since):
                    await command
            assert await lab.prune(timedelta(microseconds=1), archived_only=False) == []
            assert len(lab.list_experiments()) == 2
        told = ended(child)
    async with ct.Lab(url) as lab:
        assert {e.id: e.counts.stored for e in lab.list_experiments()} == told["emitted"]
    assert not (tmp_path / "archive").exists()


async def gone_on_elsewhere(url, one):
    """Another lab goes on with an experiment that this one believes to be at rest."""
    other = await ct.Lab(url).open()
    exp = await other.reopen_experiment(one)
    await emitted(exp, 5)
    assert (await exp.flush()).complete
    return other, exp


@pytest.mark.parametrize("found", [True, False], ids=["found", "ran here"])
async def test_what_another_lab_has_gone_on_with_since_is_neither_deleted_nor_overwritten(
    url, found, tmp_path
):
    lab = await ct.Lab(url).open()
    exp = await lab.start_experiment("a", capture="scope")
    await emitted(exp, 10)
    await exp.stop()
    if found:
        await lab.close()
        lab = await ct.Lab(url).open()
        (exp,) = lab.list_experiments()
    other, theirs = await gone_on_elsewhere(url, exp.id)
    for command in (exp.cleanup, exp.reopen, lambda: exp.archive(tmp_path / "a")):
        with pytest.raises(
            ct.LifecycleError, match=f"running in another lab, of .*{os.getpid()}|this process"
        ):
            await command()
    assert await lab.prune(timedelta(microseconds=1), archived_only=False) == []
    assert exp.state == "stopped"
    await theirs.stop()
    for command in (exp.cleanup, exp.reopen):
        with pytest.raises(
            StoreRefused, match="was gone on with by another lab; open this one again"
        ):
            await command()
    await other.close()
    await lab.close()
    async with ct.Lab(url) as again:
        (exp,) = again.list_experiments()
        assert exp.state == "stopped"
        assert exp.counts.stored == len(await exp.events()) == 15
        await exp.cleanup()
        assert again.list_experiments() == []


async def test_what_comes_late_here_does_not_overwrite_what_another_lab_writes(url):
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 10)
        with exp.scope():
            await exp.stop()
            other, theirs = await gone_on_elsewhere(url, exp.id)
            for _ in range(3):
                ct.execute_nowait(NAME, {"n": -1})  # late: a count that changes its record
                await lab._durable.writer.commit()
                lab._durable.writer.sweep()
        assert exp.counts.late == 3
        async with ct.Lab(url, read_only=True) as view:
            assert view.list_experiments()[0].state == "running"
        await emitted(theirs, 5)
        assert (await theirs.flush()).complete
        await other.close()
    async with ct.Lab(url) as again:
        (exp,) = again.list_experiments()
        assert (exp.state, exp.counts.stored, exp.counts.late) == ("stopped", 20, 0)


async def test_what_another_lab_has_begun_since_is_not_replaced_by_an_archive_of_it(url, tmp_path):
    here, other = await ct.Lab(url).open(), await ct.Lab(url).open()
    exp = await other.start_experiment("a", capture="scope")
    await emitted(exp, 10)
    await exp.checkpoint(tmp_path / "checkpoint")
    await emitted(exp, 10)
    assert (await exp.flush()).complete
    with pytest.raises(ct.ConfigurationError, match="is in this lab already"):
        await here.restore(tmp_path / "checkpoint")
    copy = await here.restore(tmp_path / "checkpoint", on_existing="new")
    assert (copy.counts.stored, copy.id == exp.id) == (10, False)
    await emitted(exp, 10)
    assert (await exp.flush()).complete
    assert (await here.close(), await other.close()) == ({}, {})
    async with ct.Lab(url) as again:
        assert len(await again.get_experiment(exp.id).events()) == 30


async def test_an_archive_that_is_restored_twice_at_once_is_there_once(url, tmp_path):
    async with ct.Lab() as lab, lab.experiment("a") as exp:
        await emitted(exp, 3_000)
    await exp.archive(tmp_path / "archive")
    async with ct.Lab(url) as lab:
        with anyio.fail_after(20):
            found = await asyncio.gather(
                *[lab.restore(tmp_path / "archive") for _ in range(2)], return_exceptions=True
            )
        # Whichever of them comes first.
        assert {type(one) for one in found} == {ct.Experiment, ct.ConfigurationError}
    async with ct.Lab(url) as lab:
        (exp,) = lab.list_experiments()
        assert len(await exp.events()) == 3_000


async def test_what_another_lab_has_deleted_is_gone_and_not_damaged(url):
    async with ct.Lab(url) as lab, lab.experiment("a") as exp:
        await emitted(exp, 10)
    async with ct.Lab(url) as here, ct.Lab(url) as other:
        await other.cleanup(exp.id)
        (found,) = here.list_experiments()
        for verb in (found.events, found.metrics, found.count_events):
            with pytest.raises(StoreRefused, match="is not there any more: it was deleted"):
                await verb()
        with pytest.raises(StoreRefused, match="deleted"):
            await here.reopen_experiment(exp.id)
        await here.refresh()
        assert here.list_experiments() == []
