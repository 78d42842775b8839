"""One text, put anywhere a user's text may stand, and looked for in everything that leaves the collector."""

import asyncio
import contextlib
import dataclasses
import enum
import json
import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.collect import prepare
from crucible_telemetry.events.sensitive import CREDENTIALS, RESULTS, TEXTS, WHOLE
from crucible_telemetry.stores.base import Query

CANARY = "Zarathustra speaks softly"
WORD = "Zarathustra"


@dataclasses.dataclass
class Said:
    content: str = CANARY
    count: int = 7


class Opaque:
    def __repr__(self):
        return f"Opaque(text={CANARY!r})"


class Reply(enum.Enum):
    LONG = CANARY


def raised():
    try:
        json.loads(CANARY)
    except ValueError as error:
        error.add_note(CANARY)
        return RuntimeError(CANARY, error)


SAID = st.sampled_from(
    [CANARY, f"a\n{CANARY}", CANARY.encode(), [CANARY], (CANARY, 1), {"n": 5, "x": CANARY}, {CANARY: 1}, {CANARY},
     Said(), Reply.LONG, raised(), [[{"deep": (CANARY,)}]], json.dumps([CANARY]), {"type": CANARY, "code": CANARY}]
)  # fmt: skip
SPELLINGS = [
    str, str.upper, str.title, "llm.{}".format, "{}.0".format, "user_{}".format, "{}_json".format,
    lambda key: key.replace("_", "-"), lambda key: key.title().replace("_", ""), str.encode,
]  # fmt: skip
KEYS = st.builds(
    lambda spell, key: spell(key),
    st.sampled_from(SPELLINGS),
    st.sampled_from(sorted((TEXTS | CREDENTIALS | RESULTS) - {"b_64_json"})),
) | st.sampled_from([*sorted(WHOLE), "error", "reason", "traceback", "exception.message"])
# Under keys nobody knows only objects without a value, errors and data with known fields are hidden.
HIDDEN = st.dictionaries(KEYS, SAID, min_size=1, max_size=2)
PLACED = st.recursive(
    HIDDEN | st.sampled_from([Opaque(), raised(), Said(), json.dumps({"prompt": CANARY})]),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
    max_leaves=3,
)  # fmt: skip


class Seen(logging.Handler):
    """What was logged, formatted as a file would have it."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


@contextlib.contextmanager
def listening():
    seen, logger = Seen(), logging.getLogger("crucible_telemetry")
    level = logger.level
    logger.addHandler(seen)
    logger.setLevel(logging.DEBUG)
    try:
        yield seen.lines
    finally:
        logger.removeHandler(seen)
        logger.setLevel(level)


class Sum:
    """A streaming metric that remembers all it was given."""

    def __init__(self):
        self.given = []

    def add(self, event):
        self.given.append(repr(event))

    def result(self):
        return len(self.given)


def failing(*_):
    raise ValueError(CANARY)


async def run(placed, privacy, seen, **options):
    """Put the placed values through every door; returns what came out of each way out."""
    out = {}
    folder = Path(tempfile.mkdtemp())
    metric = Sum()
    async with ct.Lab() as lab:
        own = await lab.start_experiment("own", events=["crucible.*", "telemetry.*"])
        async with lab.experiment(
            "a", privacy=privacy, custom_metrics={"sum": metric}, hypothesis="h", **options
        ) as exp:
            stream = exp.subscribe()
            ct.attach("nosy", "llm.*", failing)
            await use(exp, placed)
            out["open"] = repr(exp.open_spans())
            await exp.flush()
            parts = [part async for part in exp._collector.store.columns(Query())]
            out["stored"] = repr([bytes(p.payload[i]) for p in parts for i in range(len(p))])
            out["live"] = repr(exp.live(by="event"))
            out["tree"] = str(lab.tree()) + repr(lab.unheard) + repr(lab) + repr(exp)
        ct.detach("nosy")
        out["stream"] = repr([event async for event in stream])
        out["events"] = repr(await exp.events())
        out["rest"] = repr((await exp.metrics(by="event")).to_dict())
        out["trials"] = repr(await exp.trials())
        out["health"] = repr(exp.health()) + repr(exp.counts)
        out["words"] = repr([exp._reader.errors.words, exp._reader.models.words])
        out["custom"] = repr(metric.given)
        out["file"] = (await exp.export(folder / "a.jsonl")).read_text()
        out["own"] = repr(await own.events())
    out["log"] = "\n".join(seen)
    return out, exp


async def use(exp, placed):
    async with exp.trial(item="q1") as trial:
        await ct.execute(
            "llm.request.stop",
            {"duration": 5, "n": 1, **placed["measurements"]},
            placed["metadata"],
        )
        ct.execute_nowait("note", {"n": 2}, {"box": [placed["metadata"]], "label": "short-name"})
        with contextlib.suppress(ValueError), ct.span("work", placed["metadata"]) as span:
            span.annotate(**placed["annotate"])
            failing()
        async with ct.llm_call(provider="p", model="m", prompt=CANARY) as call:
            call.chunk(CANARY)
            call.measure(answer=CANARY, n=3)
        trial.score(answer=CANARY, correct=True)
        trial.fail(f"because {CANARY}")
    with contextlib.suppress(ValueError):
        async with exp.trial(item="q2"):
            failing()
    ct.span("open", {"prompt": CANARY}).__enter__()


def text_keys(values):
    return {k if isinstance(k, str) else k.decode(): v for k, v in values.items()}


def leaks(out):
    return {way: text[max(text.index(WORD) - 80, 0):][:200] for way, text in out.items() if WORD in text}  # fmt: skip


@given(
    st.dictionaries(st.sampled_from("xyz"), PLACED, max_size=2),
    HIDDEN,
    HIDDEN,
    st.sampled_from(["metadata", "none"]),
)
@settings(max_examples=60)
def test_a_text_under_a_known_key_is_found_in_nothing_that_leaves(boxes, numbers, words, privacy):
    numbers = {key: value for key, value in numbers.items() if value != "error"}
    placed = {"measurements": numbers, "metadata": {**words, **boxes}, "annotate": text_keys(words)}
    seen_by_enricher = []

    def enrich(event, measurements, metadata):
        seen_by_enricher.append(repr((measurements, metadata)))
        return {"length": 25, **words, "more": [boxes]}

    with listening() as seen:
        out, exp = asyncio.run(run(placed, privacy, seen, enrichers=[enrich]))
    assert not leaks({**out, "enricher": repr(seen_by_enricher)})
    assert exp.counts.stored == exp.counts.emitted - exp.counts.late == 7
    useful(out, privacy)


def useful(out, privacy):
    """A redactor that ate everything would be no use: numbers, short names and types are there."""
    lines = [json.loads(line) for line in out["file"].splitlines()]
    assert [line["measurements"].get("n") for line in lines if "n" in line["measurements"]] == [
        1,
        2,
        3,
    ]
    assert {line.get("error_type") for line in lines} >= {"ValueError"}
    assert {line.get("model") for line in lines} >= {"m"}
    assert "'q1'" in out["trials"]
    if privacy == "metadata":
        assert "short-name" in out["file"]
        assert "failing:" in out["file"]


CALLABLES = [
    (option, privacy)
    for option in ("event_filter", "sampling_strategy", "redact", "enrichers", "custom_metrics")
    for privacy in ("metadata", "none")
    if (option, privacy)
    != ("enrichers", "none")  # what they would add is metadata: they are not asked
]


@pytest.mark.parametrize(("option", "privacy"), CALLABLES)
def test_the_error_of_a_users_callable_is_told_by_type_and_place_and_quotes_no_event(
    option, privacy
):
    class Metric(Sum):
        add = failing

    given = {"enrichers": [failing], "custom_metrics": {"m": Metric()}}.get(option, failing)
    with listening() as seen:
        out = asyncio.run(through_callable(option, given, privacy, seen))
    assert WORD not in out
    assert "ValueError at failing:" in out


async def through_callable(option, given, privacy, seen):
    async with ct.Lab() as lab, lab.experiment("a", privacy=privacy, **{option: given}) as exp:
        ct.execute_nowait("n", {"n": 1}, {"prompt": CANARY, "label": "x"})
        (event,) = await exp.events()
        assert event.measurements["n"] == 1
        return repr([event, exp.health(), await exp.metrics(), seen])


@pytest.mark.parametrize("privacy", ["metadata", "none", "full"])
def test_what_is_quarantined_and_what_crashes_is_told_without_what_it_quotes(privacy, monkeypatch):
    figures = prepare.figures

    def poisoned(plan, *rest):
        if plan.known is not None and any(key == "poison" for key in plan.keys):
            failing()
        return figures(plan, *rest)

    monkeypatch.setattr(prepare, "figures", poisoned)
    with listening() as seen:
        out = asyncio.run(through_crash(privacy, seen))
    assert (WORD in out) is (privacy == "full")
    assert "ValueError" in out


async def through_crash(privacy, seen):
    async with ct.Lab() as lab:
        own = await lab.start_experiment("own", events=["crucible.*"], privacy=privacy)
        async with lab.experiment("a", privacy=privacy) as exp:
            ct.execute_nowait("n", {"poison": 1}, {"prompt": CANARY})
            await exp.flush()
            append, store = exp._collector.store.append, exp._collector.store
            exp._collector.store = type(
                "Broken", (), {"append": failing, "last_seq": store.last_seq}
            )()
            ct.execute_nowait("n", {"n": 2})
            await comes(lambda: exp.health().restarts and exp.counts.quarantined == 2)
            tree = str(lab.tree())
            exp._collector.store = store
            assert store.append == append
            await exp.flush()
            assert (exp.counts.quarantined, exp.counts.stored) == (2, 0)
            assert exp.health().restarts >= 1
        return repr([tree, exp.health(), await own.events(), seen])
