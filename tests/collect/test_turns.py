"""Who waits for nothing but the time comes between a full mailbox and its drain, and between that and the next."""

import asyncio
import itertools
from itertools import pairwise

import pytest

import crucible_telemetry as ct

SIZE = 256


@pytest.mark.asyncio
async def test_between_two_beats_the_loop_fills_a_mailbox_or_drains_one_and_not_both():
    seen = []
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("loud", capture="scope", mailbox_size=SIZE)

        async def beat():
            for again in itertools.cycle((False, True)):
                await asyncio.sleep(1e-9)  # due at once, and behind what was ready before
                seen.append((exp.counts.emitted, exp.counts.stored))
                if again:  # so that it falls on every turn of the loop
                    await asyncio.sleep(0)

        async def emit():
            async with exp.trial(item="q"):
                for i in range(20 * SIZE):
                    await ct.execute("note", {"i": i})

        beating = asyncio.create_task(beat())
        await asyncio.gather(*[emit() for _ in range(4)])
        beating.cancel()
    turns = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(seen)]
    both = [turn for turn in turns if min(turn) >= SIZE // 2]
    assert max(emitted for emitted, _ in turns) >= SIZE // 2  # it was at full load
    assert not both
