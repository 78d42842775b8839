"""Traps that libraries of this kind fall into, each as a test."""

import asyncio
import threading

import anyio
import pytest
import pytest_asyncio
from conftest import VirtualTimeLoop

import crucible_telemetry as ct
from crucible_telemetry.events.scope import current_scope

asyncio_test = pytest.mark.asyncio


@pytest_asyncio.fixture
async def exp(lab):
    async with lab.experiment("fixture") as exp:
        yield exp


async def emitted(exp):
    return [e.measurements["i"] for e in await exp.events()]


# -- open and close ---------------------------------------------------------------------------------


@asyncio_test
async def test_a_lab_may_be_opened_and_closed_in_different_tasks():
    lab = ct.Lab()
    await asyncio.create_task(lab.open())
    exp = await asyncio.create_task(lab.start_experiment("a", capture="scope"))
    with exp.scope():
        ct.execute_nowait("n", {"i": 1})
    assert await asyncio.create_task(lab.close()) == {}
    assert exp.state == "stopped"
    assert await emitted(exp) == [1]


@asyncio_test
async def test_an_experiment_may_be_entered_and_left_in_different_tasks(lab):
    context = lab.experiment("a")
    exp = await asyncio.create_task(context.__aenter__())
    with exp.scope():
        ct.execute_nowait("n", {"i": 1})
    await asyncio.create_task(context.__aexit__(None, None, None))
    assert exp.state == "stopped"
    assert exp.health().scope_leaks == 1
    assert await emitted(exp) == [1]


@asyncio_test
async def test_a_lab_and_an_experiment_in_yield_fixtures_serve_the_test(lab, exp):
    with exp.scope():
        await ct.execute("n", {"i": 1})
    assert await emitted(exp) == [1]
    assert lab.list_experiments(state="running") == [exp]


def test_cells_of_a_notebook_share_one_lab_and_none_leaks_a_scope_into_the_next():
    loop = VirtualTimeLoop()
    cell = loop.run_until_complete
    try:
        lab = cell(ct.Lab().open())
        exp = cell(lab.start_experiment("a", capture="scope"))

        async def emits(i):
            exp.scope().__enter__()  # forgotten, as people do
            await ct.execute("n", {"i": i})

        for i in range(3):
            cell(emits(i))
        ct.execute_nowait("n", {"i": "between cells"})
        assert current_scope.get() is None
        with exp.scope():
            ct.execute_nowait("n", {"i": 3})  # between cells, when the loop is not running
        assert exp.live().summary.total_events <= 4
        assert cell(exp.metrics()).summary.total_events == 4
        assert lab.unheard == {"n": 1}
        assert cell(lab.close()) == {}
        assert cell(emitted(exp)) == [0, 1, 2, 3]
    finally:
        loop.close()


def test_a_lab_whose_loop_ended_has_saved_what_it_had():
    async def forgets():
        lab = await ct.Lab().open()
        exp = await lab.start_experiment("a", capture="scope")
        with exp.scope():
            ct.execute_nowait("n", {"i": 1})
        return lab, exp

    lab, exp = asyncio.run(forgets())
    assert lab.state == "closed"
    with exp.scope():
        ct.execute_nowait("n", {"i": 2})
    assert (exp.counts.stored, exp.counts.late) == (1, 1)
    assert asyncio.run(emitted(exp)) == [1]
    assert asyncio.run(lab.close()) == {}


def test_f15_emits_before_and_without_a_lab_are_no_ops():
    ct.execute_nowait("n", {"i": 1})
    ct.execute_nowait(("a", "b"), None, None, at_us=5)
    with ct.span("s") as span:
        span.measure(x=1)
    asyncio.run(ct.execute("n", {"i": 1}))
    assert span.duration_ns >= 0
    assert ct.current_experiment() is None


@asyncio_test
async def test_f15_emits_after_a_lab_closed_go_nowhere_and_raise_nothing():
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("a")
    ct.execute_nowait("n")
    await ct.execute("n")
    with ct.span("s"):
        pass
    assert exp.counts.emitted == 0
    assert lab.unheard == {}


def test_f15_two_loops_in_two_threads_have_a_lab_each_and_the_module_functions_serve_both():
    start, found, errors = threading.Barrier(2, timeout=20), {}, []

    async def works(name):
        async with ct.Lab() as lab:
            async with lab.experiment(name, mailbox_size=16) as exp:
                await asyncio.to_thread(start.wait)
                for i in range(500):
                    await ct.execute("n", {"i": i}, {"who": name})
                    ct.execute_nowait("m", {"i": i}, {"who": name})
            await asyncio.to_thread(start.wait)
        found[name] = [(e.event_name, e.metadata["who"]) for e in await exp.events()]

    def thread(name):
        try:
            asyncio.run(works(name))
        except BaseException as error:  # noqa: BLE001 - the test's own thread must tell
            errors.append(error)
            start.abort()

    threads = [threading.Thread(target=thread, args=(name,)) for name in "ab"]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert not errors
    for name in "ab":
        assert len(found[name]) == 1000
        assert {who for _, who in found[name]} == {name}


def test_f15_a_process_capture_hears_another_loop_and_an_emit_there_waits_there():
    counts = 2000

    async def emits():
        for i in range(counts):
            await ct.execute("n", {"i": i})

    async def listens():
        async with ct.Lab() as lab:
            exp = await lab.start_experiment("all", mailbox_size=8)
            thread = threading.Thread(target=lambda: asyncio.run(emits()))
            thread.start()
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()
            return await emitted(exp)

    assert asyncio.run(listens()) == list(range(counts))


# -- cancellation -----------------------------------------------------------------------------------


@asyncio_test
@pytest.mark.virtual_time
async def test_a_failure_inside_never_cancels_the_caller(lab):
    exp = await lab.start_experiment("a", capture="scope")
    other = await lab.start_experiment("b", capture="scope")

    def breaks(columns):
        raise OSError("disk on fire")

    exp._collector.store.append = breaks
    task = asyncio.current_task()
    with exp.scope():
        for i in range(20):
            await ct.execute("n", {"i": i})
            await asyncio.sleep(0.5)
    assert task.cancelling() == 0
    counts = exp.counts
    assert counts.emitted == counts.accounted == 20
    assert counts.stored == 0
    with other.scope():
        ct.execute_nowait("n", {"i": 1})
    assert await emitted(other) == [1]


@asyncio_test
@pytest.mark.virtual_time
async def test_a_lab_enters_no_cancel_scope_of_the_callers():
    with anyio.CancelScope() as before:
        lab = await ct.Lab().open()
        exp = await lab.start_experiment("a", capture="scope")
    with anyio.move_on_after(1) as limit:  # opened before the experiment, left while it runs
        second = await lab.start_experiment("b", capture="scope")
        await anyio.sleep(5)
    assert limit.cancelled_caught
    assert not before.cancelled_caught
    scope = anyio.CancelScope()
    scope.__enter__()
    await exp.stop()
    scope.__exit__(None, None, None)
    with second.scope():
        ct.execute_nowait("n", {"i": 1})
    await anyio.sleep(1)
    assert second.counts.stored == 1
    assert await lab.close() == {}


@asyncio_test
@pytest.mark.virtual_time
async def test_a_cancelled_scope_around_an_experiment_stops_it_with_its_data_whole(lab):
    with anyio.move_on_after(1) as limit:
        async with lab.experiment("a") as exp:
            for i in range(5):
                await ct.execute("n", {"i": i})
            await anyio.sleep(60)
    assert limit.cancelled_caught
    assert exp.state == "stopped"
    assert await emitted(exp) == [0, 1, 2, 3, 4]


@asyncio_test
@pytest.mark.virtual_time
async def test_an_experiment_that_cannot_start_in_a_cancelled_scope_leaves_nothing(lab):
    async with anyio.create_task_group() as group:
        group.cancel_scope.cancel()
        async with lab.experiment("a"):
            ct.execute_nowait("n", {"i": 1})
    await anyio.sleep(1)
    assert lab.list_experiments() == []
    assert lab.tree().children == ()
    exp = await lab.start_experiment("b", capture="scope")
    assert exp.state == "running"


@asyncio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("ticks", range(12))
async def test_a_start_that_is_cancelled_at_any_point_is_whole_or_not_there(lab, ticks):
    task = asyncio.create_task(lab.start_experiment("a"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    await anyio.sleep(1)
    ct.execute_nowait("n", {"i": 1})
    if isinstance(result, ct.Experiment):
        assert await emitted(result) == [1]
        assert lab.list_experiments() == [result]
    else:
        assert isinstance(result, asyncio.CancelledError)
        assert lab.list_experiments() == []
        assert lab.tree().children == ()


@asyncio_test
@pytest.mark.virtual_time
@pytest.mark.parametrize("ticks", range(12))
async def test_a_stop_that_is_cancelled_at_any_point_has_frozen_the_experiment(lab, ticks):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.scope():
        ct.execute_nowait("n", {"i": 1})
    task = asyncio.create_task(exp.stop())
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if ticks:
        assert exp.state == "stopped"
        assert await emitted(exp) == [1]
    await asyncio.wait_for(exp.stop(), 60)
    assert exp.state == "stopped"
    assert await emitted(exp) == [1]


@asyncio_test
async def test_a_trial_that_ends_in_a_thread_wakes_whoever_waits_for_its_place(lab):
    exp = await lab.start_experiment("a", capture="scope")
    plan, waits = lab.trials([exp], items=[1, 2]), threading.Event()

    def run(trial):
        with trial:
            waits.wait(10)

    thread = threading.Thread(target=run, args=(await anext(plan),))
    thread.start()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    loop.call_later(0.01, waits.set)  # by then the loop sleeps, and only a thread can wake it
    async with asyncio.timeout(8):
        second = await anext(plan)
    assert loop.time() - began_s < 4
    thread.join(10)
    assert second.item == "2"
