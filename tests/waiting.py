"""Waiting for something to come true, instead of for some time that ought to do."""

import asyncio
import time
from collections.abc import Callable

LOOK_S = 0.005


def until(happened: Callable[[], object], within_s: float = 30.0) -> None:
    """Return once `happened()` is true; AssertionError when it is not after this long."""
    deadline = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(LOOK_S)


async def comes(happened: Callable[[], object], within_s: float = 30.0) -> None:
    """The same without holding up the loop; on a virtual clock the time is virtual too."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not happened():
        assert loop.time() < deadline, f"not within {within_s} s"
        await asyncio.sleep(LOOK_S)
