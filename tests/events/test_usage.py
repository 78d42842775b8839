"""Usage as providers' clients report it."""

from types import SimpleNamespace

import pytest

from crucible_telemetry.events.usage import usage_counts

CASES = [
    ({"input_tokens": 3, "output_tokens": 4}, {"input_tokens": 3, "output_tokens": 4}),
    (
        {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    ),
    (
        {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5}},
        {"input_tokens": 9, "cached_tokens": 5},
    ),
    (
        {"output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 8}},
        {"output_tokens": 9, "reasoning_tokens": 8},
    ),
    (
        {"input_tokens": 2, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 5},
        {"input_tokens": 17, "cached_tokens": 10, "cache_write_tokens": 5},
    ),
    ({"input_tokens": 2, "cache_read_input_tokens": None}, {"input_tokens": 2}),
    ({"input_tokens": True, "output_tokens": -1, "total_tokens": "7"}, {}),
    (None, {}),
]


@pytest.mark.parametrize(("usage", "counts"), CASES)
def test_the_counts_a_client_reports_are_found(usage, counts):
    assert usage_counts(usage) == counts


@pytest.mark.parametrize(("usage", "counts"), CASES[:5])
def test_an_object_says_what_a_mapping_says(usage, counts):
    nested = {k: SimpleNamespace(**v) if isinstance(v, dict) else v for k, v in usage.items()}
    assert usage_counts(SimpleNamespace(**nested)) == counts
