"""What `metrics_config` takes, what it refuses, and what it changes."""

import pytest
from make import PlainReader, columns

import crucible_telemetry as ct
from crucible_telemetry.events.columns import ENDS, WRAPS
from crucible_telemetry.metrics.board import Board
from crucible_telemetry.metrics.config import MetricsConfig, make_config
from crucible_telemetry.metrics.figures import Cost, Latency, Reliability, Streaming, Timing, Tokens
from crucible_telemetry.metrics.rest import at_rest
from crucible_telemetry.metrics.summary import live

READER = PlainReader()
PARTS = [
    columns(3, shape=1, latency_ns=10**6, cost_pico=10**12, total=1),
    columns(2, 4, shape=2, flags=ENDS, latency_ns=10**7, cost_pico=10**12, total=1),
    columns(1, 6, shape=3, flags=ENDS | WRAPS, latency_ns=10**8, cost_pico=10**12, total=1),
]


def shown(**given):
    board = Board.empty()
    for part in PARTS:
        board = board.plus(part, READER)
    config = make_config(given)
    running = live(board, READER, Timing(), config=config, by_event=True)
    rested = at_rest(PARTS, READER, Timing(), config=config, by_event=True)
    assert (running.pool, running.billed) == (rested.pool, rested.billed)
    assert running.cost.total == rested.cost.total
    assert running.latency.count == rested.latency.count
    return rested


@pytest.mark.parametrize(
    ("given", "pool", "operations"),
    [
        ({}, "llm operations", 3),
        ({"pool": "all"}, "all operations", 6),
        ({"pool": "event.2"}, "operations named event.2", 2),
        ({"pool": ["event.2", "event.3"]}, "operations named event.2, event.3", 3),
        ({"pool": "nothing.*"}, "operations named nothing.*", 0),
    ],
)
def test_the_pool_is_chosen_and_named(given, pool, operations):
    summary = shown(**given)
    assert (summary.pool, summary.reliability.total_requests) == (pool, operations)
    assert summary.latency.count == operations


@pytest.mark.parametrize(
    ("billed", "said", "count"),
    [
        ("auto", "operations that wrap no counted one", 5),
        ("all", "all operations", 6),
        (["event.3"], "operations named event.3", 1),
    ],
)
def test_what_cost_and_tokens_are_of_is_chosen_and_named(billed, said, count):
    summary = shown(billed=billed)
    assert (summary.billed, summary.cost.count, summary.tokens.count) == (said, count, count)


def test_a_part_switched_off_is_empty_and_named():
    parts = ("latency", "cost", "reliability", "tokens", "streaming")
    summary = shown(**dict.fromkeys(parts, False))
    assert summary.switched_off == parts
    empty = (Latency(), Cost(), Reliability(), Tokens(), Streaming())
    assert tuple(getattr(summary, part) for part in parts) == empty
    assert summary.events.by_event["event.1"].latency == Latency()
    assert "switched off: latency, cost" in str(summary)
    assert shown().switched_off == ()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"poool": "all"}, "unknown key 'poool'"),
        ({"pool": "lmm"}, "pool: want auto, llm, all or event patterns"),
        ({"pool": []}, "at least one"),
        ({"billed": "a*b.c"}, "ends in one"),
        ({"billed": 3}, "want names or patterns"),
        ({"latency": "no"}, "latency: want True or False"),
        ({"custom": "accuracy"}, "custom: want a list"),
        ({"custom": [""]}, "custom: want names"),
        ({"custom": ["a..b"]}, "custom: want names"),
        ({"custom": [3]}, "custom: want names"),
        ({"custom": [f"f{k}" for k in range(65)]}, "at most 64"),
        (["latency"], "want a mapping"),
        (MetricsConfig(pool="lmm"), "pool: want"),
    ],
)
def test_a_wrong_config_is_refused_with_the_reason(given, why):
    with pytest.raises(ct.ConfigurationError, match=why):
        make_config(given)


@pytest.mark.asyncio
async def test_a_wrong_config_is_refused_at_the_start():
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match="known are billed, cost, custom"):
            await lab.start_experiment("a", metrics_config={"success_rate": True})
        exp = await lab.start_experiment("b", metrics_config=ct.MetricsConfig(custom=("x", "x")))
        assert exp.spec.metrics_config.custom == ("x",)
        assert (await lab.start_experiment("c")).spec.metrics_config == ct.MetricsConfig()


@pytest.mark.parametrize("pool", ["auto", "llm", "all", "other.*", ["other.*", "llm.request.stop"]])
@pytest.mark.parametrize("billed", ["auto", "all", "other.*"])
@pytest.mark.asyncio
async def test_windows_are_of_the_pool_the_summary_names(pool, billed, monkeypatch):
    from crucible_telemetry.events import shape

    async with ct.Lab() as lab:
        config = {"pool": pool, "billed": billed}
        async with lab.experiment("a", metrics_config=config) as exp:
            for k in range(9):
                if k == 6:  # from here on rows carry their names
                    monkeypatch.setattr(shape, "MAX_SHAPES", 0)
                name = ("llm.request.stop", "other.work.stop", f"other.{k}.stop")[k % 3]
                said = {"duration_ms": k + 1, "cost": k + 1}
                await ct.execute(name, said, {f"only_here_{k}": 1}, at_us=10**15 + k)
            (row,) = await exp.windowed_metrics(3600)
            summary = await exp.metrics()
    assert row.success_count == summary.latency.count == summary.reliability.total_requests > 0
    assert row.mean_latency == summary.latency.mean
    assert row.total_cost == summary.cost.total
