"""Privacy on the shapes clients really send: searched for in the stored bytes, at any depth."""

import pytest

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio

SECRET = "the patient's name is Zarathustra"
WORD = "Zarathustra"


class Message:
    def __repr__(self):
        return f"Message({SECRET!r})"


SHAPES = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": SECRET}]},
    "parts": {"messages": [{"content": [{"type": "text", "text": SECRET}]}]},
    "completion": {"prompt": SECRET, "completion": SECRET, "temperature": 0.2},
    "choices": {"response": {"choices": [{"message": {"content": SECRET}}], "id": "x"}},
    "anthropic": {"system": SECRET, "request": {"messages": [{"content": SECRET}]}},
    "tools": {"tool_calls": [{"function": {"name": "f", "arguments": f'{{"q": "{SECRET}"}}'}}]},
    "gen_ai": {"gen_ai.prompt": SECRET, "gen_ai.output.messages": [{"content": SECRET}]},
    "nested": {"run": {"step": {"input": {"deep": [[SECRET]]}}}},
    "error text": {"error": f"could not parse: {SECRET}"},
    "error dict": {"error": {"type": "ValueError", "message": SECRET, "args": [SECRET]}},
    "traceback": {
        "stacktrace": f'File "a.py", line 3, in f\n  ask("{SECRET}")\nValueError: {SECRET}'
    },
    "exception": {"exception": ValueError(SECRET)},
    "object": {"response": Message(), "anything": Message()},
    "bytes": {"prompt": SECRET.encode()},
    "rag": {"passages": [SECRET], "hits": [{"snippet": SECRET}], "reply": SECRET, "stderr": SECRET},
    "labels": {"ground_truth": SECRET, "expected": [SECRET], "prediction": {"label": SECRET}},
    "type of error": {"error_type": SECRET, "error.type": SECRET, "exception.type": SECRET},
    "upper case": {"Prompt": SECRET, "llm.Messages": [SECRET]},
}


async def kept(exp):
    """All that was stored of an experiment, as one text: payload bytes and what readers see."""
    parts = [part async for part in exp._collector.store.columns(query())]
    raw = b"".join(bytes(part.payload[i]) for part in parts for i in range(len(part)))
    words = [*exp._reader.errors.words, *exp._reader.models.words]
    shown = [await exp.events(), (await exp.metrics(by="event")).to_dict(), exp.health(), words]
    return raw.decode("utf-8", "replace") + repr(shown)


def query():
    from crucible_telemetry.stores.base import Query

    return Query()


def emit(shape):
    ct.execute_nowait("llm.request.stop", {"duration": 5}, SHAPES[shape])
    with ct.span("s", SHAPES[shape]):
        pass


async def test_short_names_of_classes_and_errors_stay(lab):
    said = {"expected": "positive", "prediction": ["neg", 3], "error_type": "RateLimitError"}
    async with lab.experiment("a") as exp:
        await ct.execute("eval.item.stop", {"ground_truth": 1}, said)
    (event,) = await exp.events()
    assert event.metadata == said
    assert event.measurements == {"ground_truth": 1}


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_known_text_is_stored_by_default(lab, shape):
    async with lab.experiment("a") as exp:
        emit(shape)
        found = await kept(exp)
        assert WORD not in found
        assert WORD.encode().hex() not in found
        assert exp.counts.stored == 3
    if "object" not in shape:
        assert (await exp.metrics()).summary.marks["redacted"] > 0


@pytest.mark.parametrize("shape", SHAPES)
async def test_everything_is_stored_when_asked_for(lab, shape):
    async with lab.experiment("a", privacy="full") as exp:
        emit(shape)
        assert WORD in await kept(exp)


@pytest.mark.parametrize("shape", SHAPES)
async def test_only_numbers_are_stored_when_nothing_may_be(lab, shape):
    async with lab.experiment("a", privacy="none") as exp:
        ct.execute_nowait("n", {"x": 1, "text": SECRET, "deep": {"y": 2}}, SHAPES[shape])
        emit(shape)
        assert WORD not in await kept(exp)
        events = await exp.events()
    assert events[0].measurements == {"x": 1}
    assert all(e.metadata == {} for e in events)


async def test_an_exception_in_a_span_leaves_its_type_and_frames_and_no_text(lab):
    async with lab.experiment("a") as exp:
        with pytest.raises(ValueError, match=WORD):
            async with ct.llm_call(provider="p", model="m"):
                raise ValueError(SECRET)
        assert WORD not in await kept(exp)
        end = (await exp.events())[-1]
    assert end.error_type == "ValueError"
    assert end.metadata["frames"]
    assert end.metadata["error"]["crucible:redacted"] == len(SECRET)


async def test_equal_texts_have_equal_hashes_in_a_lab_and_others_elsewhere():
    async def hashed(lab):
        async with lab.experiment("a") as exp:
            for text in (SECRET, SECRET, SECRET + "!"):
                ct.execute_nowait("n", None, {"prompt": text})
        return [e.metadata["prompt"]["hmac"] for e in await exp.events()]

    async with ct.Lab(privacy_key=b"k" * 32) as one, ct.Lab(privacy_key=b"l" * 32) as other:
        a, b, c = await hashed(one)
        assert a == b != c
        assert await hashed(one) == [a, b, c]
        assert not {a, b, c} & set(await hashed(other))


async def test_a_redact_callable_takes_out_more(lab):
    def redact(event, measurements, metadata):
        return measurements, {k: v for k, v in metadata.items() if k != "patient"}

    for privacy in ("metadata", "full"):
        async with lab.experiment("a", privacy=privacy, redact=redact) as exp:
            ct.execute_nowait("n", {"x": 1}, {"patient": WORD, "other": 1})
            assert WORD not in await kept(exp)
        (event,) = await exp.events()
        assert (event.measurements, event.metadata) == ({"x": 1}, {"other": 1})


NONSENSE = {
    "raises": lambda *_: 1 / 0,
    "nothing": lambda *_: None,
    "two letters": lambda *_: "ab",
    "a list": lambda name, measurements, metadata: (metadata, [WORD]),
    "one of two": lambda *_: ({},),
}


@pytest.mark.parametrize("kind", NONSENSE)
async def test_a_redact_that_fails_or_returns_nonsense_lets_no_text_through(lab, kind):
    async with lab.experiment("a", redact=NONSENSE[kind]) as exp:
        words = {"patient": WORD, "deep": [{"n": 2, f"{WORD} x": [WORD]}], "model": WORD}
        ct.execute_nowait("n.stop", {"x": 1, "word": WORD, "duration_ms": 5}, words)
        assert WORD not in await kept(exp)
    (event,) = await exp.events()
    assert (event.measurements["x"], event.latency_ms, event.model) == (1, 5.0, None)
    assert event.metadata["deep"][0]["n"] == 2
    assert exp.health().marks["redact"] == 1
    assert (await exp.metrics()).summary.privacy.redacted == 5


async def test_what_a_redact_takes_out_is_in_no_figure_either(lab):
    def redact(event, measurements, metadata):
        return {"duration_ms": 1}, {k: v for k, v in metadata.items() if k != "model"}

    async with lab.experiment("a", redact=redact) as exp:
        ct.execute_nowait("llm.x.stop", {"duration_ms": 7, "cost_usd": 1}, {"model": WORD, "n": 1})
        assert WORD not in await kept(exp)
    (event,) = await exp.events()
    assert (event.model, event.cost_usd, event.latency_ms) == (None, None, 1.0)


@pytest.mark.parametrize(("sees", "seen"), [("redacted", False), ("raw", True)])
async def test_enrichers_see_what_they_may_and_what_they_return_is_redacted_again(lab, sees, seen):
    given = []

    def enrich(event, measurements, metadata):
        given.append(repr(metadata))
        return {"prompt": SECRET, "length": 7, "nested": {"answer": SECRET}}

    async with lab.experiment("a", enrichers=[enrich], privacy_sees=sees) as exp:
        ct.execute_nowait("n", None, {"question": SECRET})
        assert WORD not in await kept(exp)
    assert (WORD in given[0]) is seen
    assert (await exp.events())[0].metadata["length"] == 7


async def test_filters_see_what_was_emitted_and_cannot_change_it(lab):
    seen = []

    def keep(event, measurements, metadata):
        seen.append(metadata["prompt"])
        metadata["added"] = WORD
        return True

    async with lab.experiment("a", event_filter=keep) as exp:
        ct.execute_nowait("n", None, {"prompt": SECRET})
        assert WORD not in await kept(exp)
    assert seen == [SECRET]
