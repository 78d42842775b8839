"""Token usage as providers, their clients and the tools around them report it → six counts. PURE.

Input tokens include cached ones and those written to a cache, output tokens include reasoning ones, as
OpenAI reports and price lists expect. Anthropic and Bedrock count input without what a cache gave or
took, Google counts output without thoughts: `ADDED` says what is added, here and for whole columns
(`tokens.py`). Names are those of the packages openai 3.54, anthropic 2.12, google-genai 3.4,
langchain-core 1.8, litellm 1.109, pydantic-ai 2.68 and OpenTelemetry's GenAI conventions 0.66b.
"""

from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)

CHUNK_TOKENS: Final = "chunk_tokens"
"""The measurement of a span that says how many tokens its chunks were marked with."""

PATHS: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("input_tokens", "prompt_tokens", "prompt_token_count", "inputTokens",
                     "promptTokenCount"),
    "output_tokens": ("output_tokens", "completion_tokens", "candidates_token_count",
                      "outputTokens", "candidatesTokenCount"),
    "total_tokens": ("total_tokens", "total_token_count", "totalTokens", "totalTokenCount"),
    "cached_tokens": ("input_tokens_details.cached_tokens", "prompt_tokens_details.cached_tokens",
                      "input_token_details.cache_read", "cache_read_input_tokens",
                      "cache_read.input_tokens", "cache_read_tokens", "prompt_cache_hit_tokens",
                      "cached_content_token_count", "cacheReadInputTokens",
                      "cachedContentTokenCount", "cached_tokens"),
    "cache_write_tokens": ("input_tokens_details.cache_write_tokens",
                           "prompt_tokens_details.cache_write_tokens",
                           "prompt_tokens_details.cache_creation_tokens",
                           "input_token_details.cache_creation", "cache_creation_input_tokens",
                           "cache_creation.input_tokens", "cacheWriteInputTokens",
                           "cache_write_tokens"),
    "reasoning_tokens": ("output_tokens_details.reasoning_tokens",
                         "output_tokens_details.thinking_tokens",
                         "completion_tokens_details.reasoning_tokens",
                         "output_token_details.reasoning", "reasoning.output_tokens",
                         "thoughts_token_count", "thoughtsTokenCount", "output_reasoning_tokens",
                         "reasoning_tokens"),
}  # fmt: skip
"""Where each count is looked for in a usage record, in order; dots lead into it."""

ADDED: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens",
                     "cacheReadInputTokens", "cacheWriteInputTokens",
                     "tool_use_prompt_token_count", "toolUsePromptTokenCount"),
    "output_tokens": ("thoughts_token_count", "thoughtsTokenCount"),
}  # fmt: skip
"""What stands beside a count instead of within it, in a record that is not `inclusive`."""
INCLUSIVE: Final = "prompt_tokens"
"""A record with this key follows OpenAI, also where LiteLLM puts Anthropic's keys beside it."""


def usage_counts(usage: Any) -> dict[str, int]:
    """The counts an object or mapping reports; what it does not say, or fails to say, is left out."""
    counts = {
        field: value
        for field, paths in PATHS.items()
        if (value := next((n for p in paths if (n := _count_at(usage, p)) is not None), None))
        is not None
    }
    if _count_at(usage, INCLUSIVE) is None:
        for field, keys in ADDED.items():
            beside = [n for key in keys if (n := _count_at(usage, key)) is not None]
            if beside:
                counts[field] = counts.get(field, 0) + sum(beside)
    return counts


def _count_at(usage: Any, path: str) -> int | None:
    try:
        for key in path.split("."):
            usage = usage.get(key) if isinstance(usage, Mapping) else getattr(usage, key, None)
        is_count = isinstance(usage, int) and not isinstance(usage, bool) and usage >= 0
        return usage if is_count else None
    except Exception:  # noqa: BLE001 - a client's property may raise anything
        return None
