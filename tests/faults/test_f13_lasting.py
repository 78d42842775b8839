"""F13 in a lab that lasts: cancelled at any point, a command is done or can be given again; what was accepted is kept."""

import asyncio
import random

import pytest
from faults.ledger import NAME, stored_numbers

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio
RUNS = 25
LIMIT_S = 30


@pytest.fixture
def runs(request):
    return max(RUNS, request.config.getoption("--deep"))


async def a_while(chance):
    """Some turns of the loop, or some milliseconds: commits are made in a thread."""
    for _ in range(chance.randrange(25)):
        await asyncio.sleep(0)
    if chance.random() < 0.5:
        await asyncio.sleep(chance.random() * 0.012)


async def cut_off(command, chance):
    """Begin a command and cancel it somewhere; what it raised, or None."""
    task = asyncio.ensure_future(command())
    await a_while(chance)
    task.cancel()
    (raised,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), LIMIT_S)
    return raised if isinstance(raised, BaseException) else None


async def emitted(exp, first, count):
    with exp.scope():
        for number in range(first, first + count):
            await ct.execute(NAME, {"n": number})


def others():
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def kept(path):
    """The numbers of each experiment as the file has them."""
    async with ct.Lab(path) as lab:
        return {e.name: (e.state, await stored_numbers(e)) for e in lab.list_experiments()}


async def test_f13_flush_stop_and_reopen_cut_off_anywhere(runs, tmp_path):
    path, chance = tmp_path / "runs.db", random.Random(13)
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        for run in range(runs):
            await emitted(exp, 10 * run, 10)
            await cut_off(exp.flush, chance)
            assert (await asyncio.wait_for(exp.flush(), LIMIT_S)).complete
            await cut_off(exp.stop, chance)
            await asyncio.wait_for(exp.stop(), LIMIT_S)
            assert exp.state == "stopped"
            await cut_off(exp.reopen, chance)
            if exp.state != "running":
                await asyncio.wait_for(exp.reopen(), LIMIT_S)
            assert exp.state == "running"
            assert exp.live().summary.total_events == 10 * (run + 1)
        assert await stored_numbers(exp) == list(range(10 * runs))
        assert exp.counts.emitted == exp.counts.accounted == 10 * runs
    assert await kept(path) == {"a": ("stopped", list(range(10 * runs)))}


async def test_f13_starting_and_cleaning_up_cut_off_anywhere_leave_all_or_nothing(runs, tmp_path):
    path, chance = tmp_path / "runs.db", random.Random(14)
    async with ct.Lab(path) as lab:
        for _ in range(runs):
            await cut_off(lambda: lab.start_experiment("new", capture="scope"), chance)
            for exp in lab.list_experiments():
                assert exp.state == "running"
                await emitted(exp, 0, 3)
                await exp.stop()
                await cut_off(exp.cleanup, chance)
                if lab.list_experiments():
                    await asyncio.wait_for(exp.cleanup(), LIMIT_S)
            assert not lab.list_experiments()
        assert {child.name for child in lab.tree().children} == {"writer"}
    assert await kept(path) == {}


async def test_f13_opening_and_closing_cut_off_anywhere_save_everything(runs, tmp_path):
    path, chance = tmp_path / "runs.db", random.Random(15)
    before = others()
    for run in range(runs):
        lab = ct.Lab(path)
        if await cut_off(lab.open, chance) is not None:
            await asyncio.wait_for(lab.close(), LIMIT_S)
            lab = await ct.Lab(path).open()
        if run == 0:
            exp = await lab.start_experiment("a", capture="scope")
        else:
            (exp,) = lab.list_experiments()
            await exp.reopen()
        await emitted(exp, 10 * run, 10)
        await cut_off(lab.close, chance)
        assert await asyncio.wait_for(lab.close(), LIMIT_S) == {}
        assert others() == before
    assert await kept(path) == {"a": ("stopped", list(range(10 * runs)))}


async def test_f13_checkpoints_and_archives_cut_off_anywhere_are_made_again_whole(runs, tmp_path):
    path, chance = tmp_path / "runs.db", random.Random(16)
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        for run in range(runs // 5):
            await emitted(exp, 10 * run, 10)
            await cut_off(lambda: exp.checkpoint(tmp_path / "c", format="jsonl"), chance)
            await asyncio.wait_for(exp.checkpoint(tmp_path / "c", format="jsonl"), LIMIT_S)
        await exp.stop()
        await cut_off(lambda: exp.archive(tmp_path / "a", format="jsonl"), chance)
        await asyncio.wait_for(exp.archive(tmp_path / "a", format="jsonl"), LIMIT_S)
        numbers = await stored_numbers(exp)
        async with ct.Lab() as other:
            for place in ("c", "a"):
                back = await other.restore(tmp_path / place, on_existing="new")
                assert await stored_numbers(back) == numbers
    assert await kept(path) == {"a": ("archived", numbers)}
