"""Calls that block have a thread of their own: in order, one at a time, and nobody is kept by one that hangs."""

import threading

import anyio
import pytest

from crucible_telemetry.stores.worker import Worker


@pytest.fixture
def worker():
    made = Worker("test")
    yield made
    made.end()


@pytest.mark.asyncio
async def test_calls_come_back_with_what_they_return_or_raise(worker):
    assert await worker.run(lambda: threading.current_thread().daemon)
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 / 0)
    assert await worker.run(lambda: 7) == 7


@pytest.mark.asyncio
async def test_a_call_that_hangs_keeps_no_one_and_what_waited_behind_it_is_not_begun(worker):
    hanging, begun = threading.Event(), []
    with anyio.move_on_after(0.05) as limit:
        await worker.run(hanging.wait)
    assert limit.cancelled_caught
    with anyio.move_on_after(0.05) as limit:
        await worker.run(lambda: begun.append("cancelled before it began"))
    assert limit.cancelled_caught
    hanging.set()
    await worker.run(lambda: begun.append("after"))
    assert begun == ["after"]


@pytest.mark.asyncio
async def test_a_call_that_is_no_longer_wanted_ends_before_the_next_begins(worker):
    inside, go_on, order = threading.Event(), threading.Event(), []

    def slow():
        inside.set()
        go_on.wait()
        order.append("slow")

    with anyio.move_on_after(0.05):
        await worker.run(slow)
    assert inside.is_set()
    async with anyio.create_task_group() as tg:
        tg.start_soon(worker.run, lambda: order.append("next"))
        await anyio.sleep(0.02)
        assert order == []
        go_on.set()
    assert order == ["slow", "next"]


@pytest.mark.asyncio
async def test_the_thread_ends_when_it_is_told_to_and_another_begins_when_it_is_asked_again(worker):
    first = await worker.run(threading.current_thread)
    worker.end()
    first.join(5)
    assert not first.is_alive()
    assert await worker.run(threading.current_thread) is not first
