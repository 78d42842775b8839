"""F15: emits where no loop runs: before, after and between."""

import asyncio

from faults.ledger import NAME, emit, lawful, whole

import crucible_telemetry as ct


def test_f15_emits_with_no_loop_and_into_a_lab_whose_loop_is_gone_are_counted():
    emit(0)  # nobody listens

    async def main():
        async with ct.Lab() as lab:
            return await lab.start_experiment("gone", capture="scope", mailbox_size=4)

    exp = asyncio.run(main())
    with exp.scope():
        for number in range(10):
            emit(number)
        with ct.span("sync"):
            pass

        async def another():
            await asyncio.wait_for(ct.execute(NAME, {"n": 10}), 1)

        asyncio.run(another())
    assert lawful(exp).late == 13


def test_f15_an_emit_while_the_lab_s_loop_does_not_run_waits_for_nothing_from_sync_code():
    loop = asyncio.new_event_loop()
    try:
        lab = loop.run_until_complete(ct.Lab().open())
        exp = loop.run_until_complete(lab.start_experiment("idle", capture="scope", mailbox_size=8))
        with exp.scope():
            for number in range(100):
                emit(number)
        assert exp.health().mailbox_peak <= 8
        loop.run_until_complete(whole(exp, range(100)))
        loop.run_until_complete(lab.close())
    finally:
        loop.close()
