"""Issue 2: not one event in the wrong place in 1,000 random programs, none that vanishes uncounted."""

import pytest
from isolation.check import check

PROGRAMS = 1000
BATCH = 250


@pytest.mark.asyncio
@pytest.mark.virtual_time
@pytest.mark.parametrize("first", range(0, PROGRAMS, BATCH))
async def test_every_event_of_a_random_program_is_where_it_belongs_or_counted(first):
    assert await check(range(first, first + BATCH)) is None


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_every_event_of_further_random_programs_is_where_it_belongs(request):
    more = request.config.getoption("--deep")
    assert await check(range(PROGRAMS, PROGRAMS + more)) is None
