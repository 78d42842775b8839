"""Following an experiment while it runs."""

import asyncio
import gc

import pytest
import pytest_asyncio

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


@pytest_asyncio.fixture
async def exp():
    async with ct.Lab() as lab, lab.experiment("a") as exp:
        yield exp


async def emit(n, name="n", first=0):
    for i in range(first, first + n):
        await ct.execute(name, {"i": i})


async def follow(subscription, seen):
    async for event in subscription:
        seen.append((event.event_name, event.measurements.get("i")))


async def test_a_reader_sees_what_is_stored_after_it_began_and_ends_with_the_experiment(exp):
    await emit(3, "before")
    await exp.flush()
    seen = []
    reader = asyncio.create_task(follow(exp.subscribe(), seen))
    await asyncio.sleep(0)
    await emit(3)
    await asyncio.sleep(1)
    assert seen == [("n", 0), ("n", 1), ("n", 2)]
    await emit(1, first=3)
    await exp.stop()
    await asyncio.wait_for(reader, 10)
    assert seen == [("n", 0), ("n", 1), ("n", 2), ("n", 3)]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("*", ["a.b", "a.c", "d"]),
        ("a.*", ["a.b", "a.c"]),
        (["a.c", "d"], ["a.c", "d"]),
        (("a", "b"), ["a.b"]),
        ([("a", "b"), "d"], ["a.b", "d"]),
    ],
)
async def test_patterns_say_what_a_reader_sees(exp, patterns, expected):
    subscription, seen = exp.subscribe(patterns), []
    for name in ("a.b", "a.c", "d"):
        ct.execute_nowait(name)
    await exp.stop()
    await asyncio.wait_for(follow(subscription, seen), 10)
    assert [name for name, _ in seen] == expected


async def test_no_pattern_at_all_is_refused(exp):
    with pytest.raises(ct.ConfigurationError, match="at least one"):
        exp.subscribe([])


async def test_a_slow_reader_falls_behind_and_loses_nothing(exp):
    seen = []

    async def slow():
        async for event in exp.subscribe("n"):
            seen.append(event.measurements["i"])
            if len(seen) % 100 == 0:
                await asyncio.sleep(60)

    reader = asyncio.create_task(slow())
    await asyncio.sleep(0)
    await emit(3000)
    await exp.stop()
    await asyncio.wait_for(reader, 10_000)
    assert seen == list(range(3000))


async def test_a_match_behind_many_others_is_seen_without_waiting_for_more(exp):
    seen = []
    reader = asyncio.create_task(follow(exp.subscribe("rare"), seen))
    await asyncio.sleep(0)
    await emit(2000, "common")
    await emit(1, "rare")
    await exp.flush()
    await asyncio.sleep(1)
    assert seen == [("rare", 0)]
    reader.cancel()


async def test_several_readers_see_everything_each(exp):
    lists = [[], [], []]
    readers = [asyncio.create_task(follow(exp.subscribe(), seen)) for seen in lists]
    await asyncio.sleep(0)
    await emit(700)
    await exp.stop()
    await asyncio.wait_for(asyncio.gather(*readers), 10)
    assert lists == [[("n", i) for i in range(700)]] * 3


async def test_a_reader_that_stopped_reading_is_forgotten(exp):
    before = len(exp._collector.followers)
    await emit(5)
    async for event in exp.subscribe():
        assert event.measurements["i"] == 0
        break
    closed = exp.subscribe()
    closed.close()
    with pytest.raises(StopAsyncIteration):
        await anext(closed)
    gc.collect()
    await emit(5)
    await exp.flush()
    assert len(exp._collector.followers) == before


async def test_a_cancelled_reader_breaks_nothing_and_another_goes_on(exp):
    seen, others = [], []
    reader = asyncio.create_task(follow(exp.subscribe(), seen))
    other = asyncio.create_task(follow(exp.subscribe(), others))
    await emit(10)
    await asyncio.sleep(1)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await emit(10, first=10)
    await exp.stop()
    await asyncio.wait_for(other, 10)
    assert [i for _, i in others] == list(range(len(others)))
    assert len(others) == 20


@pytest.mark.parametrize("end", ["stop", "fail", "close"])
async def test_a_waiting_reader_ends_however_the_experiment_ends(end):
    lab = await ct.Lab().open()
    exp = await lab.start_experiment("a", capture="scope")
    seen = []
    reader = asyncio.create_task(follow(exp.subscribe(), seen))
    with exp.scope():
        ct.execute_nowait("n", {"i": 0})
    await asyncio.sleep(1)
    if end == "stop":
        await exp.stop()
    elif end == "fail":
        exp._fail(RuntimeError("given up"))
    else:
        await lab.close()
    await asyncio.wait_for(reader, 10)
    assert seen == [("n", 0)]
    await lab.close()


async def test_a_subscription_to_what_has_ended_ends_at_once(exp):
    await emit(3)
    await exp.stop()
    seen = []
    await asyncio.wait_for(follow(exp.subscribe(), seen), 10)
    assert seen == []
