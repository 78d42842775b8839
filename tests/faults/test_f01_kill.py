"""F1: a process is killed at random moments, and what it had confirmed is there, once.

More kills: ``pytest tests/faults/test_f01_kill.py --deep 200``.
"""

import random
import warnings

import pytest
import servers
from faults.crash_child import POINTS
from faults.crashing import Ledger, killed

KILLS = 20
STORES = {
    "sqlite": lambda folder: f"sqlite:///{folder}/runs.db",
    "postgres": lambda _: servers.postgres().url(),
}
"""Where the child writes, by kind of store."""


@pytest.mark.filterwarnings("default:.* kills")
@pytest.mark.asyncio
@pytest.mark.parametrize("store", STORES)
async def test_f01_what_was_confirmed_survives_kills(store, tmp_path, request):
    url = STORES[store](tmp_path)
    kills = max(request.config.getoption("--deep"), KILLS)
    ledger, figures = Ledger(), []
    for number in range(kills):
        # Every other at a random moment, the others at one that is aimed at.
        point = "never" if number % 2 else random.choice(list(POINTS))
        ledger.add(number, killed(url, number, point))
        figures.append(await ledger.check(url, reopen=number % 3 == 0))
    stored = [one["stored"] for one in figures]
    assert stored == sorted(stored)
    if kills > KILLS:
        slowest_ms = max(one["opened_s"] for one in figures) * 1e3
        warnings.warn(
            f"{store}: {kills} kills, {stored[-1]} events, slowest opening {slowest_ms:.0f} ms",
            stacklevel=1,
        )
