"""Each event of the siblings' file through a real lab, against figures worked out by hand from its units."""

import json
from pathlib import Path

import pytest

import crucible_telemetry as ct

FILE = Path(__file__).parents[3] / "shared" / "data" / "events.jsonl"
LINES = [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []

FIGURES = (
    "latency_ms", "ttft_ms", "itl_ms", "cost_usd", "prompt_tokens", "completion_tokens", "total_tokens",
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "success", "outcome", "error_type",
    "provider", "model",
)  # fmt: skip
OK = {"success": True, "outcome": "ok"}
ERROR = {"success": False, "outcome": "error"}
HEDGED = {
    "hedged": True,
    "hedge_won": True,
    "delay_ms": 100,
    "strategy": "CrucibleHedging.Strategy.Fixed",
}
UNHEDGED = {**HEDGED, "hedged": False, "hedge_won": False}
HAIKU = {"provider": "anthropic", "model": "claude-haiku-4-5"}

# What each line of the file says: its name, its category, its figures, its fields.
MEANT = [
    ("crucible_hedging.request.start", "hedging", {}, {"strategy": "fixed"}),
    ("crucible_hedging.hedge.fired", "hedging", {}, {"delay_ms": 100}),
    ("crucible_hedging.request.cancelled", "hedging", {}, {}),
    # Milliseconds since the second request began: a latency, of no operation.
    ("crucible_hedging.hedge.won", "hedging", {"latency_ms": 51.0}, {}),
    # Its cost, 1.0, counts requests: no money.
    ("crucible_hedging.request.stop", "hedging", {**OK, "latency_ms": 601.0}, HEDGED),
    # Nothing in the event says that the function returned an error.
    ("crucible_hedging.request.stop", "hedging", {**OK, "latency_ms": 1.0}, UNHEDGED),
    ("crucible_hedging.request.exception", "hedging",
     {**ERROR, "latency_ms": 2.0, "error_type": "error"}, {}),
    ("crucible_ensemble.predict.start", "ensemble", {}, {}),
    ("crucible_ensemble.model.start", "llm", {"model": "gemini_flash"}, {}),
    ("crucible_ensemble.model.stop", "llm",
     {**OK, "latency_ms": 0.114, "cost_usd": 1.62e-05, "model": "gemini_flash"}, {}),
    ("crucible_ensemble.model.exception", "llm",
     {**ERROR, "latency_ms": 5.0, "error_type": "RuntimeError", "model": "gemini_flash"}, {}),
    ("crucible_ensemble.executor.stop", "ensemble", {"latency_ms": 8.036}, {}),
    ("crucible_ensemble.predict.stop", "ensemble",
     {**OK, "latency_ms": 21.696, "cost_usd": 4.8e-05}, {"consensus": 1.0}),
    ("req_llm.request.stop", "llm",
     {**OK, **HAIKU, "latency_ms": 1200.0, "ttft_ms": 310.0, "cost_usd": 0.000689, "prompt_tokens": 24,
      "completion_tokens": 133, "total_tokens": 157, "cached_tokens": 0, "cache_write_tokens": 0,
      "reasoning_tokens": 812},
     {"operation": "chat", "finish_reason": "stop", "http_status": 200, "temperature": 0.7}),
    ("req_llm.request.exception", "llm",
     {**ERROR, "latency_ms": 9.0, "error_type": "RateLimit", "provider": "openai", "model": "gpt-4o"},
     {"finish_reason": "error", "http_status": 429}),
    ("req_llm.request.retry", "llm", {"latency_ms": 9.0}, {}),
    ("req_llm.token_usage", "llm",
     {**HAIKU, "cost_usd": 0.000689, "prompt_tokens": 24, "completion_tokens": 133, "total_tokens": 157,
      "cached_tokens": 0, "reasoning_tokens": 0}, {}),
    # A failed call that stops: its status says so.
    ("altar.ai.text_gen.stop", "llm",
     {**ERROR, "latency_ms": 9.0, "error_type": "error", "provider": "openai", "model": "gpt-4o"},
     {"operation": "text_gen"}),
    ("altar.ai.text_gen.stop", "llm",
     {**OK, "latency_ms": 900.0, "provider": "openai", "model": "gpt-4o", "prompt_tokens": 1000,
      "completion_tokens": 1000, "total_tokens": 2000}, {"operation": "text_gen"}),
    ("research_harness.task.complete", "task", {**OK, "latency_ms": 1500.0}, {"engine": "async_stream"}),
    ("crucible_trace.event.created", "trace", {}, {"event_type": "hypothesis_formed", "confidence": 0.9}),
    # An HTTP 500 that stops: its result says so.
    ("tinkex.http.request.stop", "training", {**ERROR, "latency_ms": 9.0, "error_type": "error"}, {}),
    ("ensemble.predict.stop", "ensemble", {**OK, "latency_ms": 450.0, "cost_usd": 0.00015},
     {"strategy": "majority", "consensus": 1.0}),
]  # fmt: skip


@pytest.mark.skipif(not LINES, reason="../shared/data/events.jsonl is not here")
@pytest.mark.parametrize("at", range(len(MEANT)), ids=lambda at: f"{at + 1}-{MEANT[at][0]}")
@pytest.mark.asyncio
async def test_a_line_of_the_file_means_what_its_units_say(at):
    line, (name, category, figures, fields) = LINES[at], MEANT[at]
    # Priced by what they say alone: what a price list would add is not the event's.
    async with ct.Lab(prices=False) as lab, lab.experiment("real") as exp:
        await ct.execute(tuple(line["event"]), line["measurements"], line["metadata"])
        (event,) = await exp.events()
    assert (event.event_name, event.category) == (name, category)
    assert {key: getattr(event, key) for key in FIGURES} == {**dict.fromkeys(FIGURES), **figures}
    assert event.fields == fields


@pytest.mark.skipif(not LINES, reason="../shared/data/events.jsonl is not here")
def test_the_file_has_the_lines_that_were_worked_out():
    assert [".".join(line["event"]) for line in LINES] == [name for name, *_ in MEANT]


# -- every known event, in every spelling ----------------------------------------------------------

MS_OF_1000 = {"crucible_hedging": 1000.0, "research_harness": 1000.0, "crucible_ensemble": 1.0}
"""1000 in the unit of a library, in ms; of ``ensemble.predict`` 1.0; of all others 1000 ns."""
STEPS = ("vote.completed", "vote.complete", "created", "fired", "won", "saved", "retry", "duplicated",
         "token_usage", "model_agreement", "request.cancelled")  # fmt: skip


def meant_of(name):
    """(latency in ms, outcome) of an event with ``duration`` 1000 and nothing else."""
    ns = 0.001
    latency_ms = (
        1.0 if name.startswith("ensemble.predict.") else MS_OF_1000.get(name.split(".")[0], ns)
    )
    suffix = name.rpartition(".")[2]
    if suffix == "start" or name.endswith(STEPS) or ".executor." in name:
        return latency_ms, None
    return latency_ms, "error" if suffix == "exception" else "ok"


@pytest.mark.asyncio
async def test_every_known_event_in_every_spelling_has_the_unit_and_outcome_of_its_library():
    names = ct.catalog.standard_events()
    async with ct.Lab() as lab, lab.experiment("all") as exp:
        for at, name in enumerate(names):
            await ct.execute(tuple(name.split(".")), {"duration": 1000}, at_us=at)
        events = await exp.events()
        summary = await exp.metrics()
    assert [event.event_name for event in events] == names
    said = {event.event_name: (event.latency_ms, event.outcome) for event in events}
    plain_usage = {name: meant_of(name) for name in names}
    assert said == plain_usage
    ends = [name for name in names if ct.catalog.event_info(name).ends]
    calls = [name for name in ends if ct.catalog.event_info(name).category == "llm"]
    assert [name for name in names if meant_of(name)[1]] == ends
    assert summary.reliability.total_requests == len(calls)
    assert len(calls) == 16  # stop and exception of eight operations


@pytest.mark.asyncio
async def test_a_failure_told_by_the_opentelemetry_conventions_is_one():
    told = [
        {"error.type": "TimeoutError"}, {"error.type": "429"}, {"http.response.status_code": 500},
        {"gen_ai.response.finish_reasons": ["stop", "error"]},
        {"gen_ai.response.finish_reasons": ["stop"]}, {"error.type": None},
    ]  # fmt: skip
    async with ct.Lab() as lab, lab.experiment("otel") as exp:
        for metadata in told:
            await ct.execute("gen_ai.chat.stop", None, metadata)
        events = await exp.events()
    said = [(event.outcome, event.error_type) for event in events]
    assert said == [
        ("timeout", "TimeoutError"), ("error", "429"), ("error", "500"), ("error", "error"),
        ("ok", None), ("ok", None),
    ]  # fmt: skip
