"""F11 where figures are read: any value in any place that enrichment looks at loses no event."""

import asyncio

import strategies
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.events.enrich import COST_KEYS, FIRST_CHUNK_KEYS, OTEL_DURATIONS, OTEL_FIRST
from crucible_telemetry.events.fields import FIELDS
from crucible_telemetry.events.outcome import OUTCOME_KEYS
from crucible_telemetry.events.usage import ADDED, PATHS

LOOKED_AT = sorted({
    *COST_KEYS, *FIRST_CHUNK_KEYS, *OTEL_DURATIONS, *OTEL_FIRST, *OUTCOME_KEYS,
    *(key for table in (PATHS, ADDED) for keys in table.values() for key in keys),
    *(key for fields in FIELDS.values() for field in fields for key in (field.name, *field.keys)),
    *(key.partition(".")[0] for keys in PATHS.values() for key in keys),
    "duration", "duration_ns", "duration_ms", "duration_s", "latency", "start", "stop", "start_ms", "stop_ms",
    "ttft", "itl", "itl_ms", "tokens", "usage", "usage_metadata", "token_usage", "streaming", "retry",
    "provider", "model", "model_name", "gen_ai.usage.input_tokens", "system_time",
})  # fmt: skip
INSIDE = st.dictionaries(
    st.sampled_from(["input_tokens", "output_tokens", "prompt_tokens", "total_cost", "total", "id", "provider",
                     "cache_read_input_tokens", "input_tokens_details", "cached_tokens", "type", "prompt"]),
    strategies.ODD | st.integers(-5, 2**33) | st.dictionaries(st.just("cached_tokens"), strategies.ODD),
    max_size=4,
)  # fmt: skip
VALUE = st.one_of(
    strategies.ODD, INSIDE, st.lists(strategies.ODD, max_size=3), st.integers(-3, 10**12), st.none(),
    st.booleans(), st.text(max_size=5),
)  # fmt: skip
VALUES = st.dictionaries(st.sampled_from(LOOKED_AT), VALUE, max_size=5)
NAMES = st.sampled_from([*ct.catalog.standard_events(), "my.own.stop", "my.own", ""])
EVENTS = st.lists(st.tuples(NAMES, VALUES, VALUES), min_size=1, max_size=6)


async def taken(events):
    """(events read back, summary at rest) of one experiment that took these."""
    async with ct.Lab(prices=False) as lab, lab.experiment("hostile") as exp:
        for name, measurements, metadata in events:
            # Twice: alone, and beside another of its shape with nothing odd in it.
            await ct.execute(name, measurements, metadata)
            await ct.execute(name, dict.fromkeys(measurements, 1), dict.fromkeys(metadata, 1))
        read = await exp.events()
        exp.live()
        assert exp.counts.quarantined == 0
        assert exp.counts.stored == exp.counts.emitted == 2 * len(events)
        assert exp.health().restarts == 0
        return read, await exp.metrics()


@given(EVENTS)
@settings(max_examples=150)
def test_f11_any_value_where_figures_are_read_loses_no_event(events):
    read, summary = asyncio.run(taken(events))
    assert len(read) == summary.summary.total_events == 2 * len(events)
    for event in read:
        assert event.fields.keys() <= {field.name for some in FIELDS.values() for field in some}
        assert event.outcome in {None, "ok", "error", "timeout", "cancelled", "unknown"}
        for figure in ("latency_ms", "ttft_ms", "itl_ms", "cost_usd"):
            value = getattr(event, figure)
            assert value is None or 0 <= value < 2**63
        for figure in ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"):
            value = getattr(event, figure)
            assert value is None or 0 <= value < 2**31
