import contextvars
import gc
import signal
import threading
from collections import deque

import anyio
import anyio.lowlevel
import pytest

from crucible_telemetry.runtime.loops import LoopHandle, Signal, spawn_root

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
scope = contextvars.ContextVar("scope")


@pytest.mark.anyio
async def test_a_root_task_sees_no_context_of_the_caller():
    scope.set("mine")
    seen = []

    async def main():
        seen.append(scope.get("none"))

    await spawn_root(main, "root").wait()
    assert seen == ["none"]


@pytest.mark.anyio
async def test_a_root_task_outlives_the_cancel_scope_it_was_started_in():
    seen = []

    async def main():
        await anyio.sleep(10)
        seen.append("end")

    with anyio.CancelScope() as caller:
        root = spawn_root(main, "root")
        caller.cancel()
        await anyio.sleep(1)
    assert await root.wait() is None
    assert seen == ["end"]


@pytest.mark.anyio
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_the_error_of_a_root_task_comes_back_as_a_value(error):
    async def main():
        await anyio.sleep(1)
        raise error

    root = spawn_root(main, "root")
    assert not root.done
    assert await root.wait() is error
    assert root.done
    assert await root.wait() is error


@pytest.mark.anyio
async def test_an_error_nobody_asks_for_makes_no_noise(caplog):
    async def main():
        raise ValueError

    gc.collect()  # what other tests left behind makes its noise now
    caplog.clear()
    spawn_root(main, "root")
    await anyio.sleep(1)
    gc.collect()
    assert caplog.records == []


@pytest.mark.anyio
async def test_a_cancelled_root_task_ends_without_an_error():
    root = spawn_root(anyio.sleep_forever, "root")
    await anyio.sleep(1)
    root.cancel()
    assert await root.wait() is None


@pytest.mark.anyio
async def test_a_root_task_cancelled_before_its_first_step_ends_too():
    root = spawn_root(anyio.sleep_forever, "root")
    root.cancel()
    root.cancel()
    assert await root.wait() is None


@pytest.mark.anyio
async def test_many_tasks_may_wait_for_one_root_task():
    ends = []

    async def watch(root):
        ends.append(await root.wait())

    root = spawn_root(lambda: anyio.sleep(5), "root")
    async with anyio.create_task_group() as tg:
        for _ in range(10):
            tg.start_soon(watch, root)
    assert ends == [None] * 10


@both
def test_the_end_of_the_loop_cancels_root_tasks(backend):
    roots = []

    async def main():
        roots.append(spawn_root(anyio.sleep_forever, "root"))
        await anyio.lowlevel.checkpoint()

    anyio.run(main, backend=backend)
    assert roots[0].done


@both
def test_a_root_task_can_be_cancelled_from_a_thread(backend):
    async def main():
        root = spawn_root(anyio.sleep_forever, "root")
        thread = threading.Thread(target=root.cancel)
        thread.start()
        return await root.wait()

    assert anyio.run(main, backend=backend) is None


@both
def test_a_handle_knows_its_loop_from_threads_and_afterwards(backend):
    there = []

    async def main():
        handle = LoopHandle.current()
        thread = threading.Thread(target=lambda: there.append(handle.is_here()))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
        assert handle.is_here()
        assert not handle.closed
        return handle

    handle = anyio.run(main, backend=backend)
    assert there == [False]
    assert not handle.is_here()
    assert handle.closed
    assert handle.run_soon(lambda: None) is False


@both
def test_a_handle_of_another_run_on_the_same_thread_is_not_here(backend):
    async def current():
        return LoopHandle.current()

    old = anyio.run(current, backend=backend)

    async def later():
        return old.is_here()

    assert anyio.run(later, backend=backend) is False


@both
def test_calls_from_a_thread_run_in_order_on_the_loop_in_an_empty_context(backend):
    seen, done = [], Signal()

    async def main():
        handle = LoopHandle.current()

        def call_from_there():
            scope.set("thread")
            for i in range(100):
                handle.run_soon(lambda i=i: seen.append((i, scope.get(None), handle.is_here())))
            handle.run_soon(done.set)

        threading.Thread(target=call_from_there).start()
        await done.wait()

    anyio.run(main, backend=backend)
    assert seen == [(i, None, True) for i in range(100)]


def test_there_is_no_current_loop_outside_of_one():
    with pytest.raises(RuntimeError):
        LoopHandle.current()


@both
def test_a_signal_handler_wakes_a_loop_that_is_asleep(backend):
    woken = Signal()
    before = signal.signal(signal.SIGALRM, lambda *_: woken.set())

    async def main():
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with anyio.fail_after(20):
            await woken.wait()

    try:
        anyio.run(main, backend=backend)
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.anyio
async def test_waiting_for_a_raised_flag_returns_but_lets_others_run():
    flag, ran = Signal(), []
    flag.set()
    flag.set()
    async with anyio.create_task_group() as tg:
        tg.start_soon(anyio.lowlevel.checkpoint)
        with anyio.CancelScope() as gone:
            gone.cancel()
            await flag.wait()
            ran.append("not cancelled")
    assert ran == []
    assert flag.is_set


@pytest.mark.anyio
async def test_a_flag_lowered_at_once_still_wakes_everybody():
    flag, woken = Signal(), []

    async def wait(i):
        await flag.wait()
        woken.append(i)

    async with anyio.create_task_group() as tg:
        for i in range(5):
            tg.start_soon(wait, i)
        await anyio.sleep(1)
        flag.set()
        flag.clear()
    assert sorted(woken) == [0, 1, 2, 3, 4]


@pytest.mark.anyio
async def test_a_waiter_that_gave_up_leaves_nothing_behind():
    flag = Signal()
    with anyio.move_on_after(1):
        await flag.wait()
    assert len(flag._waiters) == 0


@pytest.mark.anyio
@pytest.mark.parametrize("lowered", [False, True])
async def test_f17_a_flag_raised_between_the_look_and_the_queue_is_not_missed(lowered):
    flag = Signal()

    class Late(deque):
        def append(self, waiter):
            if not lowered:
                flag.set()  # has seen no waiter yet
            super().append(waiter)
            if lowered:
                flag.set()
                flag.clear()  # has seen this one

    flag._waiters = Late()
    with anyio.fail_after(1):
        await flag.wait()
    assert flag.is_set is not lowered
    assert len(flag._waiters) == 0


def test_one_flag_wakes_tasks_of_several_loops():
    flag, at_the_flag, woken = Signal(), threading.Barrier(3), []

    async def wait(backend):
        async with anyio.create_task_group() as tg:
            tg.start_soon(flag.wait)
            await anyio.wait_all_tasks_blocked()
            at_the_flag.wait()
        woken.append(backend)

    threads = [
        threading.Thread(target=anyio.run, args=(wait, b), kwargs={"backend": b})
        for b in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    at_the_flag.wait()
    flag.set()
    for thread in threads:
        thread.join(20)
    assert sorted(woken) == ["asyncio", "trio"]


class PingPong:
    """Threads that put numbers, each only when its last one was taken: a lost wake-up stops them all."""

    def __init__(self, threads, rounds):
        self.rounds = rounds
        self.items, self.filled, self.taken = [], Signal(), []
        self.turns = [threading.Semaphore(1) for _ in range(threads)]
        self.threads = [threading.Thread(target=self.produce, args=(n,)) for n in range(threads)]

    def produce(self, me):
        for i in range(self.rounds):
            assert self.turns[me].acquire(timeout=20)
            self.items.append((me, i))
            self.filled.set()

    async def take(self):
        self.filled.clear()
        if batch := self.items[:]:
            del self.items[: len(batch)]
            return batch
        await self.filled.wait()
        return []

    async def consume(self):
        for thread in self.threads:
            thread.start()
        while len(self.taken) < self.rounds * len(self.threads):
            batch = await self.take()
            self.taken += batch
            for me, _ in batch:
                self.turns[me].release()


@both
def test_f17_four_threads_and_a_thousand_rounds_lose_no_wake_up(backend):
    game = PingPong(threads=4, rounds=1_000)

    async def main():
        with anyio.fail_after(60):
            await game.consume()

    anyio.run(main, backend=backend)
    for me, thread in enumerate(game.threads):
        thread.join(20)
        assert [i for who, i in game.taken if who == me] == list(range(1_000))
