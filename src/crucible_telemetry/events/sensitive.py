"""Which keys hold what people and models said, and which texts hold a credential. PURE.

A key is read as its words: ``promptText``, ``prompt-text``, ``PROMPT_TEXT`` and ``llm.prompt.0.text`` are
alike. The names come from the request and response fields of the OpenAI, Anthropic, LiteLLM and LangChain
clients and the OpenTelemetry (GenAI), OpenInference and Traceloop attributes.
"""

import re
import unicodedata
from enum import Enum
from functools import lru_cache
from typing import Final

TEXTS: Final = frozenset({
    "answer", "answers", "argument", "arguments", "attachment", "attachments", "audio", "body", "choices",
    "completion", "completions", "content", "contents", "conversation", "conversations", "critique",
    "dialog", "dialogue", "document", "documents", "explanation", "explanations", "file_data", "function_call",
    "generation", "generations", "history", "image", "images", "image_url", "input", "inputs",
    "instruction", "instructions", "intermediate_steps", "justification", "kwargs", "message", "messages",
    "observation", "observations", "output", "outputs", "partial_json", "passage", "passages",
    "payload", "prompt", "prompts", "query", "queries", "question", "questions", "rationale", "refusal", "replies", "reply", "request", "requests", "response", "responses", "return_values",
    "scratchpad", "snippet", "snippets", "statement", "stderr", "stdout", "summary", "system_prompt", "text",
    "texts", "thinking", "thought", "thoughts", "tool_args", "tool_call", "tool_calls", "tool_result", "tool_results", "transcript",
    "transcripts", "utterance", "utterances", "video",
})  # fmt: skip
"""Words at the end of a key whose texts and containers are replaced; a number under them stays."""

WHOLE: Final = frozenset({
    "args", "b_64_json", "chat", "context", "delta", "log", "logs", "parameters", "params", "raw", "reasoning",
    "search_results", "sql", "system", "template", "tool_choice",
})  # fmt: skip
"""As `TEXTS`, when they are the whole key or its last dotted part: ``system``, not ``operating_system``."""

CREDENTIALS: Final = frozenset({
    "access_key", "api_key", "apikey", "auth", "authorization", "bearer", "connection_string", "cookie",
    "cookies", "credential", "credentials", "dsn", "headers", "passphrase", "passwd", "password",
    "private_key", "pwd", "secret", "secret_key", "secrets", "token",
})  # fmt: skip
"""Words at the end of a key whose texts let somebody in; a number under them (a count) stays."""

ERRORS: Final = frozenset({
    "detail", "details", "err", "error", "errors", "error_description", "error_message", "error_msg",
    "error_text", "error_type", "exc", "exc_info", "exception", "exception_message", "exception_type",
    "failure", "functions", "reason", "stack", "stacktrace", "stop_sequence", "stop_sequences",
    "tool_definitions", "tools", "trace_back", "traceback", "warning", "warnings",
})  # fmt: skip
"""Words at the end of a key of which short names stay (a class, a status, a tool), and texts do not."""

LABELS: Final = frozenset({
    "expected", "feedback", "gold", "ground_truth", "ideal", "prediction", "predictions",
})  # fmt: skip
"""As `ERRORS`: what was to come out and what did, a class of a classifier or a whole text."""

RESULTS: Final = frozenset({"result", "results"})
"""Words at the end of a key of which only the word for an outcome stays (``ok``, ``error``, ``hit``)."""

COUNTS: Final = frozenset({"tokens", "top_logprobs", "logprobs"})
"""Words at the end of a key under which numbers and their names stay, and lists of texts do not."""

NAMES: Final = frozenset({"gen_ai.system"})
"""Keys that look like one of these and are none: a provider's name."""

# What says how a value is given, not what it is: ``input.value``, ``error_str``, ``prompt_1``.
_FORMS: Final = frozenset({
    "array", "b64", "base64", "blob", "block", "blocks", "bytes", "chunk", "chunks", "data", "dict", "final",
    "full", "html", "items", "json", "jsonl", "list", "markdown", "md", "object", "original", "part", "parts",
    "preview", "raw", "repr", "str", "string", "strings", "template", "truncated", "v", "value", "values",
    "variables", "xml", "yaml",
})  # fmt: skip
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PART: Final = re.compile(r"[./:\[\]]+")
_WORD: Final = re.compile(r"[a-z]+|[0-9]+|[^\W\d_a-z]+")
_MAX_KEY: Final = 256
_MAX_WORDS: Final = 3


class Kind(Enum):
    """What the values under a key are."""

    OTHER = 0
    TEXT = 1
    ERROR = 2
    RESULT = 3
    COUNT = 4


_ENDINGS: Final = {
    **dict.fromkeys(TEXTS | CREDENTIALS, Kind.TEXT),
    **dict.fromkeys(ERRORS | LABELS, Kind.ERROR),
    **dict.fromkeys(RESULTS, Kind.RESULT),
    **dict.fromkeys(COUNTS, Kind.COUNT),
}
_PARTS: Final = {**dict.fromkeys(WHOLE, Kind.TEXT), **_ENDINGS}
# ``toolcalls``, ``systemprompt``: written together and without capitals.
_TOGETHER: Final = {name.replace("_", ""): kind for name, kind in _PARTS.items()} | dict.fromkeys(
    ("systemprompt", "userprompt", "prompttext", "responsetext", "inputtext", "outputtext"),
    Kind.TEXT,
)


def kind_of(key: str) -> Kind:
    """What the values under a key are; of a very long key its end decides."""
    return _judged(key if len(key) <= _MAX_KEY else key[-_MAX_KEY:])


def sensitive(key: str) -> bool:
    """Whether values under this key are looked at."""
    return kind_of(key) is not Kind.OTHER


@lru_cache(maxsize=8192)
def _judged(key: str) -> Kind:
    plain = unicodedata.normalize("NFKC", key)
    if plain.lower() in NAMES:
        return Kind.OTHER
    kinds = [_by_words(form.lower()) for form in dict.fromkeys((plain, _CAMEL.sub("_", plain)))]
    return next((kind for kind in kinds if kind is not Kind.OTHER), Kind.OTHER)


def _by_words(key: str) -> Kind:
    parts = [words for part in _PART.split(key) if (words := _WORD.findall(part))]
    while parts:
        last = "_".join(parts[-1])
        known = _PARTS.get(last) or _TOGETHER.get("".join(parts[-1])) or _by_ending(parts)
        if known is not None:
            return known
        if not (parts[-1][-1] in _FORMS or parts[-1][-1].isdigit()):
            break
        parts[-1].pop()  # ``input.value``, ``prompts.0``: what stands before it says what it is
        parts = [part for part in parts if part]
    return Kind.OTHER


def _by_ending(parts: list[list[str]]) -> Kind | None:
    words = [word for part in parts for word in part][-_MAX_WORDS:]
    endings = ("_".join(words[at:]) for at in range(len(words)))
    return next((_ENDINGS[ending] for ending in endings if ending in _ENDINGS), None)


# -- credentials in texts -----------------------------------------------------------------------

REPLACED: Final = "[redacted]"
# By a character each needs: looking for one is a tenth of looking for a word.
_HINTS: Final = (
    (" ", ("earer ", "EARER ", "asic ", "ASIC ", "PRIVATE KEY")),
    ("-", ("sk-", "glpat-", "xox")),
    ("_", ("sk_", "_pat_", "ghp_", "gho_", "ghs_", "ghu_", "hf_")),
    ("A", ("AKIA", "ASIA", "AIza")),
    ("J", ("eyJ",)),
    (":", ("://",)),
    ("=", ("key=", "KEY=", "oken=", "OKEN=", "ecret=", "ECRET=", "assword=", "ASSWORD=")),
)
_CREDENTIAL: Final = re.compile(
    r"""(?xs)
    (?<![A-Za-z])(?i:bearer|basic)\s+(?=\S*[0-9=_])[A-Za-z0-9._~+/=-]{8,}
    | (?<![A-Za-z0-9])sk[-_][A-Za-z0-9_-]{12,}
    | (?<![A-Za-z0-9])(?:gh[opsu]_|github_pat_|glpat-|hf_|xox[a-z]-)[A-Za-z0-9_-]{10,}
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{20,}
    | (?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?
    | (?<=://)[^\s/@:]*:[^\s/@]+(?=@)
    | (?:(?<=[?&])key|(?<![A-Za-z0-9])(?i:api_?key|access_token|token|client_secret|secret|password))=[^\s&"']{6,}
    | -----BEGIN[A-Z ]*PRIVATE\ KEY-----.*?(?:-----END[A-Z ]*PRIVATE\ KEY-----|\Z)
    """
)


# Keys of JSON (also escaped, in a text in JSON), of a `repr` of a dictionary, and of one of an object.
_FIELD: Final = re.compile(
    r"""["']([^"'\\{}:,]{1,64})\\*["']\s*:|([A-Za-z_]\w{0,63})=(?=['"\[({A-Z])"""
)
_FIELD_HINTS: Final = ("='", '="', "=[", "=(")


def suspicious(text: str) -> bool:
    """Whether a text (or many, joined) may hold a credential or data: substrings, at memory speed."""
    return _may_be_data(text) or _may_be_credential(text)


def _may_be_data(text: str) -> bool:
    return "{" in text or ("=" in text and any(hint in text for hint in _FIELD_HINTS))


def _may_be_credential(text: str) -> bool:
    return any(char in text and any(hint in text for hint in hints) for char, hints in _HINTS)


def names_sensitive(text: str) -> bool:
    """Whether a text is data, or quotes some, with a field of a known name: JSON, or a Python `repr`."""
    return _may_be_data(text) and any(
        sensitive(found[1] or found[2]) for found in _FIELD.finditer(text)
    )


def without_credentials(text: str) -> str:
    """The text with ``Bearer …``, keys of known make, passwords in URLs and private keys replaced."""
    if not _may_be_credential(text):
        return text
    return _CREDENTIAL.sub(REPLACED, text)
