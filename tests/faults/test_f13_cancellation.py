"""F13: cancelled at any await, natively or by a scope: what was accepted stays, once; nothing hangs."""

import asyncio
import random
from collections import Counter

import anyio
import pytest
from faults.ledger import NAME, lawful, stored_numbers, whole

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


async def steps(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def nothing_lost(exp, begun):
    """The numbers begun are stored, once; each span that started has ended; nobody waits still."""
    await exp.flush()
    counts = lawful(exp)
    assert counts.emitted == counts.stored
    assert sorted(await stored_numbers(exp)) == sorted(begun)
    assert not exp.open_spans()
    assert not exp._collector._queue
    names = Counter(event.event_name for event in await exp.events())
    assert names["work.start"] == names["work.stop"] + names["work.exception"] > 0


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_f13_a_caller_cancelled_at_any_point_loses_no_accepted_event(how, request):
    """Every emit that began is accepted: `execute` appends before it waits."""
    runs = max(1500, request.config.getoption("--deep"))
    chance = random.Random(13)
    begun = []

    async def caller(run):
        for number in range(6):
            begun.append(100 * run + number)
            await ct.execute(NAME, {"n": begun[-1]})
            async with ct.span("work"):
                await asyncio.sleep(0)

    async with ct.Lab() as lab, lab.experiment("cancel", mailbox_size=8) as exp:
        for run in range(runs):
            if how == "task":
                tasks = [asyncio.create_task(caller(4 * run + i)) for i in range(4)]
                await steps(chance.randrange(12))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            else:
                async with anyio.create_task_group() as group:
                    for i in range(4):
                        group.start_soon(caller, 4 * run + i)
                    await steps(chance.randrange(12))
                    group.cancel_scope.cancel()
        assert exp.health().mailbox_peak <= 8 + 8
        await nothing_lost(exp, begun)


COMMANDS = {
    "flush": lambda exp: exp.flush(),
    "stop": lambda exp: exp.stop(),
    "metrics": lambda exp: exp.metrics(),
    "events": lambda exp: exp.events(),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_f13_a_command_cancelled_at_any_await_loses_nothing_and_can_be_given_again(command):
    async with ct.Lab() as lab:
        for cut in range(40):
            exp = await lab.start_experiment("command", capture="scope")
            with exp.scope():
                for number in range(10):
                    await ct.execute(NAME, {"n": number})
            task = asyncio.create_task(COMMANDS[command](exp))
            await steps(cut)
            finished = not task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.wait_for(COMMANDS[command](exp), 30)
            await asyncio.wait_for(exp.stop(), 30)
            await whole(exp, range(10))
            await exp.cleanup()
        assert finished, "the last cut comes after the end"
        assert not lab.tree().children


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_f13_closing_saves_everything_however_often_and_whenever_it_is_cancelled(
    cancels, tmp_path
):
    for cut in range(60):
        path = tmp_path / f"{cut}.jsonl"
        inside = asyncio.Event()

        async def program(path=path, inside=inside):
            async with ct.Lab() as lab, lab.experiment("close", export_on_exit=path):
                for number in range(10):
                    await ct.execute(NAME, {"n": number})
                inside.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(program())
        await inside.wait()
        for _ in range(cancels):
            task.cancel()
            await steps(cut)
        await asyncio.wait([task], timeout=60)
        assert task.done()
        assert path.exists(), cut
        assert len(path.read_text().splitlines()) == 10
        assert not [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]


async def test_f13_starting_cancelled_at_any_await_leaves_nothing_behind():
    async with ct.Lab() as lab:
        for cut in range(20):
            task = asyncio.create_task(lab.start_experiment("start", capture="scope"))
            await steps(cut)
            task.cancel()
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, ct.Experiment):
                await result.stop()
                await result.cleanup()
            await steps(20)
            assert not lab.list_experiments(), cut
            assert not lab.tree().children, cut


async def test_f14_a_hung_export_does_not_keep_a_lab_from_closing_and_is_reported(
    monkeypatch, caplog
):
    async def hangs(*_):
        await asyncio.sleep(10**9)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("crucible_telemetry.experiment.taking.write_files", hangs)
    lab = await ct.Lab(close_timeout_s=5).open()
    exp = await lab.start_experiment("hung", capture="scope", export_on_exit="never.jsonl")
    with exp.scope():
        await ct.execute(NAME, {"n": 1})
    began = loop.time()
    report = await lab.close()
    assert loop.time() - began <= 6
    assert report
    assert "not saved" in caplog.text
    assert await lab.close() is report, "a second call changes nothing"
    assert loop.time() - began <= 6
    await whole(exp, [1])


async def test_f14_an_export_that_fails_is_reported_and_the_others_are_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    lab = await ct.Lab().open()
    good = await lab.start_experiment("good", capture="scope", export_on_exit=tmp_path / "g.jsonl")
    bad = await lab.start_experiment(
        "bad", capture="scope", export_on_exit=tmp_path / "file" / "b.jsonl"
    )
    for exp in (good, bad):
        with exp.scope():
            await ct.execute(NAME, {"n": 1})
    report = await lab.close()
    assert set(report) == {bad.id}
    assert (tmp_path / "g.jsonl").exists()
