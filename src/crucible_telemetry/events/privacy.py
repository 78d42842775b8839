"""What may be kept: known text fields, at any depth, become a length and a keyed hash. PURE.

Under ``"metadata"`` (the default) prompts, responses, messages, arguments and error texts are replaced;
an error given as a short name (``timeout``, ``rate_limited``, ``429``, a class) is its type and stays,
as do the frames of a traceback. ``"none"`` keeps numbers only. ``"full"`` keeps everything.
"""

import hmac
import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from crucible_telemetry.events.odd import MARK_CUT, MARK_REPR, MAX_DEPTH, marked_cut

MARK_REDACTED: Final = "crucible:redacted"

TEXTS: Final = frozenset({
    "answer", "answers", "args", "argument", "arguments", "body", "chat_history", "choices", "completion",
    "completions", "content", "contents", "context", "conversation", "delta", "document", "documents",
    "function_call", "generated_text", "generation", "history", "input", "input_text", "inputs",
    "instruction", "instructions", "kwargs", "message", "messages", "output", "output_text", "outputs",
    "params", "prompt", "prompts", "query", "question", "reasoning_content", "request", "request_body",
    "response", "response_body", "response_text", "responses", "result_text", "system",
    "system_instruction", "system_instructions", "system_prompt", "text", "texts", "thinking", "tool_args", "tool_arguments",
    "tool_calls", "tool_input", "tool_output", "tool_result", "transcript", "user_message",
    "user_prompt", "gen_ai.prompt", "gen_ai.completion", "gen_ai.input.messages",
    "gen_ai.output.messages", "gen_ai.system_instructions",
})  # fmt: skip
"""Keys whose texts and containers are replaced; a number under them stays (``tokens.prompt = 12``)."""

ERRORS: Final = frozenset({
    "detail", "details", "error", "error_message", "error_msg", "error_text", "exception",
    "exception_message", "exc_info", "failure", "reason", "stack", "stacktrace", "traceback",
})  # fmt: skip
"""Keys whose texts are errors: a short name stays, the rest is replaced, frames stay."""

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}\Z")
_HASH: Final = re.compile(r"[0-9a-f]{32}\Z")
_FRAME: Final = re.compile(r'File "([^"]*)", line (\d+), in (\S+)')
_FLAT: Final = frozenset({int, float, bool, type(None)})


@lru_cache(maxsize=8192)
def sensitive(key: str) -> bool:
    """Whether values under this key are looked at; case and a dotted prefix do not matter."""
    last = _last(key)
    return key.lower() in TEXTS or last in TEXTS or last in ERRORS


@lru_cache(maxsize=8192)
def _last(key: str) -> str:
    return key.lower().rpartition(".")[2]


class Redactor:
    """Replaces texts; counts what it replaced by itself being asked (`redacted`)."""

    __slots__ = ("_keep_texts", "_key", "redacted")

    def __init__(self, key: bytes, *, full: bool = False) -> None:
        self._key = key
        self._keep_texts = full
        self.redacted = 0

    def value(self, key: str, value: Any, depth: int = 1) -> Any:
        """The value to keep under this key."""
        kind = type(value)
        if kind in _FLAT:
            return value
        if kind is str:
            return self._text(key, value)
        if isinstance(value, datetime):
            return value.isoformat()
        if depth > MAX_DEPTH:
            return marked_cut(len(value) if hasattr(value, "__len__") else 1, "", kind.__name__)
        if not self._keep_texts and sensitive(key):
            return self._replaced(key, value, depth)
        return self._walked(key, value, depth)

    def _text(self, key: str, value: str) -> Any:
        if self._keep_texts or not sensitive(key):
            return value
        return self._error(value, 1) if _last(key) in ERRORS else self._hashed(value)

    def _walked(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            if MARK_REPR in value and not self._keep_texts:
                return {MARK_REPR: "", "type": value.get("type")}
            return {k: self.value(str(k), item, depth + 1) for k, item in value.items()}
        if isinstance(value, list):
            return [self.value(key, item, depth + 1) for item in value]
        return value if type(value) in (str, bytes) else str(value)

    def _replaced(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, dict) and _is_redacted(value):
            return value
        if _last(key) in ERRORS:
            return self._error(value, depth)
        if _only_numbers(value):
            return self._walked(key, value, depth)  # which ends at `MAX_DEPTH`
        return self._hashed(value)

    def _error(self, value: Any, depth: int) -> Any:
        if type(value) in _FLAT:
            return value
        if isinstance(value, str):
            return self._error_text(value)
        if depth > MAX_DEPTH or not isinstance(value, (dict, list)):
            return self._hashed(value)
        if isinstance(value, list):
            return [self._error(item, depth + 1) for item in value]
        if _is_redacted(value):
            return value
        return {
            self._key_of_error(str(k)): self._part_of_error(str(k), item, depth + 1)
            for k, item in value.items()
        }

    def _error_text(self, value: str) -> Any:
        if _NAME.match(value):
            return value
        frames = [f"{name}:{line}" for _, line, name in _FRAME.findall(value)]
        return {**self._hashed(value), "frames": frames} if frames else self._hashed(value)

    def _key_of_error(self, key: str) -> str:
        return key if _NAME.match(key) else str(self._hashed(key)["hmac"])

    def _part_of_error(self, key: str, value: Any, depth: int) -> Any:
        if type(value) is str and key == MARK_REPR:
            return self._hashed(value)
        if sensitive(key) and _last(key) not in ERRORS:
            return self.value(key, value, depth)
        return self._error(value, depth)

    def _hashed(self, value: Any) -> dict[str, Any]:
        self.redacted += 1
        if isinstance(value, dict) and type(value.get(MARK_CUT)) is int:
            # Cut at emit because of its size: the length told is that of the text, its hash there.
            return {MARK_REDACTED: value[MARK_CUT], "hmac": self._digest(str(value).encode())}
        data = value if isinstance(value, bytes) else _text(value).encode("utf-8", "surrogatepass")
        size = len(value) if hasattr(value, "__len__") else len(data)
        return {MARK_REDACTED: size, "hmac": self._digest(data)}

    def _digest(self, data: bytes) -> str:
        return hmac.digest(self._key, data, "sha256").hex()[:32]


def _is_redacted(value: dict[Any, Any]) -> bool:
    """Whether it is what `_hashed` made; a look-alike that holds more is not."""
    return (
        type(value.get(MARK_REDACTED)) is int
        and _HASH.match(str(value.get("hmac"))) is not None
        and value.keys() <= {MARK_REDACTED, "hmac"}
    )


def _only_numbers(value: Any) -> bool:
    """Numbers at every depth, under keys that are names; no recursion, for it may be nested deep."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if not all(isinstance(key, str) and _NAME.match(key) for key in item):
                return False
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif type(item) not in _FLAT:
            return False
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


Redact = Callable[[str, dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]
"""A user's own redaction: (event, measurements, metadata) → (measurements, metadata) to keep."""
