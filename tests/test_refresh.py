"""`lab.refresh()`: what other labs do on the same file or server is seen, in handles given out before too."""

import pytest
import servers

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return tmp_path / "runs.db" if request.param == "sqlite" else servers.postgres().url()


@pytest.fixture(params=[False, True], ids=["writes", "read only"])
def read_only(request):
    return request.param


async def emit(exp, numbers):
    async with exp.scope():
        for n in numbers:
            ct.execute_nowait("x.stop", {"duration": n, "n": n})
    assert (await exp.flush()).complete


async def numbers(exp):
    return [event.measurements["n"] for event in await exp.events()]


async def test_what_others_start_and_write_is_seen_after_a_refresh(url, read_only):
    async with ct.Lab(url) as one:
        exp = await one.start_experiment("a", capture="scope", tags=["t"])
        await emit(exp, range(10))
        async with ct.Lab(url, read_only=read_only) as other:
            seen = other.get_experiment(exp.id)
            late = await one.start_experiment("b", capture="scope")
            async with exp.trial(item="q1") as trial:
                trial.score(correct=True)
            for size in range(40):  # small blocks are joined meanwhile
                await emit(exp, range(300 * size, 300 * size + 300))
            assert [e.id for e in other.list_experiments()] == [exp.id]
            await other.refresh()
            assert [e.id for e in other.list_experiments()] == [exp.id, late.id]
            assert other.get_experiment(exp.id) is seen
            assert (seen.state, seen.counts.stored) == ("running", exp.counts.stored)
            assert await seen.count_events() == exp.counts.stored > 12_000
            assert [t.scores for t in await seen.trials()] == [{"correct": True}]
            assert (await seen.metrics()).latency == (await exp.metrics()).latency
            await emit(exp, [-1])
            await exp.stop()
            assert seen.state == "running"
            await other.refresh()
            assert seen.state == "stopped"
            assert await seen.count_events() == exp.counts.stored


async def test_what_others_deleted_is_not_known_any_more(url, read_only):
    async with ct.Lab(url) as one:
        async with one.experiment("a") as exp:
            pass
        async with ct.Lab(url, read_only=read_only) as other:
            assert other.get_experiment(exp.id)
            await exp.cleanup()
            await other.refresh()
            assert other.list_experiments() == []


async def test_what_runs_here_is_left_as_it_is(url):
    async with ct.Lab(url) as lab:
        running = await lab.start_experiment("a", capture="scope")
        async with lab.experiment("b") as stopped:
            ct.execute_nowait("x.stop", {"n": 1})
        await emit(running, range(5))
        before = running._collector, stopped._collector
        await lab.refresh()
        assert (running._collector, stopped._collector) == before
        await emit(running, range(5, 8))
        assert await numbers(running) == list(range(8))
        again = await lab.reopen_experiment(stopped.id)
        await lab.refresh()
        assert (again.state, running.state) == ("running", "running")
        await stopped.cleanup()
        await lab.refresh()
        assert lab.list_experiments() == [running]


async def test_what_another_lab_went_on_with_is_seen_and_can_be_gone_on_with_in_turn(url):
    async with ct.Lab(url) as one, ct.Lab(url) as two:
        exp = await one.start_experiment("a", capture="scope")
        await emit(exp, [1, 2])
        await exp.stop()
        await two.refresh()
        await emit(await two.reopen_experiment(exp.id), [3])
        await one.refresh()
        assert exp.state == "running"
        assert await numbers(exp) == [1, 2, 3]
        with pytest.raises(ct.LifecycleError, match="another lab"):
            await exp.stop()
        await two.stop_experiment(exp.id)
        await one.refresh()
        await emit(await exp.reopen(), [4])
        assert await numbers(exp) == [1, 2, 3, 4]
        await exp.stop()
    async with ct.Lab(url) as lab:
        (found,) = lab.list_experiments()
        assert await numbers(found) == [1, 2, 3, 4]


async def test_a_lab_in_memory_has_no_others_and_one_that_is_closed_says_so(tmp_path):
    async with ct.Lab() as lab:
        await lab.refresh()
    lab = await ct.Lab(tmp_path / "runs.db").open()
    await lab.close()
    with pytest.raises(ct.LabClosed, match="cannot refresh"):
        await lab.refresh()
