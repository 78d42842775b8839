"""How an operation ended, read from what its producer said. PURE.

Each key has its judge; the first that knows decides, in the order of `OUTCOME_KEYS`; none knows, and the
name's suffix stands.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from crucible_telemetry.events.event import Outcome
from crucible_telemetry.events.sensitive import without_credentials

_TIMEOUT_WORDS: Final = ("timeout", "timedout", "timed_out", "deadline")
_CANCEL_WORDS: Final = ("cancelled", "canceled", "cancellederror", "cancelled_error")
_OK_WORDS: Final = frozenset(
    {"ok", "success", "succeeded", "successful", "completed", "done", "passed"}
)
_BAD_WORDS: Final = frozenset({
    "error", "errored", "fail", "failed", "failure", "exception", "rejected", "rate_limited", "crashed",
})  # fmt: skip
_TYPE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
_STATUS: Final = re.compile(r"[1-9]\d\d\Z", re.ASCII)
_BAD_FINISH: Final = frozenset({"error", "failed", "failure"})


def failure(name: str) -> Outcome:
    """Timeout, cancelled or error, by the name of an error type."""
    low = name.lower()
    if any(word in low for word in _TIMEOUT_WORDS):
        return Outcome.TIMEOUT
    return Outcome.CANCELLED if low.rpartition(".")[2] in _CANCEL_WORDS else Outcome.ERROR


def by_error(value: Any) -> Outcome | None:
    """An error that is there is a failure; None, False, 0 and what is empty are no error.

    Nor is a fraction, NaN included: that is a measured deviation, or a data frame's gap.
    """
    if not value or (type(value) is float and not value.is_integer()):
        return None
    return failure(error_type("error", value) or "")


def by_success(value: Any) -> Outcome | None:
    """Only True and False say anything, also as the 1 and 0 of databases and data frames."""
    if type(value) not in (bool, int, float) or value not in (0, 1):
        return None
    return Outcome.OK if value else Outcome.ERROR


def by_word(value: Any) -> Outcome | None:
    """``outcome``, ``result``: the usual words. A number is what came out, not how."""
    if type(value) is not str:
        return None
    low = value.lower()
    if low in _OK_WORDS:
        return Outcome.OK
    if low == "unknown":
        return Outcome.UNKNOWN
    named = failure(low)
    return named if named is not Outcome.ERROR or low in _BAD_WORDS else None


def by_http(value: Any) -> Outcome | None:
    """HTTP status ≥ 400 is a failure (408 and 504 are timeouts); below, it decides nothing."""
    code = _code(value)
    if code is None or code < 400:
        return None
    return Outcome.TIMEOUT if code in (408, 504) else Outcome.ERROR


def _code(value: Any) -> int | None:
    """A status as a whole number: also ``429.0``, as data frames have it, and the text ``429``."""
    if type(value) is str:
        return int(value) if _STATUS.match(value) else None
    whole = type(value) is int or (type(value) is float and value.is_integer())
    return int(value) if whole else None


def by_status(value: Any) -> Outcome | None:
    """``status``: the usual words, or an HTTP status."""
    return by_word(value) or by_http(value)


def by_finish(value: Any) -> Outcome | None:
    """``finish_reason``: the model's own reasons are fine, ``error`` and ``cancelled`` are not."""
    if type(value) is not str:
        return None
    low = value.lower()
    if low in _BAD_FINISH:
        return Outcome.ERROR
    named = failure(low)
    return named if named is not Outcome.ERROR else None


def by_finishes(value: Any) -> Outcome | None:
    """One reason for each choice of an answer: the first that says anything decides."""
    reasons = value if type(value) is list else [value]
    return next((said for reason in reasons if (said := by_finish(reason)) is not None), None)


JUDGES: Final[dict[str, Callable[[Any], Outcome | None]]] = {
    "outcome": by_word,
    "kind": lambda value: by_error(value) if type(value) is str and _is_error_name(value) else None,
    "error_type": by_error,
    "exception": by_error,
    "error": by_error,
    "error_code": by_error,
    "success": by_success,
    "status": by_status,
    "result": by_word,
    "http_status": by_http,
    "status_code": by_http,
    "finish_reason": by_finish,
    "error.type": by_error,
    "http.response.status_code": by_http,
    "gen_ai.response.finish_reasons": by_finishes,
}
OUTCOME_KEYS: Final = tuple(JUDGES)
ERROR_KEYS: Final = (
    "error_type",
    "kind",
    "error",
    "exception",
    "error_code",
    "status",
    "http_status",
    "status_code",
    "error.type",
    "http.response.status_code",
)


def _is_error_name(value: str) -> bool:
    low = value.lower()
    return (
        low.endswith(("error", "exception", "exit", "interrupt", "group"))
        or failure(low) is not Outcome.ERROR
    )


def _may_name_an_error(key: str, text: str, *, certain: bool) -> bool:
    """``kind`` and ``status`` say other things too; `certain`: the event's own name says it failed."""
    if key == "kind":
        return certain or _is_error_name(text)
    return key != "status" or by_status(text) not in (None, Outcome.OK, Outcome.UNKNOWN)


def error_type(key: str, value: Any, *, certain: bool = False) -> str | None:
    """The name of an error as a producer gave it: a class, a short name, a status; None for none.

    `certain` says that the event's own name tells of a failure, so that any `kind` is its type.
    """
    if type(value) is dict:
        value = value.get("type") or value.get("kind") or value.get("name") or value.get("code")
    code = _code(value)
    if code is not None and (code >= 400 or (key == "error_code" and code)):
        return str(code)
    if type(value) is not str or not _may_name_an_error(key, value, certain=certain):
        return None
    head = value.split(":", 1)[0].split("(", 1)[0].strip()
    if head != value.strip() and not _is_error_name(head):
        return None  # the first word of a text, not ``ValueError: …``
    # The type outlives privacy, so it must look like one: what privacy would replace is none.
    return head if _TYPE.match(head) and without_credentials(head) == head else None
