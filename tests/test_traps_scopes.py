"""Traps of scopes: where one is, what a drain sees, what is left behind."""

import asyncio
import gc

import pytest
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.events.scope import current_scope

asyncio_test = pytest.mark.asyncio


@asyncio_test
async def test_one_can_ask_which_experiment_and_span_one_is_in(lab):
    assert (ct.current_experiment(), ct.current_span()) == (None, None)
    async with lab.experiment("outer") as outer:
        assert ct.current_experiment() is outer
        with ct.span("a") as a:
            assert ct.current_span() is a
            async with lab.experiment("inner") as inner:
                assert ct.current_experiment() is inner
                assert ct.current_span() is None
                with outer.span("b") as b:
                    assert ct.current_experiment() is outer
                    assert ct.current_span() is b
                assert ct.current_experiment() is inner
                async with outer.trial(item=1):
                    assert ct.current_experiment() is outer
                assert ct.current_experiment() is inner
            assert ct.current_experiment() is outer
            assert ct.current_span() is a
    assert (ct.current_experiment(), ct.current_span()) == (None, None)


@asyncio_test
async def test_a_span_of_an_experiment_leaves_no_scope_behind(lab):
    exp = await lab.start_experiment("a", capture="scope")
    with exp.span("s"):
        assert ct.current_experiment() is exp
    assert current_scope.get() is None
    ct.execute_nowait("outside")
    assert [e.event_name for e in await exp.events()] == ["s.start", "s.stop"]
    assert exp.health().scope_leaks == 0


@asyncio_test
@pytest.mark.parametrize("drained_by", ["actor", "emitter", "flush", "live"])
async def test_everything_a_drain_runs_is_outside_any_scope(lab, drained_by):
    seen = []

    def looks(*_):
        seen.append((ct.current_experiment(), ct.current_span()))
        ct.execute_nowait("from.inside")  # of no experiment, or this would never end

    size = 4 if drained_by == "emitter" else 8192
    async with lab.experiment("a", enrichers=[looks], mailbox_size=size) as exp:
        with ct.span("s"):
            for i in range(12):
                ct.execute_nowait("n", {"i": i})
            if drained_by == "flush":
                await exp.flush()
            elif drained_by == "live":
                exp.live()
            await comes(lambda: not exp.counts.in_flight)
            assert ct.current_experiment() is exp
        drained_by_emitters = exp.health().drained_by_emitters
        assert lab.unheard == {"from.inside": 13}
    assert (drained_by_emitters > 0) is (drained_by == "emitter")
    assert len(seen) == 14
    assert set(seen) == {(None, None)}


@asyncio_test
async def test_a_scope_held_across_a_yield_is_counted_and_swallows_nothing_afterwards(lab):
    exp = await lab.start_experiment("a", capture="scope")

    def generator():
        with exp.scope():
            yield 1

    held = generator()
    next(held)
    assert ct.current_experiment() is exp  # why it must not be done
    with lab_scope(await lab.start_experiment("b", capture="scope")):
        held.close()
        assert exp.health().scope_leaks == 1
    assert ct.current_experiment() is None


def lab_scope(exp):
    return exp.scope()


@asyncio_test
async def test_an_abandoned_span_does_not_adopt_the_spans_of_others(lab):
    exp = await lab.start_experiment("a", capture="scope")

    async def abandons():
        async def generator():
            with exp.span("left"):
                yield 1

        await anext(aiter(generator()))

    await asyncio.create_task(abandons())
    gc.collect()
    await asyncio.sleep(0)
    with exp.span("later") as later:
        pass
    assert later.parent_id is None
    assert exp.open_spans() == []
