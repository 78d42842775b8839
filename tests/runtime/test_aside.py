"""A loop beside the caller's, whatever loop that is."""

import asyncio
import threading

import anyio
import pytest
import servers
import trio

import crucible_telemetry as ct
from crucible_telemetry.runtime.aside import AsideLoop


async def uses():
    aside = AsideLoop("aside")
    with pytest.raises(RuntimeError, match="'aside' does not run"):
        await aside.call(where)
    aside.start()
    assert await aside.call(where) == ("aside", True)
    with pytest.raises(ZeroDivisionError):
        await aside.call(fails)
    ended = threading.Event()
    with anyio.move_on_after(0.05) as limit:
        await aside.call(lambda: lasts(ended))
    assert limit.cancelled_caught
    assert await anyio.to_thread.run_sync(ended.wait, 5)  # it was cancelled over there
    assert await aside.call(where) == ("aside", True)
    await aside.stop()
    await aside.stop()
    assert not aside.running
    assert "aside" not in [thread.name for thread in threading.enumerate()]


async def where():
    return threading.current_thread().name, asyncio.get_running_loop() is not None


async def fails():
    raise ZeroDivisionError


async def lasts(ended):
    try:
        await asyncio.sleep(60)
    finally:
        ended.set()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_run_on_asyncio_in_one_thread_and_are_cancelled_with_their_caller(backend):
    anyio.run(uses, backend=backend)


def test_a_lab_on_trio_keeps_its_experiments_on_a_server():
    url = servers.postgres().url()

    async def main():
        async with ct.Lab(url) as lab, lab.experiment("a") as exp:
            await ct.execute("a.b", {"n": 1})
            assert (await exp.flush()).complete
        async with ct.Lab(url) as lab:
            (found,) = lab.list_experiments()
            assert len(await found.events()) == 1

    trio.run(main)
