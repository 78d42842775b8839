"""Emitting, and plain handlers: who is called, with what, and what a failing one breaks (nothing)."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
import pytest_asyncio

import crucible_telemetry as ct
from crucible_telemetry.events.routes import ROUTES

asyncio_test = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def no_handler_stays():
    yield
    for entry in ct.list_handlers():
        ct.detach(entry.handler_id)
    assert ROUTES.quiet


@pytest_asyncio.fixture
async def exp():
    async with ct.Lab() as lab, lab.experiment("a", privacy="full") as exp:
        yield exp


class Heard(list):
    def __call__(self, *args):
        self.append(args)


def test_a_handler_gets_name_measurements_metadata_and_its_config():
    heard = Heard()
    ct.attach("h", "a.b", heard, {"my": "config"})
    ct.execute_nowait("a.b", {"x": 1}, {"y": 2})
    ct.execute_nowait(("a", "b"))
    ct.execute_nowait("a.c")
    assert heard == [
        ("a.b", {"x": 1}, {"y": 2}, {"my": "config"}),
        ("a.b", {}, {}, {"my": "config"}),
    ]


@pytest.mark.parametrize(
    ("events", "name", "hears"),
    [
        ("a.*", "a.b.c", True),
        ("a.*", "ab", False),
        ("*", "anything", True),
        (("a", "b"), "a.b", True),
        (("a", "b"), "a", False),
        (("a.x", "b.x"), "b.x", True),
        (["a", ("b", "c")], "b.c", True),
        (["a", ("b", "c")], "a", True),
        (("a", "b*"), "bcd", True),
        ("a", "a.b", False),
    ],
)
def test_names_patterns_and_tuples_say_what_a_handler_hears(events, name, hears):
    heard = Heard()
    ct.attach("h", events, heard)
    ct.execute_nowait(name)
    assert bool(heard) is hears


def test_a_taken_id_and_an_async_handler_are_refused_with_the_reason():
    async def waits(*_): ...

    class WaitsToo:
        async def __call__(self, *_): ...

    ct.attach("h", "a", print)
    with pytest.raises(ct.HandlerExists, match="'h' is attached already"):
        ct.attach("h", "b", print)
    for handler in (waits, WaitsToo()):
        with pytest.raises(ct.ConfigurationError, match="async function.*subscribe"):
            ct.attach("async", "a", handler)
    with pytest.raises(ct.ConfigurationError, match="callable"):
        ct.attach("none", "a", None)
    with pytest.raises(ct.ConfigurationError, match="handler_id"):
        ct.attach(5, "a", print)
    assert [entry.handler_id for entry in ct.list_handlers()] == ["h"]


def test_detaching_says_whether_there_was_one():
    heard = Heard()
    ct.attach_many("h", ["a", ("b", "c")], heard)
    ct.execute_nowait("b.c")
    assert ct.detach("h") is True
    assert ct.detach("h") is False
    ct.execute_nowait("a")
    assert len(heard) == 1


def test_handlers_are_listed_by_the_beginning_of_what_they_hear():
    ct.attach("one", ["llm.request.stop", "x"], print)
    ct.attach("two", "tool.*", print)
    ids = {prefix: [e.handler_id for e in ct.list_handlers(prefix)] for prefix in ("", "llm", "to")}
    assert ids == {"": ["one", "two"], "llm": ["one"], "to": ["two"]}
    assert [e.handler_id for e in ct.list_handlers(("llm", "request"))] == ["one"]


def test_f06_a_handler_that_raises_is_detached_at_its_first_and_announced_and_breaks_nobody():
    before, failures, after = Heard(), Heard(), Heard()

    def raises(event, measurements, metadata, config):
        raise ValueError("no")

    ct.attach("before", "e", before)
    ct.attach("bad", "e", raises)
    ct.attach("after", "e", after)
    ct.attach("failures", "telemetry.handler.failure", failures)
    for _ in range(3):
        ct.execute_nowait("e", {"x": 1})
    assert (len(before), len(after), len(failures)) == (3, 3, 1)
    _, measurements, metadata, _ = failures[0]
    assert measurements == {"count": 1}
    assert metadata["handler_id"] == "bad"
    assert metadata["event"] == "e"
    assert metadata["kind"] == "ValueError"
    assert metadata["frames"][-1].startswith("raises:")
    assert "bad" not in [e.handler_id for e in ct.list_handlers()]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_f06_what_is_no_failure_of_a_handler_passes_through(error):
    def raises(*_):
        raise error

    ct.attach("h", "e", raises)
    with pytest.raises(error):
        ct.execute_nowait("e")
    assert [e.handler_id for e in ct.list_handlers()] == ["h"]


def test_a_handler_is_not_blamed_for_data_that_is_no_mapping():
    heard = Heard()
    ct.attach("h", "e", heard)
    ct.execute_nowait("e", 5, object)
    ct.execute_nowait("e", [("x", 1)])
    assert len(ct.list_handlers()) == 1
    assert len(heard) == 2
    assert heard[1][1] == {"x": 1}


def test_a_handler_may_emit_and_may_change_what_it_was_given():
    second, given = Heard(), {"x": 1}

    def changes(event, measurements, metadata, config):
        measurements["x"] = 2
        ct.execute_nowait("from.handler", measurements)

    ct.attach("first", "e", changes)
    ct.attach("second", "*", second)
    ct.execute_nowait("e", given)
    assert given == {"x": 1}
    assert sorted((name, m["x"]) for name, m, *_ in second) == [("e", 1), ("from.handler", 2)]


def test_handlers_come_and_go_while_threads_emit():
    stop, errors = threading.Event(), []

    def emits():
        try:
            while not stop.is_set():
                ct.execute_nowait("e", {"x": 1})
        except Exception as error:  # noqa: BLE001 - the test's own thread must tell
            errors.append(error)

    threads = [threading.Thread(target=emits) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        ct.attach("h", "e", lambda *_: None)
        assert ct.detach("h")
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not errors


# -- capture ----------------------------------------------------------------------------------------


def test_capture_collects_what_is_emitted_meanwhile_in_any_thread():
    ct.execute_nowait("llm.before")
    with ct.testing.capture("llm.*") as events:
        ct.execute_nowait("llm.x", {"a": 1}, {"b": [2]})
        ct.execute_nowait("other")
        thread = threading.Thread(target=lambda: ct.execute_nowait("llm.thread"))
        thread.start()
        thread.join()
        with ct.testing.capture() as inner, ct.span("s"):
            pass
    ct.execute_nowait("llm.after")
    assert [e.event_name for e in events] == ["llm.x", "llm.thread"]
    assert (events[0].measurements, events[0].metadata) == ({"a": 1}, {"b": [2]})
    assert [e.event_name for e in inner] == ["s.start", "s.stop"]


def test_capture_ends_with_its_block_also_on_an_error():
    with pytest.raises(KeyError), ct.testing.capture():
        raise KeyError
    assert ct.list_handlers() == []


# -- what is recorded -------------------------------------------------------------------------------


@asyncio_test
async def test_what_was_emitted_is_a_snapshot(exp):
    measurements, metadata = {"x": 1}, {"deep": {"list": [1]}}
    ct.execute_nowait("e", measurements, metadata)
    measurements["x"] = 2
    metadata["deep"]["list"].append(2)
    (event,) = await exp.events()
    assert event.measurements == {"x": 1}
    assert event.metadata == {"deep": {"list": [1]}}


@asyncio_test
async def test_the_callers_own_time_is_kept_and_orders_events(exp):
    ct.execute_nowait("second", at_us=2_000_000)
    await ct.execute("first", at_us=1_000_000)
    for odd in ("soon", float("nan"), float("inf"), 10**400, None):
        ct.execute_nowait("odd", at_us=odd)
    events = await exp.events()
    assert [(e.event_name, e.timestamp_us) for e in events[:2]] == [
        ("first", 1_000_000),
        ("second", 2_000_000),
    ]
    assert all(e.timestamp_us > 1_600_000_000_000_000 for e in events[2:])
    assert len(events) == 7


@asyncio_test
@pytest.mark.parametrize("name", [5, None, "", "é.x", ("a", 1), ["a", "b"], "a\ud800", b"x"])
async def test_whatever_the_name_an_emit_does_not_raise_and_loses_nothing(exp, name):
    ct.execute_nowait(name, {"x": 1})
    await ct.execute(name, None, {"x": 1})
    with ct.span(name):
        pass
    assert await exp.count_events() == 4


@asyncio_test
@pytest.mark.parametrize("odd", [5, "text", [1, 2], object(), [("a", 1)], float("nan")])
async def test_whatever_stands_for_a_mapping_an_emit_does_not_raise(exp, odd):
    ct.execute_nowait("e", odd, odd)
    await ct.execute("e", odd, odd)
    with ct.span("s", odd):
        pass
    assert await exp.count_events() == 4


@asyncio_test
async def test_the_order_within_a_thread_is_kept(exp):
    for i in range(1500):
        ct.execute_nowait("e", {"i": i}, at_us=7)
    assert [e.measurements["i"] for e in await exp.events()] == list(range(1500))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "wrong",
    ["2024-01-01", b"1", float("nan"), 2**70, object()],
    ids=["text", "bytes", "nan", "huge", "object"],
)
async def test_a_time_that_is_none_is_marked_and_the_event_stamped_now(wrong):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        ct.execute_nowait("x", {"n": 1}, at_us=wrong)
        (event,) = await exp.events()
        assert "crucible:repr" in event.metadata["at_us"]
        assert event.timestamp_us > 1_600_000_000_000_000
        assert exp.health().marks["repr"] == 1


@pytest.mark.asyncio
async def test_a_datetime_that_knows_its_zone_is_a_time():
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        ct.execute_nowait("x", at_us=datetime(2024, 1, 1, tzinfo=UTC))
        ct.execute_nowait("x", at_us=1.5e15)
        assert [e.timestamp_us for e in await exp.events()] == [
            1_500_000_000_000_000,
            1_704_067_200_000_000,
        ]
