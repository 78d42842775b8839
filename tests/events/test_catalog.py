"""The table of known events, and what the events of the sibling libraries come to."""

import json
from pathlib import Path

import pytest

import crucible_telemetry as ct
from crucible_telemetry.events.known import known
from crucible_telemetry.events.rows import ENDINGS, NS_PER
from crucible_telemetry.events.standard import STANDARD

SHARED = Path(__file__).parents[3] / "shared" / "data" / "events.jsonl"

HEDGED = {
    "hedged": True, "hedge_won": True, "primary_latency": None, "backup_latency": 51,
    "hedge_delay": 100, "cost": 1.0, "strategy_name": "CrucibleHedging.Strategy.Fixed",
}  # fmt: skip
REQ_LLM = {
    "provider": "anthropic",
    "model": {"provider": "anthropic", "id": "claude-haiku-4-5"},
    "http_status": 200,
    "finish_reason": "stop",
    "usage": {
        "input_tokens": 24, "output_tokens": 133, "total_tokens": 157, "reasoning_tokens": 812,
        "cache_read_tokens": 0, "input_cost": 2.4e-05, "output_cost": 0.000665,
        "total_cost": 0.000689, "pricing": {"status": "priced", "total": 0.000689},
    },
    "streaming": {"first_chunk_at": 123, "time_to_first_chunk": 310_000_000},
}  # fmt: skip
NOTHING = {
    "latency_ms": None, "ttft_ms": None, "cost_usd": None, "prompt_tokens": None,
    "completion_tokens": None, "total_tokens": None, "outcome": None, "error_type": None,
    "provider": None, "model": None,
}  # fmt: skip

# (name, measurements, metadata, what it means)
KNOWN = [
    ("crucible_hedging.request.start", {"system_time": 1795191019297714297}, {}, {}),
    ("crucible_hedging.hedge.fired", {"delay": 100}, {}, {}),
    ("crucible_hedging.request.cancelled", {}, {"request_id": "#Ref"}, {}),
    ("crucible_hedging.hedge.won", {"latency": 51}, {}, {"latency_ms": 51.0}),
    (
        "crucible_hedging.request.stop", {"duration": 601}, HEDGED,
        {"latency_ms": 601.0, "outcome": "ok"},
    ),
    (
        "crucible_hedging.request.exception", {"duration": 2}, {},
        {"latency_ms": 2.0, "outcome": "error", "error_type": "error"},
    ),
    ("crucible_ensemble.model.start", {}, {"model": "gemini_flash"}, {"model": "gemini_flash"}),
    (
        "crucible_ensemble.model.stop", {"duration": 114},
        {"model": "gemini_flash", "cost": 1.62e-05, "success": True},
        {"latency_ms": 0.114, "cost_usd": 1.62e-05, "outcome": "ok", "model": "gemini_flash"},
    ),
    (
        "crucible_ensemble.model.exception", {"duration": 5000},
        {"model": "gemini_flash", "error": "msg", "error_type": "RuntimeError"},
        {"latency_ms": 5.0, "outcome": "error", "error_type": "RuntimeError", "model": "gemini_flash"},
    ),
    (
        "crucible_ensemble.predict.stop", {"duration": 21696}, {"total_cost": 4.8e-05},
        {"latency_ms": 21.696, "cost_usd": 4.8e-05, "outcome": "ok"},
    ),
    (
        "req_llm.request.stop", {"duration": 1_200_000_000}, REQ_LLM,
        {
            "latency_ms": 1200.0, "ttft_ms": 310.0, "cost_usd": 0.000689, "prompt_tokens": 24,
            "completion_tokens": 133, "total_tokens": 157, "outcome": "ok",
            "provider": "anthropic", "model": "claude-haiku-4-5",
        },
    ),
    (
        "req_llm.request.exception", {"duration": 9_000_000},
        {"model": {"provider": "openai", "id": "gpt-4o"}, "http_status": 429,
         "finish_reason": "error", "error": "RateLimit", "usage": None},
        {"latency_ms": 9.0, "outcome": "error", "error_type": "RateLimit",
         "provider": "openai", "model": "gpt-4o"},
    ),
    (
        "req_llm.request.retry", {"duration": 9_000_000},
        {"retry": {"attempt": 1, "delay": 500, "http_status": 429}}, {"latency_ms": 9.0},
    ),
    (
        "req_llm.token_usage",
        {"tokens": {"input": 24, "output": 133}, "cost": 0.000689, "total_cost": 0.000689},
        {"model": {"provider": "anthropic", "id": "claude-haiku-4-5"}},
        {"cost_usd": 0.000689, "prompt_tokens": 24, "completion_tokens": 133,
         "total_tokens": 157, "provider": "anthropic", "model": "claude-haiku-4-5"},
    ),
    (
        "altar.ai.text_gen.stop", {"duration": 9_000_000},
        {"provider": "openai", "model": "gpt-4o", "status": "error"},
        {"latency_ms": 9.0, "outcome": "error", "error_type": "error",
         "provider": "openai", "model": "gpt-4o"},
    ),
    (
        "altar.ai.text_gen.stop", {"duration": 900_000_000},
        {"provider": "openai", "model": "gpt-4o", "status": "ok",
         "tokens": {"prompt": 1000, "completion": 1000, "total": 2000}},
        {"latency_ms": 900.0, "outcome": "ok", "prompt_tokens": 1000, "completion_tokens": 1000,
         "total_tokens": 2000, "provider": "openai", "model": "gpt-4o"},
    ),
    (
        "research_harness.task.complete", {"duration": 1500}, {"repeat": 1},
        {"latency_ms": 1500.0, "outcome": "ok"},
    ),
    ("crucible_trace.event.created", {"system_time": 1}, {"confidence": 0.9}, {}),
    (
        "tinkex.http.request.stop", {"duration": 9_000_000}, {"result": "error"},
        {"latency_ms": 9.0, "outcome": "error", "error_type": "error"},
    ),
    (
        "ensemble.predict.stop", {"duration": 450_000}, {"cost_usd": 0.00015},
        {"latency_ms": 450.0, "cost_usd": 0.00015, "outcome": "ok"},
    ),
]  # fmt: skip


async def stored(name, measurements, metadata):
    """The one event an experiment keeps of this emit."""
    async with ct.Lab(prices=False) as lab, lab.experiment("known") as exp:
        await ct.execute(name, measurements, metadata)
        (event,) = await exp.events()
        assert exp.counts.stored == 1
        return event


@pytest.mark.parametrize(("name", "measurements", "metadata", "meant"), KNOWN)
@pytest.mark.asyncio
async def test_an_event_of_a_sibling_library_means_what_its_producer_meant(
    name, measurements, metadata, meant
):
    event = await stored(tuple(name.split(".")), measurements, metadata)
    assert {field: getattr(event, field) for field in NOTHING} == {**NOTHING, **meant}


@pytest.mark.asyncio
async def test_a_relative_cost_of_hedging_is_no_money():
    event = await stored("crucible_hedging.request.stop", {"duration": 601}, HEDGED)
    assert event.cost_usd is None
    assert event.metadata["cost"] == 1.0


@pytest.mark.asyncio
async def test_all_events_of_the_shared_file_are_kept_and_add_up_once():
    if not SHARED.exists():
        pytest.skip("../shared is not here; its events stand in the table above")
    lines = [json.loads(line) for line in SHARED.read_text().splitlines()]
    async with ct.Lab(prices=False) as lab, lab.experiment("all") as exp:
        for at, line in enumerate(lines):
            await ct.execute(tuple(line["event"]), line["measurements"], line["metadata"], at_us=at)
        events = await exp.events()
        summary = await exp.metrics()
    assert [event.event_name for event in events] == [".".join(line["event"]) for line in lines]
    assert [event.measurements for event in events] == [line["measurements"] for line in lines]
    units = [line["unit"].get("duration", "").removeprefix("native(").rstrip(")") for line in lines]
    for event, line, unit in zip(events, lines, units, strict=True):
        if "duration" in line["measurements"]:
            ns = line["measurements"]["duration"] * NS_PER[unit or "ns"]
            assert event.latency_ms == ns / 1e6, event.event_name
    # One call each of gemini_flash and claude; what wraps them, and the usage event, is not added.
    assert summary.cost.total == pytest.approx(0.000689 + 1.62e-05, rel=1e-12)
    assert summary.cost.count == 2
    assert (summary.tokens.total_prompt, summary.tokens.total_completion) == (1024, 1133)
    assert summary.tokens.reasoning == 812
    reliability = summary.reliability
    assert (reliability.total_requests, reliability.successful, reliability.failed) == (6, 3, 3)
    assert reliability.error_types == {"RateLimit": 1, "RuntimeError": 1, "error": 1}
    assert summary.streaming.ttft.count == 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_name_nobody_registered_ends_an_operation_by_its_last_part(ending):
    assert known(f"my.step.{ending}").ends
    assert not known(f"my.{ending}.step").ends
    assert known(f"my.step.{ending}").category is None
    assert known(f"my.step.{ending}").unit == "ns"


def test_a_hedge_that_is_cancelled_ends_no_request_of_its_own():
    assert not known("crucible_hedging.request.cancelled").ends
    assert known("crucible_hedging.request.stop").ends
    assert known("other.request.cancelled").ends


def test_the_longest_prefix_of_the_table_wins():
    assert known("crucible_ensemble.model.stop").category == "llm"
    assert known("crucible_ensemble.predict.stop").category == "ensemble"
    assert not known("crucible_ensemble.model.stop").wraps
    assert known("crucible_ensemble.predict.stop").wraps


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("crucible_ensemble.vote.stop", "us"), ("ensemble.predict.stop", "us"),
        ("ensemble.prediction.stop", "ns"), ("crucible_hedging.request.stop", "ms"),
        ("hedging.request.stop", "ns"), ("research_harness.task.complete", "ms"),
        ("req_llm.request.stop", "ns"), ("llm.request.stop", "ns"), ("anything.stop", "ns"),
    ],
)  # fmt: skip
def test_a_plain_duration_has_the_unit_of_its_family(name, unit):
    assert known(name).unit == unit


def test_the_table_holds_only_units_it_can_convert_names_that_differ_and_aliases_it_has():
    assert {row.unit for row in STANDARD} - {None} <= NS_PER.keys()
    names = [row.name for row in STANDARD]
    assert len(set(names)) == len(names)
    assert {row.alias for row in STANDARD} - {None} <= set(names)
