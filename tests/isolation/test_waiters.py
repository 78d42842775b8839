"""What random programs found, small: somebody who waits for room is always told of it."""

import asyncio

import pytest

import crucible_telemetry as ct


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_who_waits_for_room_is_woken_when_an_emitters_drain_fails_after_its_commit():
    async with ct.Lab() as lab, lab.experiment("e", mailbox_size=2) as exp:
        collector = exp._collector

        def crash(_):
            collector.followers.leave(crash)
            raise RuntimeError("after the commit")

        collector.followers.follow(crash)
        ct.execute_nowait("a", {"n": 1})
        waiting = asyncio.create_task(ct.execute("a", {"n": 2}))
        await asyncio.sleep(0)
        assert not waiting.done()
        ct.execute_nowait("a", {"n": 3})  # finds it full and drains: committed, then the crash
        async with asyncio.timeout(5):
            await waiting
        assert [event.measurements["n"] for event in await exp.events()] == [1, 2, 3]


@pytest.mark.asyncio
@pytest.mark.virtual_time
@pytest.mark.parametrize("steps", range(1, 24))
async def test_who_was_woken_and_is_cancelled_leaves_the_room_to_the_next(steps):
    """Else they wait for ever: nothing is left to drain, and so nobody tells them."""
    async with ct.Lab() as lab, lab.experiment("e", mailbox_size=2) as exp:
        waiting = [asyncio.create_task(ct.execute("a", {"n": n})) for n in range(40)]
        for _ in range(steps):
            await asyncio.sleep(0)
        pending = [task for task in waiting if not task.done()]
        for task in pending[: len(pending) // 2]:
            task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting, return_exceptions=True)
        await exp.flush()
        # Those that had begun: `execute` accepts before it waits.
        assert exp.counts.stored == exp.counts.emitted >= len(waiting) - len(pending)
        assert not any(task.cancelled() for task in pending[len(pending) // 2 :])


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_a_crowd_that_emits_without_a_pause_takes_turns_and_costs_a_drain_a_few_wakes():
    crowd, each, size = 200, 40, 16
    async with ct.Lab() as lab, lab.experiment("e", mailbox_size=size) as exp:
        collector, looks, emitted = exp._collector, [], [0] * crowd
        hurry = collector.hurry
        collector.hurry = lambda: (looks.append(1), hurry())

        async def emit(me):
            for _ in range(each):
                await ct.execute("a", {"n": me})
                emitted[me] += 1

        behind = []

        async def watch():
            while min(emitted) < each:
                behind.append(max(emitted) - min(emitted))
                await asyncio.sleep(0)

        await asyncio.gather(*map(emit, range(crowd)), watch())
        assert exp.counts.emitted == crowd * each
        assert len(looks) < 16 * collector.batches  # and not the whole crowd each time
        assert max(behind) <= 2 * size
