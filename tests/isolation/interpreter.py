"""The interpreter, second half: tasks, threads, executors, workers, streams, callbacks, commands."""

import asyncio
import threading

import anyio
import anyio.to_thread
from isolation.acts import Acts, Boom
from isolation.oracle import AFTER, At

import crucible_telemetry as ct

NOWHERE = At()


class Interpreter(Acts):
    """Runs async bodies. `tools` are older than every experiment: thread pools and queue workers."""

    def __init__(self, oracle, tools):
        super().__init__(oracle, tools)
        self.outliving = []

    async def arun(self, body, at):
        for node in body:
            act = getattr(self, f"ado_{node.kind}", None)
            if act is None:
                getattr(self, f"do_{node.kind}")(node, at)
            else:
                await act(node, at)
            if node.how % 3 == 0:
                await asyncio.sleep(0)

    async def main(self, body):
        await self.arun(body, NOWHERE)
        for task in self.outliving:
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def gathered(self, coroutines):
        """`gather`, which when cancelled may return before its tasks: those the program waits for."""
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        self.outliving += tasks
        await asyncio.gather(*tasks)

    async def ado_emit(self, node, at):
        n, name = self.oracle.number(), self.name(node)
        with self.oracle.offering(at, n, name):
            if node.how % 2:
                ct.execute_nowait(name, {"n": n})
            else:
                await ct.execute(name, {"n": n})

    async def ado_span(self, node, at):
        n, name = self.oracle.number(), ("a.s", "b.s")[node.how % 2]
        fails = node.how < 4
        span = ct.span(name, {"n": n})
        with self.oracle.offering(at, n, f"{name}.start", "start"):
            await span.__aenter__()
        try:
            await self.arun(node.bodies[0], At(at.k, at.item, n))
        finally:
            error = Boom() if fails else None
            with self.oracle.offering(at, n, f"{name}.{'exception' if fails else 'stop'}", "end"):
                await span.__aexit__(type(error), error, None)

    async def ado_home_span(self, node, at):
        with self.spanning(at.inside(node.k), self.exp(node).span, "a.h", fails=False) as inside:
            await self.arun(node.bodies[0], inside)

    async def ado_scope(self, node, at):
        async with self.exp(node).scope():
            await self.arun(node.bodies[0], at.inside(node.k))

    async def ado_trial(self, node, at):
        item, inside = self.trial_at(node, at)
        async with self.exp(node).trial(item=item):
            await self.arun(node.bodies[0], inside)

    async def ado_shared_scope(self, node, at):
        """One scope object entered by several tasks whose stays overlap."""
        shared = self.exp(node).scope()

        async def enter(body):
            async with shared:
                await asyncio.sleep(0)
                await self.arun(body, at.inside(node.k))
            self.do_emit(node, at)

        await self.gathered(map(enter, node.bodies))

    # -- tasks ----------------------------------------------------------------------------------

    async def ado_gather(self, node, at):
        await self.gathered(self.arun(body, at) for body in node.bodies)

    async def ado_group(self, node, at):
        async with asyncio.TaskGroup() as group:
            for body in node.bodies:
                group.create_task(self.arun(body, at))

    async def ado_anyio_group(self, node, at):
        async with anyio.create_task_group() as group:
            for body in node.bodies:
                group.start_soon(self.arun, body, at)

    async def ado_outlives(self, node, at):
        async def later():
            for _ in range(node.how):
                await asyncio.sleep(0)
            await self.arun(node.bodies[0], at)

        self.outliving.append(asyncio.create_task(later()))

    async def ado_cancelled(self, node, at):
        task = asyncio.create_task(self.arun(node.bodies[0], at))
        self.outliving.append(task)
        for _ in range(node.how):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def ado_coroutine(self, node, at):
        n = self.oracle.number()
        start = self.oracle.offering(at, n, "b.c.start", "start")
        end = self.oracle.offering(at, n, "b.c.stop", "end")

        @ct.instrument("b.c", {"n": n})
        async def coroutine():
            start.__exit__(None, None, None)
            await self.arun(node.bodies[0], At(at.k, at.item, n))
            end.__enter__()

        start.__enter__()
        await coroutine()
        end.__exit__(None, None, None)

    async def ado_bound_coroutine(self, node, at):
        bound = ct.bind(self.arun)
        async with self.exp(node).scope():
            await bound(node.bodies[0], at)
            self.do_emit(node, at.inside(node.k))

    # -- threads --------------------------------------------------------------------------------

    async def ado_to_thread(self, node, at):
        if node.how % 2:
            call = asyncio.to_thread(self.run, node.bodies[0], at)
        else:
            call = anyio.to_thread.run_sync(self.run, node.bodies[0], at)
        # Cancelled by `Task.cancel`, both leave their thread running: the program waits for it.
        await self.all_of([asyncio.ensure_future(call)])

    async def ado_executor(self, node, at):
        loop, bound = asyncio.get_running_loop(), ct.bind(self.run)
        calls = [loop.run_in_executor(self.tools.pool, bound, body, at) for body in node.bodies]
        await self.all_of(calls)

    async def ado_bare_executor(self, node, _at):
        loop = asyncio.get_running_loop()
        await self.all_of([
            loop.run_in_executor(self.tools.pool, self.run, node.bodies[0], NOWHERE)
        ])  # fmt: skip

    async def all_of(self, futures):
        """Wait for threads to end also when cancelled: they are part of the program."""
        for future in futures:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            future.result()

    async def ado_thread(self, node, at):
        bound = ct.bind(self.run)
        await self.threads([(bound, body, at) for body in node.bodies])

    async def ado_bare_thread(self, node, _at):
        await self.threads([(self.run, node.bodies[0], NOWHERE)])

    async def threads(self, calls):
        """Raw threads; joined in another, so that the loop goes on meanwhile."""
        errors = []

        def call(fn, body, at):
            try:
                fn(body, at)
            except BaseException as error:
                errors.append(error)
                raise

        threads = [threading.Thread(target=call, args=each) for each in calls]
        for thread in threads:
            thread.start()
        loop = asyncio.get_running_loop()
        await self.all_of([loop.run_in_executor(self.tools.joiner, t.join) for t in threads])
        if errors:
            raise errors[0]

    # -- workers and callbacks ------------------------------------------------------------------

    async def ado_worker(self, node, at):
        """A task older than every experiment opens the scope itself."""

        async def job():
            self.do_emit(node, NOWHERE)
            item, inside = self.trial_at(node, NOWHERE)
            if node.how % 2:
                async with self.exp(node).trial(item=item):
                    await self.arun(node.bodies[0], inside)
            else:
                async with self.exp(node).scope():
                    await self.arun(node.bodies[0], At(node.k))
            self.do_emit(node, NOWHERE)

        done = asyncio.get_running_loop().create_future()
        self.tools.jobs.put_nowait((job, done))
        self.outliving.append(done)
        self.do_emit(node, at)

    async def ado_soon(self, node, at):
        done = asyncio.get_running_loop().create_future()

        def callback():
            self.settle(done, node.bodies[0], at)

        asyncio.get_running_loop().call_soon(callback)
        self.outliving.append(done)

    async def ado_from_thread(self, node, at):
        """A callback handed to the loop by a thread that has the scope by `bind`."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        hand_over = ct.bind(
            lambda: loop.call_soon_threadsafe(self.settle, done, node.bodies[0], at)
        )
        self.outliving.append(done)
        await self.all_of([loop.run_in_executor(self.tools.pool, hand_over)])

    async def ado_done_callback(self, node, at):
        loop = asyncio.get_running_loop()
        done, other = loop.create_future(), loop.create_future()
        other.add_done_callback(lambda _: self.settle(done, node.bodies[0], at))
        self.outliving.append(done)
        async with self.exp(node).scope():
            other.set_result(None)
            await asyncio.sleep(0)

    def settle(self, done, body, at):
        try:
            self.run(body, at)
        except BaseException as error:
            done.set_exception(error)
            raise
        done.set_result(None)

    # -- streams --------------------------------------------------------------------------------

    async def ado_async_generator(self, node, at):
        """A stream made here, read partly in another experiment, ended in a third place."""
        first, second, between = node.bodies
        n = self.oracle.number()
        inside = At(at.k, at.item, n)

        @ct.instrument("a.st", {"n": n})
        async def stream():
            await self.arun(first, inside)
            yield 1
            await self.arun(second, inside)
            yield 2

        steps = stream()
        end = self.oracle.offering(at, n, "a.st.stop", "end", ordered=False)
        with self.oracle.offering(at, n, "a.st.start", "start"):
            await anext(steps)
        async with self.exp(node).scope():
            await self.arun(between, at.inside(node.k))
            if node.how % 2:
                await anext(steps)
                self.do_emit(node, at.inside(node.k))
        self.outliving.append(asyncio.create_task(self.ended(steps, node, end)))
        del steps
        self.do_emit(node, at)

    async def ended(self, steps, node, end):
        async with self.exp(node).scope():
            with end:
                if node.how % 3 == 0:
                    async for _ in steps:
                        pass
                elif node.how % 3 == 1:
                    await steps.aclose()
                else:
                    del steps
                    for _ in range(10):  # the loop's finaliser closes it in a task of its own
                        await asyncio.sleep(0)

    # -- commands -------------------------------------------------------------------------------

    async def ado_life(self, node, _at):
        subject = self.subjects[node.k]
        command = ("pause", "resume", "resume", "stop")[node.how % 4]
        if (subject.state, command) in AFTER:
            subject.began(command)
            try:
                await getattr(subject.exp, command)()
            finally:
                subject.ended()

    async def ado_crash(self, node, _at):
        """The collector's next batch crashes once: before or after the store took it, or after all."""
        subject = self.subjects[node.k]
        if subject.crashed:
            return
        subject.crashed = True
        collector = subject.exp._collector
        self.tools.crash(collector, node.how % 4)
