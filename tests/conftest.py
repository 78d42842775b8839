"""Virtual time on both back-ends, for tests of either plugin; options and profiles.

Tests marked ``anyio`` run on asyncio and trio with a clock that jumps. Tests marked ``asyncio`` have a
real clock, or a jumping one when marked ``virtual_time`` too (on the test, the class or the module).
Neither jumping clock knows of worker threads or sockets: a timer may fire before a thread returns.
"""

import asyncio
import selectors

import hypothesis
import pytest
import pytest_asyncio
import trio.testing

import crucible_telemetry as ct
from crucible_telemetry.events.shape import SHAPES

hypothesis.settings.register_profile("crucible", deadline=None)
hypothesis.settings.load_profile("crucible")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer whenever nothing is ready to run; begins at 0 s."""

    def __init__(self):
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self._now_s = 0.0
        self._joins_threads = False
        self._poll = selector.select
        selector.select = self._jump_or_poll

    def time(self):
        return self._now_s

    async def shutdown_default_executor(self, *timeout):
        # Since 3.12 it sets a timer, and jumping to it would give the threads no time at all.
        self._joins_threads = True
        await super().shutdown_default_executor(*timeout)

    def _jump_or_poll(self, timeout=None):
        ready = self._poll(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self._joins_threads:  # only a thread or a socket can wake us
            return self._poll(timeout)
        self._now_s += timeout
        return []


def pytest_addoption(parser):
    parser.addoption("--deep", type=int, default=0, help="size of the longer runs of properties")


def pytest_configure(config):
    config.addinivalue_line("markers", "virtual_time: an asyncio test whose clock jumps")


def pytest_asyncio_loop_factories(config, item):
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    return {"real": asyncio.new_event_loop}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualTimeLoop}


@pytest_asyncio.fixture
async def lab():
    async with ct.Lab() as lab:
        yield lab


@pytest_asyncio.fixture
async def exp(lab):
    async with lab.experiment("a") as exp:
        yield exp


FLOOD = 1_000
"""A test that makes more shapes than this is about the table being full."""


@pytest.fixture(autouse=True)
def _shapes_of_one_test():
    """A flood of shapes fills the process's table for good: later tests would see generic rows only."""
    tables = (SHAPES.by_key, SHAPES.by_id, SHAPES._by_meaning)
    before = [len(table) for table in tables]
    yield
    if len(SHAPES.by_id) - before[1] > FLOOD:
        for table, size in zip(tables, before, strict=True):
            while len(table) > size:
                table.popitem()
