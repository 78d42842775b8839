"""What the fault tests share: numbered events, and the law of accounting checked on them as sets."""

import time
from collections import Counter

import crucible_telemetry as ct

NAME = "fault.numbered"


def emit(number, **metadata):
    ct.execute_nowait(NAME, {"n": number}, metadata or None)


def numbers(events):
    return [event.measurements["n"] for event in events if event.event_name == NAME]


async def stored_numbers(exp):
    """The numbers of the stored events in the order they were stored, without decoding to `Event`."""
    found = []
    async for page in exp.pages(size=4096):
        found += [
            (event.seq, event.measurements["n"]) for event in page if event.event_name == NAME
        ]
    return [number for _, number in sorted(found)]


def lawful(exp):
    """The law of SPEC 2.2; returns the counts."""
    counts = exp.counts
    assert counts.emitted == counts.accounted, counts
    return counts


async def whole(exp, expected):
    """Every expected number is stored, once; nothing else is; seq has no gap; the board agrees."""
    expected = list(expected)
    found = await stored_numbers(exp)
    twice = [n for n, times in Counter(found).items() if times > 1]
    assert not twice, f"twice: {twice[:5]}"
    missing, more = set(expected) - set(found), set(found) - set(expected)
    assert not missing, f"missing {sorted(missing)[:5]}"
    assert not more, f"unexpected {sorted(more)[:5]}"
    counts = lawful(exp)
    assert counts.in_flight == 0
    await agreeing(exp, counts.stored)
    return counts


async def agreeing(exp, stored):
    """The store, the live board and the metrics at rest count the same."""
    live, rest = exp.live(), await exp.metrics()
    assert live.summary.total_events == rest.summary.total_events == stored
    assert await exp.count_events() == stored
    assert live.events.counts == rest.events.counts
    for part in ("count", "mean", "min", "max", "std_dev"):
        assert getattr(live.latency, part) == getattr(rest.latency, part)
    assert live.reliability.total_requests == rest.reliability.total_requests
    assert live.upto_seq == rest.upto_seq == stored


def wait_until(holds, limit_s=20.0):
    """For threads and children: until something holds, failing after a generous while."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.001)
