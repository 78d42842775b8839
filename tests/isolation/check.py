"""Run programs and say what is wrong: the check that mutants are tried on."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from isolation.interpreter import Interpreter
from isolation.oracle import Oracle, Subject
from isolation.programs import make

import crucible_telemetry as ct

WORKERS = 3
PATIENCE_S = 1.0
"""Virtual seconds in which a collector must come to what was left for it."""


class Hung(Exception):
    """A program did not end."""


class Tools:
    """What is older than every experiment, and so in nobody's scope."""

    def __init__(self):
        self.pool = ThreadPoolExecutor(4)
        self.joiner = ThreadPoolExecutor(8)
        barrier = threading.Barrier(4)
        for _ in range(4):
            self.pool.submit(barrier.wait)
        self.jobs = asyncio.Queue()
        self.workers = [asyncio.create_task(self._work()) for _ in range(WORKERS)]

    async def _work(self):
        while True:
            job, done = await self.jobs.get()
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - whoever waits for the job shall have it
                done.set_exception(error)
            else:
                done.set_result(None)

    async def close(self):
        for worker in self.workers:
            worker.cancel()
        await asyncio.wait(self.workers)
        self.pool.shutdown()
        self.joiner.shutdown()

    @staticmethod
    def crash(collector, how):
        """The collector's next batch crashes, once."""
        if how == 3:
            _crash_after_all(collector)
            return
        target, name = (
            (collector.store, "append"),
            (collector.store, "append"),
            (collector, "_commit"),
        )[how]
        real = getattr(target, name)

        def crashing(*args):
            setattr(target, name, real)
            if how == 1:
                real(*args)
            raise RuntimeError("a crash the program asked for")

        setattr(target, name, crashing)


def _crash_after_all(collector):
    def tell(_):
        collector.followers.leave(tell)
        raise RuntimeError("a crash the program asked for")

    collector.followers.follow(tell)


@contextmanager
def watched(limit_s, seed):
    """Cancel what runs longer than this, by a real clock: the loop's own one jumps."""
    loop, task, late = asyncio.get_running_loop(), asyncio.current_task(), []

    def expire():
        late.append(True)
        loop.call_soon_threadsafe(task.cancel)

    timer = threading.Timer(limit_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield
    except asyncio.CancelledError:
        if not late:
            raise
        raise Hung(f"program {seed} did not end in {limit_s} s") from None
    finally:
        timer.cancel()


async def check(seeds, limit_s=60.0):
    """(seed, problems) of the first program with any, or None; one lab for all, each its experiments."""
    tools = Tools()
    try:
        async with ct.Lab() as lab:
            await lab.start_experiment("bystander", capture="scope")
            for seed in seeds:
                try:
                    with watched(limit_s, seed):
                        problems = await run_program(lab, tools, make(seed))
                except Exception as error:  # noqa: BLE001 - whatever a program raises is a finding
                    problems = [repr(error)]
                if problems:
                    return seed, problems
            problems = [str(lab.list_experiments())] if len(lab.list_experiments()) > 1 else []
        return (None, problems) if problems else None
    finally:
        await tools.close()
        await _cancel_what_is_left()


async def _cancel_what_is_left():
    """A program that failed has left tasks behind."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def run_program(lab, tools, program):
    """What is wrong after one program, as sentences."""
    subjects = []
    oracle = Oracle(subjects, program.scoped)
    for k, plan in enumerate(program.plans):
        subjects.append(Subject(await _start(lab, oracle, k, plan), plan))
    unheard = sum(lab.unheard.values())
    await Interpreter(oracle, tools).main(program.body)
    await _left_alone(subjects, oracle)
    for subject in subjects:
        await subject.exp.stop()
    problems = await oracle.verdict()
    unheard = sum(lab.unheard.values()) - unheard
    if not oracle.unheard_least <= unheard <= oracle.unheard_most:
        least, most = oracle.unheard_least, oracle.unheard_most
        problems.append(f"{unheard} counted unheard, expected {least} to {most}")
    for subject in subjects:
        await subject.exp.cleanup()
    return problems


async def _start(lab, oracle, k, plan):
    def outside(*_):
        if ct.current_experiment() is not None:
            oracle.problems.append("a filter ran inside a scope")
        return True

    return await lab.start_experiment(
        f"e{k}",
        capture=plan.capture,
        events=plan.events,
        mailbox_size=plan.mailbox_size,
        event_filter=outside if plan.filtered else None,
    )


async def _left_alone(subjects, oracle):
    """Without a flush or a stop, the collectors must come to everything by themselves."""
    for _ in range(100):
        if all(not s.exp.counts.in_flight for s in subjects):
            return
        await asyncio.sleep(PATIENCE_S / 100)
    waiting = [s.exp.counts.in_flight for s in subjects]
    oracle.problems.append(f"the collectors did not wake: {waiting} in flight")
