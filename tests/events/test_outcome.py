"""How an operation ended, from what its producer said."""

import math

import pytest

from crucible_telemetry.collect.figures import figures
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import make_spec
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.events.enrich import Plan
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.events.outcome import error_type, failure


def judged(name, metadata):
    """(outcome, error type) of one event."""
    reader = ExperimentReader("e", make_spec("e", {}), Trials())
    plan = Plan(name, [], list(metadata))
    from collections import Counter

    found = figures(plan, [(value,) for value in metadata.values()], 1, reader, Counter())
    outcome, error = (v if isinstance(v, int) else v[0] for v in (found["outcome"], found["error"]))
    return Outcome(outcome).label, reader.errors.word(error) or None


CASES = [
    ("a.stop", {}, "ok", None),
    ("a.complete", {}, "ok", None),
    ("a.completed", {}, "ok", None),
    ("a.exception", {}, "error", "error"),
    ("a.failed", {}, "error", "error"),
    ("a.error", {}, "error", "error"),
    ("a.timeout", {}, "timeout", "timeout"),
    ("a.cancelled", {}, "cancelled", "cancelled"),
    ("a.start", {}, None, None),
    ("a.point", {}, None, None),
    ("a.exception", {"kind": "TimeoutError"}, "timeout", "TimeoutError"),
    ("a.exception", {"kind": "CancelledError"}, "cancelled", "CancelledError"),
    ("a.exception", {"kind": "asyncio.CancelledError"}, "cancelled", "asyncio.CancelledError"),
    ("a.exception", {"kind": "ValueError", "error": "bad value"}, "error", "ValueError"),
    ("a.stop", {"kind": "chat"}, "ok", None),
    ("a.stop", {"error": None}, "ok", None),
    ("a.stop", {"error": ""}, "ok", None),
    ("a.stop", {"error": False}, "ok", None),
    ("a.stop", {"error": {}}, "ok", None),
    ("a.stop", {"error": "boom"}, "error", "boom"),
    ("a.stop", {"error": "ReadTimeout"}, "timeout", "ReadTimeout"),
    ("a.stop", {"error": "ValueError: what the user typed"}, "error", "ValueError"),
    ("a.stop", {"error": "a long story of what went wrong"}, "error", "error"),
    ("a.stop", {"error": {"type": "RateLimitError", "message": "slow down"}}, "error", "RateLimitError"),
    ("a.stop", {"error": "user@example.com,password"}, "error", "error"),
    ("a.stop", {"success": True}, "ok", None),
    ("a.stop", {"success": False}, "error", "error"),
    ("a.stop", {"success": 1}, "ok", None),
    ("a.stop", {"success": 0}, "error", "error"),
    ("a.stop", {"success": 0.0}, "error", "error"),
    ("a.stop", {"success": 7}, "ok", None),
    ("a.stop", {"success": "no"}, "ok", None),
    ("a.stop", {"status": "ok"}, "ok", None),
    ("a.stop", {"status": "ERROR"}, "error", "ERROR"),
    ("a.stop", {"status": "timeout"}, "timeout", "timeout"),
    ("a.stop", {"status": "streaming"}, "ok", None),
    ("a.stop", {"status": 200}, "ok", None),
    ("a.stop", {"status": 503}, "error", "503"),
    ("a.stop", {"http_status": 429}, "error", "429"),
    ("a.stop", {"http_status": 504}, "timeout", "504"),
    ("a.stop", {"http_status": 399}, "ok", None),
    ("a.stop", {"status_code": 400}, "error", "400"),
    ("a.stop", {"status": "503"}, "error", "503"),
    ("a.stop", {"status": "200"}, "ok", None),
    ("a.stop", {"http_status": "504"}, "timeout", "504"),
    ("a.stop", {"http_status": 429.0}, "error", "429"),
    ("a.stop", {"http_status": "0429"}, "ok", None),
    ("a.stop", {"result": 512}, "ok", None),
    ("a.stop", {"error": 0}, "ok", None),
    ("a.stop", {"error": 0.02}, "ok", None),
    ("a.stop", {"error": math.nan}, "ok", None),
    ("a.stop", {"error": 3}, "error", "error"),
    ("a.stop", {"result": "error"}, "error", "error"),
    ("a.stop", {"outcome": "unknown"}, "unknown", None),
    ("a.stop", {"outcome": "cancelled"}, "cancelled", "cancelled"),
    ("a.stop", {"finish_reason": "stop"}, "ok", None),
    ("a.stop", {"finish_reason": "length"}, "ok", None),
    ("a.stop", {"finish_reason": "error"}, "error", "error"),
    ("a.stop", {"finish_reason": "cancelled"}, "cancelled", "cancelled"),
    ("a.stop", {"error_code": None}, "ok", None),
    ("a.stop", {"error_code": 0}, "ok", None),
    ("a.stop", {"error_code": -1}, "error", "-1"),
    ("a.stop", {"error_code": "quota"}, "error", "quota"),
    # What several keys say: a failure outweighs a success, the more precise failure the other.
    ("a.stop", {"success": True, "http_status": 500}, "error", "500"),
    ("a.stop", {"success": False, "error": "TimeoutError"}, "timeout", "TimeoutError"),
    ("a.stop", {"success": False, "kind": "TimeoutError"}, "timeout", "TimeoutError"),
    ("a.stop", {"status": "error", "kind": "CancelledError"}, "cancelled", "CancelledError"),
    ("a.exception", {"status": "ok"}, "error", "error"),
    ("a.exception", {"success": True}, "error", "error"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "metadata", "outcome", "error"), CASES)
def test_an_operation_ended_as_its_producer_says(name, metadata, outcome, error):
    assert judged(name, metadata) == (outcome, error)


@pytest.mark.parametrize("said", [{"status": "ok"}, {"success": True}, {"error": "boom"}])
def test_a_start_has_no_outcome_whatever_it_carries(said):
    assert judged("a.start", said) == (None, None)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("TimeoutError", Outcome.TIMEOUT), ("httpx.ReadTimeout", Outcome.TIMEOUT),
        ("DEADLINE_EXCEEDED", Outcome.TIMEOUT), ("timed_out", Outcome.TIMEOUT),
        ("CancelledError", Outcome.CANCELLED), ("Cancelled", Outcome.CANCELLED),
        ("trio.Cancelled", Outcome.CANCELLED), ("UncancelledError", Outcome.ERROR),
        ("ValueError", Outcome.ERROR), ("", Outcome.ERROR),
    ],
)  # fmt: skip
def test_the_name_of_an_error_says_which_failure_it_is(name, outcome):
    assert failure(name) is outcome


@pytest.mark.parametrize(
    ("outcome", "success"),
    [
        (Outcome.OK, True), (Outcome.ERROR, False), (Outcome.TIMEOUT, False),
        (Outcome.CANCELLED, None), (Outcome.UNKNOWN, None), (Outcome.NONE, None),
    ],
)  # fmt: skip
def test_only_ok_is_success_and_only_errors_and_timeouts_are_failures(outcome, success):
    assert outcome.success is success


@pytest.mark.parametrize(
    "text",
    ["hunter2 is my password", "mail user@example.com", "pässwort", "x" * 65, "a\nb", "", "https://a"],
)  # fmt: skip
def test_an_error_text_is_no_error_type(text):
    assert error_type("error", text) in (None, "https")
