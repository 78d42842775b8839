"""Figures of many events are made beside the loop, and are the same."""

import threading

import pytest

import crucible_telemetry as ct
from crucible_telemetry.analysis import reading

N = 300


def noting(monkeypatch, name):
    """The threads in which this was called."""
    threads, plain = [], getattr(reading, name)

    def noted(*args, **options):
        threads.append(threading.get_ident())
        return plain(*args, **options)

    monkeypatch.setattr(reading, name, noted)
    return threads


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("at_rest", lambda exp: exp.metrics()),
        ("windowed", lambda exp: exp.windowed_metrics(7.5)),
    ],
)
async def test_figures_of_many_events_are_made_in_a_thread_and_of_few_on_the_loop(
    monkeypatch, name, asked
):
    threads = noting(monkeypatch, name)
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("many", capture="scope")
        async with exp.scope():
            for i in range(N):
                await ct.execute("llm.request.stop", {"duration_ms": i}, at_us=i * 10**5)
        await exp.stop()
        monkeypatch.setattr(reading, "IN_PLACE", N)
        here = await asked(exp)
        monkeypatch.setattr(reading, "IN_PLACE", N - 1)
        beside = await asked(exp)
    assert beside == here
    assert threads[0] == threading.get_ident() != threads[1]
