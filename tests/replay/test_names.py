"""What columns are usually called."""

import pytest
from hypothesis import given, strategies as st

from crucible_telemetry.replay.names import FIELDS, UNITS, Guess, guess


@pytest.mark.parametrize(
    ("name", "field", "unit"),
    [
        ("TIMESTAMP", "time", None),
        ("ContextTokens", "input_tokens", None),
        ("GeneratedTokens", "output_tokens", None),
        ("number_input_tokens", "input_tokens", None),
        ("Request tokens", "input_tokens", None),
        ("usage.completion_tokens", "output_tokens", None),
        ("usage.prompt_tokens_details.cached_tokens", "cached_tokens", None),
        ("end_to_end_latency_s", "latency", "s"),
        ("latencyMs", "latency", "ms"),
        ("duration (ns)", "latency", "ns"),
        ("response_time_ms", "latency", "ms"),
        ("inter_token_latency_s", "itl", "s"),
        ("TTFT ms", "ttft", "ms"),
        ("startTime", "time", None),
        ("timestamp_ms", "time", "ms"),
        ("finished_at_us", "end_time", "us"),
        ("cost", "cost_usd", None),
        ("gen_ai.request.model", "model", None),
        ("http.status_code", "status", None),
        ("response.status_code", "status", None),
        ("error_code", "error_code", None),
        ("request_id", "item", None),
    ],
)
def test_common_columns_are_known_with_the_unit_their_name_ends_in(name, field, unit):
    assert guess(name) == Guess(field, unit)


@pytest.mark.parametrize(
    "name",
    [
        "request_time",
        "tokens",
        "temperature",
        "token_per_s",
        "cost_cents",
        "prompt",
        "",
        "___",
        "model_s",
    ],
)
def test_a_name_that_could_mean_several_things_is_no_guess(name):
    assert guess(name) is None


@given(st.sampled_from(sorted(FIELDS)), st.sampled_from(sorted(UNITS)), st.sampled_from("_ -."))
def test_every_duration_is_known_with_every_unit_in_any_case(field, word, gap):
    timed = field in ("time", "end_time", "latency", "ttft", "itl")
    for name in (f"{field}{gap}{word}", f"{field}{gap}{word}".upper()):
        if timed and word != "µs":
            assert guess(name) == Guess(field, UNITS[word])


@given(st.text())
def test_no_name_whatsoever_is_too_odd_to_be_asked_about(name):
    found = guess(name)
    assert found is None or found.field in FIELDS
