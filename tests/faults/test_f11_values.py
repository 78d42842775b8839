"""F9, F10, F11, F12: odd values, huge ones, many names, clocks that step; end to end."""

import gc
import json
import math
import time
import types
from collections import UserDict

import pytest
from faults.ledger import NAME, emit, lawful, stored_numbers, whole
from make import HARD_VALUES, KEPT, ODD, Raising

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


async def through(where, value, tmp_path, **options):
    """One odd event between two plain ones, stored, read and exported; the odd one back."""
    async with ct.Lab() as lab, lab.experiment("odd", **options) as exp:
        emit(0)
        at = {"n": 1, "odd": value} if where == "measurements" else {"n": 1}
        ct.execute_nowait(NAME, at, {"odd": value} if where == "metadata" else None)
        await ct.execute(NAME, {"n": 2})
        await whole(exp, range(3))
        path = await exp.export(tmp_path / "odd.jsonl")
        assert len([json.loads(line) for line in path.read_text().rstrip("\n").split("\n")]) == 3
        assert exp.health().restarts == 0
        event = (await exp.events())[1]
        return getattr(event, where), exp.health().marks


@pytest.mark.parametrize("where", ["measurements", "metadata"])
@pytest.mark.parametrize("kind", KEPT)
async def test_f11_a_value_that_can_be_kept_is_kept_as_it_is(kind, where, tmp_path):
    value, expected = KEPT[kind]
    kept, _ = await through(where, value, tmp_path)
    assert kept["odd"] == expected
    assert type(kept["odd"]) is type(expected)


@pytest.mark.parametrize("privacy", ["metadata", "full", "none"])
@pytest.mark.parametrize("where", ["measurements", "metadata"])
@pytest.mark.parametrize("kind", ODD)
async def test_f11_no_value_raises_or_loses_an_event(kind, where, privacy, tmp_path):
    kept, _ = await through(where, ODD[kind], tmp_path, privacy=privacy)
    assert len(repr(kept)) < 20_000 or kind == "large array"


PLACES = {
    "measurements": lambda n, value: (NAME, {"n": n, "odd": value}, None),
    "metadata": lambda n, value: (NAME, {"n": n}, {"odd": value}),
    "nested": lambda n, value: (NAME, {"n": n, "box": [{"a": value}]}, {"box": {"a": [value, (value,)]}}),
    "known": lambda n, value: (NAME, {"n": n}, {"prompt": value, "error": [value], "box": {"result": value}}),
    "key": lambda n, value: (NAME, {"n": n, keyed(value): 1}, {keyed(value): n, "box": {keyed(value): 1}}),
    "figures": lambda n, value: (NAME, {"n": n, "duration_ms": value, "cost_usd": value, "ttft": value},
                                 {"model": value, "provider": value, "tokens": {"prompt": value}, "usage": value}),
    "identity": lambda n, value: (NAME, {"n": n}, {"sample_id": value, "user_id": value, "repeat": value, "cohort": value}),
    "outcome": lambda n, value: (NAME, {"n": n}, {"error": value, "status": value, "success": value, "kind": value,
                                                  "finish_reason": value, "http_status": value}),
}  # fmt: skip


def keyed(value):
    """The value itself where it can be a key, else its type's name."""
    try:
        hash(value)
    except TypeError:
        return type(value).__name__
    return value


@pytest.mark.parametrize("privacy", ["metadata", "full", "none"])
@pytest.mark.parametrize("kind", HARD_VALUES)
async def test_f11_in_every_place_of_an_event_a_value_costs_nothing_but_itself(
    kind, privacy, tmp_path
):
    value = HARD_VALUES[kind]
    async with ct.Lab() as lab, lab.experiment("odd", privacy=privacy) as exp:
        async with exp.trial(item=text(value), session=text(value), user=text(value)) as trial:
            for number, place in enumerate(PLACES.values()):
                ct.execute_nowait(*place(number, value))
            with ct.span("work", {"odd": value}) as span:
                span.annotate(odd=value)
                span.measure(odd=value)
                span.chunk(value)
            trial.score(odd=value)
            trial.fail(value)
        await whole(exp, range(len(PLACES)))
        path = await exp.export(tmp_path / "odd.jsonl")
        assert (
            len([json.loads(line) for line in path.read_text().rstrip("\n").split("\n")])
            == len(PLACES) + 2
        )
        assert (exp.health().restarts, exp.counts.quarantined) == (0, 0)
        assert len(await exp.trials()) == 1
        figures = (await exp.metrics()).cost
        assert figures.total is None or math.isfinite(figures.total)


def text(value):
    return value if isinstance(value, str) else None


@pytest.mark.parametrize(
    "kind", [kind for kind in HARD_VALUES if isinstance(HARD_VALUES[kind], str)]
)
async def test_f11_names_tags_and_ids_may_be_any_text(kind, tmp_path):
    word = HARD_VALUES[kind]
    async with ct.Lab() as lab:
        exp = await lab.start_experiment(
            f"e{word}", condition=word, tags=[word], hypothesis=word, metadata={word: word}
        )
        with exp.scope():
            emit(0)
            ct.execute_nowait(word, {"n": 1})
            with ct.span(word):
                emit(1)
        await exp.flush()
        assert lawful(exp).stored == 5
        assert (await exp.events())[0].tags == (word,)
        path = await exp.export(tmp_path / "names.jsonl")
        assert len(path.read_text().rstrip("\n").split("\n")) == 5
        assert len(repr(lab.list_experiments(condition=word, tags=[word]))) > 2


@pytest.mark.parametrize("privacy", ["metadata", "full"])
@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_f11_nan_and_infinities_are_counted_at_any_depth(depth, privacy):
    async with ct.Lab() as lab, lab.experiment("odd", privacy=privacy) as exp:
        for bottom in (math.nan, math.inf, -math.inf, 1.0):
            value = bottom
            for _ in range(depth):
                value = [{"a": value, "b": 2.0}]
            ct.execute_nowait(NAME, {"odd": value})
            ct.execute_nowait(NAME, None, {"odd": value})
        ct.execute_nowait("name" * 200, {"nan": math.nan, "box": [object(), math.inf]})
        await exp.flush()
        marks = exp.health().marks
    assert (marks["nan"], marks["infinite"]) == (3, 5)


async def test_f11_nan_and_minus_zero_are_kept_and_nan_is_counted(tmp_path):
    kept, marks = await through("measurements", math.nan, tmp_path)
    assert math.isnan(kept["odd"])
    assert marks["nan"] == 1
    kept, _ = await through("measurements", -0.0, tmp_path)
    assert math.copysign(1, kept["odd"]) == -1


async def test_f11_nan_and_infinite_durations_are_left_out_of_figures():
    async with ct.Lab() as lab, lab.experiment("odd") as exp:
        for value in (1.0, math.nan, math.inf, -math.inf, 3.0, -1.0, 10**400, 1e308):
            ct.execute_nowait("llm.request.stop", {"duration_ms": value, "cost_usd": value})
        for summary in (exp.live(), await exp.metrics()):
            assert summary.latency.mean == 2.0
            assert (summary.latency.count, summary.latency.max) == (2, 3.0)
            assert math.isfinite(summary.cost.total)
            assert summary.summary.total_events == 8


NAMES = [
    "", ".", "*", "a.*", "a" * 10_000, "\ud800", "nul\0", (), ("a", 1), ("a", None), None, 7, b"x",
    ["a", "b"], {"a": 1}, object(), Raising(), math.nan,
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(NAMES)))
async def test_f11_no_name_raises_or_loses_an_event(at, tmp_path):
    async with ct.Lab() as lab, lab.experiment("names") as exp:
        ct.execute_nowait(NAMES[at], {"n": 1})
        await ct.execute(NAMES[at], {"n": 2}, at_us=5)
        await exp.flush()
        assert lawful(exp).stored == 2
        assert [event.measurements["n"] for event in await exp.events()] == [2, 1]
        await exp.metrics()
        await exp.export(tmp_path / "names.jsonl")


class Shifty(dict):
    def items(self):
        raise RuntimeError("no")

    keys = values = __iter__ = items


GIVEN = [
    7, "text", [1, 2], [("n", 1)], object(), Raising(), Shifty(n=1), UserDict(n=1),
    types.MappingProxyType({"n": 1}), {1: 2, None: 3}, {"\ud800": 1}, b"bytes", iter([]), {"k" * 2**20: 1},
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(GIVEN)))
@pytest.mark.parametrize("privacy", ["metadata", "full"])
async def test_f11_measurements_that_are_no_mapping_raise_nothing_and_lose_nothing(at, privacy):
    async with ct.Lab() as lab, lab.experiment("given", privacy=privacy) as exp:
        for given in ((GIVEN[at], None), (None, GIVEN[at]), (GIVEN[at], GIVEN[at])):
            ct.execute_nowait(NAME, *given)
            await ct.execute(NAME, *given)
        for stamp in (-1, 2**70, "soon", math.nan, 1.5, None):
            ct.execute_nowait(NAME, {"n": 1}, at_us=stamp)
        await exp.flush()
        assert lawful(exp).stored == 12
        assert len(await exp.events()) == 12
        await exp.metrics()


async def test_f11_what_changes_after_an_emit_changes_nothing_recorded():
    async with ct.Lab() as lab, lab.experiment("snapshot") as exp:
        measurements, metadata = {"n": 1}, {"list": [1, {"a": 1}]}
        ct.execute_nowait(NAME, measurements, metadata)
        measurements["n"] = 2
        metadata["list"][1]["a"] = 2
        (event,) = await exp.events()
        assert (event.measurements, event.metadata) == ({"n": 1}, {"list": [1, {"a": 1}]})


async def test_f12_a_hundred_megabytes_are_replaced_by_length_and_hash_and_hold_nobody_up():
    text = "x" * 100_000_000
    async with ct.Lab() as lab, lab.experiment("huge", privacy="full") as exp:
        emit(0, note=text)
        began = time.perf_counter()
        emit(1)
        assert time.perf_counter() - began < 0.01
        assert exp._collector.box.large_bytes < 2**20
        await whole(exp, range(2))
        first, _ = await exp.events()
        mark = first.metadata["note"]
        assert mark["crucible:cut"] == 100_000_000
        assert len(mark["sha256"]) == 64
        assert exp.health().marks["cut"] == 1
        assert exp.health().drain_ms_max < 100, "the collector never sees it"


async def test_f09_many_names_models_and_keys_grow_bounded_tables(request):
    count = max(20_000, request.config.getoption("--deep"))
    async with ct.Lab() as lab, lab.experiment("names") as exp:
        for number in range(count):
            ct.execute_nowait(
                f"name.{number}.stop", {"n": 1, f"k{number}": 1}, {"model": f"m{number}"}
            )
            ct.execute_nowait(NAME, {"n": number})
        await exp.flush()
        counts = lawful(exp)
        assert counts.stored == 2 * count
        board = exp._collector.progress.live
        assert len(board.cells) <= 16_384 + 64
        from crucible_telemetry.events.shape import MAX_SHAPES, SHAPES

        assert len(SHAPES.by_key) <= MAX_SHAPES
        assert len(SHAPES.by_id) <= MAX_SHAPES + 1
        assert len(exp._collector.preparer._layouts._known) <= 8192
        assert len(exp._reader.models.words) <= 65_536
        assert sum(exp.live().events.counts.values()) == 2 * count
        assert await stored_numbers(exp) == list(range(count))


async def test_f09_keys_of_a_megabyte_are_not_kept_in_tables():
    from crucible_telemetry.events.shape import SHAPES

    async with ct.Lab() as lab, lab.experiment("keys") as exp:
        for number in range(5):
            ct.execute_nowait(NAME, {"n": number, f"{number}" * 2**20: 1})
        await whole(exp, range(5))
    longest = max(len(str(part)) for key in SHAPES.by_key for part in key)
    assert longest < 10_000


async def test_f10_a_clock_that_steps_loses_nothing_and_durations_stay(monkeypatch):
    hour_ns, year_ns = 3_600 * 10**9, 365 * 86_400 * 10**9
    now = time.time_ns()
    steps = [now, now - hour_ns, now + 10 * year_ns, now, now - hour_ns, 0, -5, now]
    clock = iter(range(10**9))
    monkeypatch.setattr(
        "crucible_telemetry.events.bus.wall_ns", lambda: steps[next(clock) % len(steps)]
    )
    async with ct.Lab() as lab, lab.experiment("clock") as exp:
        for number in range(64):
            emit(number)
        with ct.span("work"):
            pass
        events = await exp.events()
        assert len(events) == 66
        assert [(e.timestamp_us, e.seq) for e in events] == sorted(
            (e.timestamp_us, e.seq) for e in events
        )
        assert await stored_numbers(exp) == list(range(64))
        (end,) = [event for event in events if event.event_name == "work.stop"]
        assert end.latency_ms >= 0
        rows = await exp.windowed_metrics(3600)
        assert sum(row.event_count for row in rows) == 66
        assert len(await exp.window(ct.Between(-(2**60), 2**60))) == 66
        summary = await exp.metrics()
        assert summary.summary.duration_seconds >= 0


async def test_f11_a_finaliser_that_emits_during_a_drain_is_heard():
    class Last:
        def __init__(self, number):
            self.number, self.me = number, self

        def __del__(self):
            with exp.scope():
                emit(self.number)

    def choose(name, measurements, metadata):
        if measurements["n"] < 100:
            Last(1000 + measurements["n"])
            gc.collect(0)
        return True

    async with (
        ct.Lab() as lab,
        lab.experiment("finaliser", mailbox_size=16, event_filter=choose) as exp,
    ):
        for number in range(100):
            emit(number)
        await exp.flush()
        await whole(exp, [*range(100), *range(1000, 1100)])
