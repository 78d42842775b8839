"""F09: names nobody ever heard of, by the hundred thousand: looked up once, forgotten again."""

from pathlib import Path

import pytest

import crucible_telemetry as ct
from crucible_telemetry.collect.library import KEPT, LIBRARY

NAMES = 200_000
MAX_GROWTH_BYTES = 50 * 2**20


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc/self/statm")
def test_f09_unknown_model_names_do_not_grow_what_the_price_library_remembers():
    pytest.importorskip("genai_prices", reason="the extra [prices] is not installed")
    from genai_prices import data_snapshot

    snapshot = data_snapshot.get_snapshot()
    call = {"input_tokens": 1, "output_tokens": 1}
    LIBRARY.load()
    caches = (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)
    before, kept = resident_bytes(), sum(map(len, caches))
    for number in range(NAMES):
        assert ct.estimate_cost(provider="openai", model=f"no-such-{number}", **call) is None
    assert ct.estimate_cost(provider="openai", model="x" * 10**6, **call) is None
    assert resident_bytes() - before < MAX_GROWTH_BYTES
    assert LIBRARY.remembered <= 2 * KEPT
    assert sum(map(len, caches)) == kept
