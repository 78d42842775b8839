"""The check of `test_isolation.py` can fail: it finds each deliberate fault of `mutants.py`."""

import pytest
from isolation.check import check
from isolation.mutants import MUTANTS

from crucible_telemetry.events.routes import ROUTES

PROGRAMS = 150
LIMIT_S = 3.0
"""A program takes about 10 ms; one that takes this long waits for something that never comes."""


@pytest.fixture
def routes_as_before():
    """What a mutant leaves open hears nothing of later tests."""
    before = [*ROUTES.by_box]
    yield
    for box in [*ROUTES.by_box]:
        if box not in before:
            del ROUTES.by_box[box]
    ROUTES.refresh()


@pytest.mark.asyncio
@pytest.mark.virtual_time
@pytest.mark.usefixtures("routes_as_before")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_check_finds(mutant, monkeypatch):
    with monkeypatch.context() as patches:
        mutant(patches.setattr)
        assert await check(range(PROGRAMS), LIMIT_S) is not None


@pytest.mark.asyncio
@pytest.mark.virtual_time
async def test_the_same_programs_pass_without_a_mutant():
    assert await check(range(PROGRAMS)) is None
