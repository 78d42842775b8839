"""What the columns of traces are usually called: name → field and unit. PURE.

Units come from names alone, never from the size of a number.
"""

import re
from typing import Final

from msgspec import Struct

UNITS: Final = {
    word: unit
    for unit, words in {
        "ns": "ns nano nanos nanosecond nanoseconds",
        "us": "us µs micro micros microsecond microseconds usec",
        "ms": "ms milli millis millisecond milliseconds msec",
        "s": "s sec secs second seconds",
    }.items()
    for word in words.split()
}
"""How units are written at the end of a name."""

TIMES: Final = ("time", "end_time")
DURATIONS: Final = ("latency", "ttft", "itl")
OUTCOMES: Final = (
    "success",
    "status",
    "error",
    "error_code",
    "error_type",
    "finish_reason",
    "event",
)
"""Fields that say how a call ended."""

FIELDS: Final = {
    "time": "time timestamp ts datetime date created created_at start start_time started_at arrival "
            "arrival_time arrived_at time_stamp request_timestamp",
    "end_time": "end end_time ended_at stop_time finish_time finished_at completed_at end_timestamp",
    "latency": "latency duration elapsed elapsed_time response_time total_time e2e e2e_latency "
               "end_to_end_latency end_to_end total_latency wall_time runtime inference_time "
               "processing_time request_duration response_duration",
    "ttft": "ttft time_to_first_token first_token_latency first_token_time time_to_first_chunk",
    "itl": "itl inter_token_latency tpot time_per_output_token time_between_tokens tbt",
    "input_tokens": "input_tokens prompt_tokens context_tokens request_tokens tokens_in in_tokens "
                    "tokens_input tokens_prompt input_token_count prompt_token_count",
    "output_tokens": "output_tokens completion_tokens generated_tokens generation_tokens tokens_out "
                     "out_tokens tokens_output tokens_completion response_tokens output_token_count "
                     "completion_token_count candidates_token_count",
    "total_tokens": "total_tokens tokens_total total_token_count",
    "cached_tokens": "cached_tokens cached_input_tokens cache_read_tokens cache_read_input_tokens "
                     "tokens_cached prompt_tokens_details_cached_tokens "
                     "input_tokens_details_cached_tokens",
    "reasoning_tokens": "reasoning_tokens tokens_reasoning thoughts_token_count "
                        "completion_tokens_details_reasoning_tokens "
                        "output_tokens_details_reasoning_tokens",
    "cost_usd": "cost_usd cost usd total_cost total_cost_usd cost_total spend spend_usd price_usd",
    "model": "model model_name model_id",
    "provider": "provider provider_name vendor custom_llm_provider",
    "success": "success succeeded successful ok is_success",
    "status": "status status_code http_status http_status_code response_status outcome",
    "error": "error exception",
    "error_code": "error_code",
    "error_type": "error_type error_name",
    "finish_reason": "finish_reason stop_reason",
    "item": "item item_id id request_id sample_id question_id example_id task_id prompt_id qid "
            "custom_id",
    "repeat": "repeat repetition",
    "attempt": "attempt",
    "session": "session session_id conversation_id",
    "user": "user user_id",
    "event": "event event_name",
}  # fmt: skip
"""Every field a column can be mapped to, and what such columns are called."""

_WORD: Final = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-zµ]+|[A-Z]+|\d+")
_FILLERS: Final = frozenset({
    "usage", "number", "num", "n", "metrics", "gen", "ai", "llm", "request", "response", "data",
    "attributes", "measurements", "metadata", "streaming",
})  # fmt: skip
"""Words before the name proper: ``number_input_tokens``, ``usage.prompt_tokens``."""
_TOO_SHORT: Final = frozenset({"time", "date", "start", "end", "id"})
"""What says too little after a filler: ``request_time`` may be when it came or how long it took."""


def words(name: str) -> list[str]:
    """The words of a name in lower case: ``ContextTokens``, ``context-tokens`` and ``context.tokens`` alike."""
    return [word.lower() for word in _WORD.findall(name)]


_STEMS: Final = {
    tuple(words(stem)): field for field, stems in FIELDS.items() for stem in stems.split()
}


class Guess(Struct, frozen=True):
    """The field a name suggests, and the unit it ends in (``ns``, ``us``, ``ms``, ``s``; None without)."""

    field: str
    unit: str | None = None


def guess(name: str) -> Guess | None:
    """What a column of this name holds; None when the name says nothing that is known."""
    parts = tuple(words(name))
    field = _field(parts)
    if field is not None:
        return Guess(field)
    if len(parts) < 2 or parts[-1] not in UNITS:
        return None
    field = _field(parts[:-1])
    timed = field in TIMES or field in DURATIONS
    return Guess(field, UNITS[parts[-1]]) if field is not None and timed else None


def _field(parts: tuple[str, ...]) -> str | None:
    if parts in _STEMS:
        return _STEMS[parts]
    while parts and parts[0] in _FILLERS:
        parts = parts[1:]
        if parts in _STEMS and not (len(parts) == 1 and parts[0] in _TOO_SHORT):
            return _STEMS[parts]
    return None
