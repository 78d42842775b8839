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
    """The counts an object or mapping reports; what it does not say, or fails to say, is left out."""
    counts = {
        field: value
        for field, paths in _PATHS.items()
        if (value := next((n for p in paths if (n := _count_at(usage, p)) is not None), None))
        is not None
    }
    beside = [_count_at(usage, f"cache_{kind}_input_tokens") for kind in ("read", "creation")]
    if beside != [None, None]:
        counts["input_tokens"] = counts.get("input_tokens", 0) + sum(n or 0 for n in beside)
    return counts


def _count_at(usage: Any, path: str) -> int | None:
    try:
        for key in path.split("."):
            usage = usage.get(key) if isinstance(usage, Mapping) else getattr(usage, key, None)
        is_count = isinstance(usage, int) and not isinstance(usage, bool) and usage >= 0
        return usage if is_count else None
    except Exception:  # noqa: BLE001 - a client's property may raise anything
        return None
