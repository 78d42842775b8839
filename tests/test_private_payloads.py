"""What clients really send leaves no text behind by default, and keeps its numbers and short names."""

import json
import logging

import pytest
from payloads import PAYLOADS

import crucible_telemetry as ct
from crucible_telemetry.events.sensitive import without_credentials

pytestmark = pytest.mark.asyncio
WORD = "Zarathustra"


async def everything(exp, tmp_path, caplog):
    """All that leaves the collector, as one text."""
    path = await exp.export(tmp_path / "out.jsonl")
    shown = [exp.health(), exp.live(by="event"), exp.open_spans(), exp, await exp.trials()]
    words = [exp._reader.errors.words, exp._reader.models.words]
    return path.read_text() + repr([await exp.events(), shown, words]) + caplog.text


@pytest.mark.parametrize("privacy", ["metadata", "none"])
@pytest.mark.parametrize("name", PAYLOADS)
async def test_no_text_of_a_clients_payload_leaves_the_collector(
    lab, tmp_path, caplog, name, privacy
):
    caplog.set_level(logging.DEBUG)
    payload, stays = PAYLOADS[name]
    async with lab.experiment("a", privacy=privacy) as exp:
        ct.execute_nowait("llm.request.stop", {"duration": 5}, payload)
        ct.execute_nowait("run.exception", {"duration": 5, "request": payload}, {"data": [payload]})
        with ct.span("work", payload) as span:
            span.annotate(run=payload)
        assert WORD not in await everything(exp, tmp_path, caplog)
        events = await exp.events()
    if privacy == "metadata":
        assert {key: events[0].metadata.get(key) for key in stays} == stays
    assert (await exp.metrics()).summary.privacy.redacted > 0


@pytest.mark.parametrize("name", PAYLOADS)
async def test_in_full_a_payload_is_kept_as_it_was(lab, name):
    payload, _ = PAYLOADS[name]
    async with lab.experiment("a", privacy="full") as exp:
        ct.execute_nowait("llm.request.stop", None, payload)
    (event,) = await exp.events()
    assert event.metadata == json.loads(json.dumps(payload))


async def test_in_data_within_a_text_only_the_known_fields_are_replaced(lab):
    async with lab.experiment("a") as exp:
        ct.execute_nowait("n", None, PAYLOADS["data in texts"][0])
    (event,) = await exp.events()
    note = json.loads(event.metadata["note"])
    assert note["n"] == 5
    assert note["prompt"].keys() == {"crucible:redacted", "hmac"}


@pytest.mark.parametrize(
    "text",
    [
        "basic understanding of bearer instruments", "task-based sk-learn", "see https://host/a:b@c", "key=value",
        "a token= b", "monkey=123456789", "the secret is safe", "sk-learn 1.2", "risk-averse-investor-x",
    ],
)  # fmt: skip
async def test_a_text_without_a_credential_stays_as_it_is(text):
    assert without_credentials(text) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Bearer abc.def-123", "[redacted]"),
        ("curl -H 'Authorization: bearer abcdefgh1' x", "curl -H 'Authorization: [redacted]' x"),
        ("postgres://me:pass@host/db", "postgres://[redacted]@host/db"),
        ("k ghp_0123456789abcdef and AKIAIOSFODNN7EXAMPLE", "k [redacted] and [redacted]"),
        ("https://x/?n=5&key=0123456789&m=1", "https://x/?n=5&[redacted]&m=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc", "[redacted]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln!", "[redacted]!"),
    ],
)
async def test_of_a_text_with_a_credential_the_rest_stays(text, kept):
    assert without_credentials(text) == kept
