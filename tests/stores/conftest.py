"""The stores every contract test runs against: a factory per back-end."""

import pytest
from make import PlainReader

from crucible_telemetry.stores.memory import MemoryStore


def memory(segment_rows=8):
    return MemoryStore(PlainReader(), segment_rows=segment_rows)


STORES = {"memory": memory}


@pytest.fixture(params=STORES)
def store(request):
    return STORES[request.param]()
