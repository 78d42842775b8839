"""Token counts in the spellings of real clients: the same six counts wherever a record stands."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.events.tokens import TokenPlan, tokens
from crucible_telemetry.events.usage import usage_counts

# As `model_dump()` of the clients' own classes gives them.
OPENAI_CHAT = {
    "completion_tokens": 133, "prompt_tokens": 1024, "total_tokens": 1157,
    "completion_tokens_details": {
        "accepted_prediction_tokens": None, "audio_tokens": None, "reasoning_tokens": 64,
        "rejected_prediction_tokens": None, "text_tokens": None,
    },
    "prompt_tokens_details": {
        "audio_tokens": None, "cache_write_tokens": None, "cached_tokens": 512,
        "image_tokens": None, "text_tokens": None,
    },
}  # fmt: skip
OPENAI_RESPONSES = {
    "input_tokens": 1024,
    "input_tokens_details": {
        "cache_write_tokens": 0, "cached_tokens": 512, "cache_write_tokens_details": None,
    },
    "output_tokens": 133, "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 1157,
}  # fmt: skip
ANTHROPIC = {
    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 200},
    "cache_creation_input_tokens": 200, "cache_read_input_tokens": 1000, "inference_geo": None,
    "input_tokens": 12, "output_tokens": 133, "output_tokens_details": {"thinking_tokens": 64},
    "server_tool_use": None, "service_tier": "standard", "speed": None,
}  # fmt: skip
LITELLM_ANTHROPIC = {
    "completion_tokens": 133, "prompt_tokens": 1212, "total_tokens": 1345,
    "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 200},
    "cache_creation_input_tokens": 200, "cache_read_input_tokens": 1000,
}  # fmt: skip
GOOGLE = {
    "prompt_token_count": 1000, "cached_content_token_count": 400, "candidates_token_count": 100,
    "thoughts_token_count": 64, "tool_use_prompt_token_count": 24, "total_token_count": 1188,
}  # fmt: skip
LANGCHAIN = {
    "input_tokens": 350, "output_tokens": 240, "total_tokens": 590,
    "input_token_details": {"audio": 10, "cache_creation": 200, "cache_read": 100},
    "output_token_details": {"audio": 10, "reasoning": 200},
}  # fmt: skip
PYDANTIC_AI = {
    "input_tokens": 1212, "cache_write_tokens": 200, "cache_read_tokens": 1000,
    "output_tokens": 133, "output_reasoning_tokens": 64,
}  # fmt: skip
BEDROCK = {
    "inputTokens": 12, "outputTokens": 133, "totalTokens": 1345, "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 200,
}  # fmt: skip
DEEPSEEK = {
    "prompt_tokens": 1024, "completion_tokens": 133, "total_tokens": 1157,
    "prompt_cache_hit_tokens": 512, "prompt_cache_miss_tokens": 512,
}  # fmt: skip
# Prompt, completion, total, cached, written to a cache, reasoning.
RECORDS = {
    "openai chat": (OPENAI_CHAT, (1024, 133, 1157, 512, None, 64)),
    "openai responses": (OPENAI_RESPONSES, (1024, 133, 1157, 512, 0, 64)),
    "anthropic": (ANTHROPIC, (1212, 133, 1345, 1000, 200, 64)),
    "litellm of anthropic": (LITELLM_ANTHROPIC, (1212, 133, 1345, 1000, 200, None)),
    "google": (GOOGLE, (1024, 164, 1188, 400, None, 64)),
    "langchain": (LANGCHAIN, (350, 240, 590, 100, 200, 200)),
    "pydantic-ai": (PYDANTIC_AI, (1212, 133, 1345, 1000, 200, 64)),
    "bedrock": (BEDROCK, (1212, 133, 1345, 1000, 200, None)),
    "deepseek": (DEEPSEEK, (1024, 133, 1157, 512, None, None)),
}
FIELDS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens",
)  # fmt: skip


def counts(event):
    return tuple(getattr(event, field) for field in FIELDS)


@pytest.mark.parametrize("kind", RECORDS)
@pytest.mark.asyncio
async def test_a_record_means_the_same_in_metadata_in_measurements_and_as_an_object(kind):
    record, meant = RECORDS[kind]
    nested = {k: SimpleNamespace(**v) if isinstance(v, dict) else v for k, v in record.items()}
    async with ct.Lab() as lab, lab.experiment(kind) as exp:
        await ct.execute("a.stop", None, {"usage": record})
        await ct.execute("a.stop", record)
        await ct.execute("a.stop", None, {"usage_metadata": record})
        async with ct.llm_call(provider="p", model="m") as call:
            call.usage(SimpleNamespace(**nested))
        async with ct.llm_call(provider="p", model="m") as call:
            call.usage(record)
        ends = [event for event in await exp.events() if event.event_name.endswith(".stop")]
    assert [counts(event) for event in ends] == [meant] * 5


@pytest.mark.asyncio
async def test_records_of_several_clients_in_one_column_are_read_each_as_its_own():
    kinds = list(RECORDS) * 3
    async with ct.Lab() as lab, lab.experiment("mixed") as exp:
        for kind in kinds:
            await ct.execute("a.stop", None, {"usage": RECORDS[kind][0]})
        events = await exp.events()
    assert [counts(event) for event in events] == [RECORDS[kind][1] for kind in kinds]


@pytest.mark.asyncio
async def test_counts_of_the_opentelemetry_conventions_include_what_a_cache_gave():
    usage = {
        "gen_ai.usage.input_tokens": 1212, "gen_ai.usage.output_tokens": 133,
        "gen_ai.usage.cache_read.input_tokens": 1000,
        "gen_ai.usage.cache_creation.input_tokens": 200,
        "gen_ai.usage.reasoning.output_tokens": 64,
    }  # fmt: skip
    async with ct.Lab() as lab, lab.experiment("otel") as exp:
        await ct.execute("gen_ai.chat.stop", None, usage)
        (event,) = await exp.events()
    assert counts(event) == (1212, 133, 1345, 1000, 200, 64)


@pytest.mark.asyncio
async def test_a_text_called_prompt_is_no_count_and_a_number_of_that_name_neither():
    async with ct.Lab() as lab, lab.experiment("texts", privacy="full") as exp:
        await ct.execute("a.stop", {"input": 7}, {"prompt": "7", "completion": 8, "tokens": 9})
        (event,) = await exp.events()
    assert counts(event) == (None,) * 6


NUMBER = st.one_of(
    st.integers(-2, 2**32), st.floats(), st.none(), st.text(max_size=2), st.booleans()
)
KEYS = sorted({key for record, _ in RECORDS.values() for key in record})
RECORD = st.dictionaries(
    st.sampled_from(KEYS), NUMBER | st.dictionaries(st.sampled_from(["cached_tokens", "cache_read"]), NUMBER)
)  # fmt: skip


@given(st.lists(RECORD | NUMBER | st.lists(NUMBER, max_size=2), min_size=1, max_size=6))
@settings(max_examples=200)
def test_a_column_of_anything_means_row_by_row_what_each_row_means_alone(column):
    odd = Counter()
    found = tokens([tuple(column)], TokenPlan({"usage": 0}), odd)
    for at, value in enumerate(column):
        alone = tokens([(value,)], TokenPlan({"usage": 0}), Counter())
        for name in ("prompt", "completion", "total", "cached", "cache_write", "reasoning"):
            of_all = found[name][at] if name in found else -1
            assert of_all == (alone[name][0] if name in alone else -1)
            assert -1 <= of_all < 2**31


@given(record=st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2**27)))
@settings(max_examples=200)
def test_a_live_object_and_a_stored_record_say_the_same(record):
    said = usage_counts(record)
    names = dict(
        zip(
            FIELDS,
            ("prompt", "completion", "total", "cached", "cache_write", "reasoning"),
            strict=True,
        )
    )
    stored = tokens([(record,)], TokenPlan({"usage": 0}), Counter())
    renamed = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    assert {names[renamed.get(field, field)]: n for field, n in said.items()} == {
        name: column[0] for name, column in stored.items() if column[0] >= 0
    }
