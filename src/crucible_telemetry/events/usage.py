"""Token usage as the clients of LLM providers report it → the five counts this library keeps. PURE.

Input tokens include cached ones, output tokens include reasoning ones, as OpenAI reports and price
lists expect. Anthropic's raw input tokens leave cached ones out; they are added here.
"""

from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
)

_PATHS: Final = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "total_tokens": ("total_tokens",),
    "cached_tokens": (
        "input_tokens_details.cached_tokens",
        "prompt_tokens_details.cached_tokens",
        "cache_read_input_tokens",
        "cache_read_tokens",
        "cached_tokens",
    ),
    "reasoning_tokens": (
        "output_tokens_details.reasoning_tokens",
        "completion_tokens_details.reasoning_tokens",
        "reasoning_tokens",
    ),
}


def usage_counts(usage: Any) -> dict[str, int]:
    """The counts an object or mapping reports; what it does not say is left out."""
    counts = {
        field: value
        for field, paths in _PATHS.items()
        if (value := next(filter(_is_count, (_at(usage, p) for p in paths)), None)) is not None
    }
    if _is_count(_at(usage, "cache_read_input_tokens")) or _is_count(
        _at(usage, "cache_creation_input_tokens")
    ):
        beside = sum(_at(usage, f"cache_{k}_input_tokens") or 0 for k in ("read", "creation"))
        counts["input_tokens"] = counts.get("input_tokens", 0) + beside
    return counts


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _at(usage: Any, path: str) -> Any:
    for key in path.split("."):
        usage = usage.get(key) if isinstance(usage, Mapping) else getattr(usage, key, None)
    return usage
