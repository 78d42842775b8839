"""What conftest promises to the other tests."""

import asyncio
import time

import anyio
import pytest


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_an_asyncio_test_marked_so_sleeps_an_hour_in_no_time():
    real_s, virtual_s = time.monotonic(), asyncio.get_running_loop().time()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() - virtual_s == 3600
    assert time.monotonic() - real_s < 60


@pytest.mark.asyncio
async def test_an_asyncio_test_has_a_real_clock_otherwise():
    real_s, loop_s = time.monotonic(), asyncio.get_running_loop().time()
    await asyncio.sleep(0.001)
    assert time.monotonic() - real_s >= 0.0009
    assert asyncio.get_running_loop().time() - loop_s >= 0.0009


@pytest.mark.anyio
async def test_an_anyio_test_sleeps_an_hour_in_no_time_on_either_back_end():
    real_s, virtual_s = time.monotonic(), anyio.current_time()
    await anyio.sleep(3600)
    assert anyio.current_time() - virtual_s == pytest.approx(3600)
    assert time.monotonic() - real_s < 60


def test_the_deep_option_is_a_number(request):
    assert isinstance(request.config.getoption("--deep"), int)
