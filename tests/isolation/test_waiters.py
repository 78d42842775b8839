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
            collector.leave(crash)
            raise RuntimeError("after the commit")

        collector.follow(crash)
        ct.execute_nowait("a", {"n": 1})
        waiting = asyncio.create_task(ct.execute("a", {"n": 2}))
        await asyncio.sleep(0)
        assert not waiting.done()
        ct.execute_nowait("a", {"n": 3})  # finds it full and drains: committed, then the crash
        async with asyncio.timeout(5):
            await waiting
        assert [event.measurements["n"] for event in await exp.events()] == [1, 2, 3]
