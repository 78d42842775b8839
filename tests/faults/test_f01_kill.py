"""F1: a process is killed at random moments, and what it had confirmed is there, once.

More kills: ``pytest tests/faults/test_f01_kill.py --deep 200``.
"""

import random
import statistics
import warnings

import pytest
import servers
from faults.crash_child import POINTS
from faults.crashing import Ledger, killed, sound

KILLS = 20
PER_STORE = 10
"""Kills of one store, then a fresh one: each child reads what those before it left."""
STORES = {
    "sqlite": lambda folder, part: f"sqlite:///{folder}/runs-{part}.db",
    "postgres": lambda _, __: servers.postgres().url(),
}
"""Where the child writes, by kind of store."""


@pytest.mark.filterwarnings("default:.* kills")
@pytest.mark.asyncio
@pytest.mark.parametrize("store", STORES)
async def test_f01_what_was_confirmed_survives_kills(store, tmp_path, request):
    kills = max(request.config.getoption("--deep"), KILLS)
    opened_s, confirmed, stored = [], 0, 0
    for part in range(-(-kills // PER_STORE)):
        url, ledger = STORES[store](tmp_path, part), Ledger()
        found = [
            await one_kill(url, ledger, number)
            for number in range(min(PER_STORE, kills - len(opened_s)))
        ]
        there = [one["stored"] for one in found]
        assert there == sorted(there)
        sound(url)
        opened_s += [one["opened_s"] for one in found]
        confirmed, stored = confirmed + ledger.confirmed, stored + there[-1]
    if kills > KILLS:
        warnings.warn(
            f"{store}: {kills} kills, {confirmed} events confirmed, {stored} there, none lost, none doubled; "
            f"opening {statistics.median(opened_s) * 1e3:.0f} ms, slowest {max(opened_s) * 1e3:.0f} ms",
            stacklevel=1,
        )


async def one_kill(url, ledger, number):
    """Every other at a random moment, the others at one that is aimed at."""
    point = "never" if number % 2 else random.choice(list(POINTS))
    ledger.add(number, killed(url, number, point))
    return await ledger.check(url, reopen=number % 3 == 0)
