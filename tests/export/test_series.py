"""Training metrics by step: one contract for every `MetricsStore`, and what JSON Lines add to it."""

import json
import math
import os
import subprocess
import sys
import threading

import anyio
import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.export import series as series_module

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture(params=["jsonl", "lab"])
async def store(request, tmp_path):
    if request.param == "jsonl":
        async with ct.JsonlMetricsStore(tmp_path / "deep" / "er") as store:
            yield store
    else:
        async with ct.Lab() as lab:
            exp = await lab.start_experiment("training")
            yield exp.series


def values(points):
    return [point.value for point in points]


async def test_what_is_recorded_is_read_in_order_by_run_and_metric(store):
    for epoch in range(3):
        store.record("run-1", "loss", 1 / (epoch + 1), step=epoch, metadata={"lr": 0.1})
        store.record("run-1", "accuracy", epoch, step=epoch)
    store.record("run-2", "loss", -7)
    await store.flush()
    points = await store.read("run-1", "loss")
    assert [(p.step, p.value) for p in points] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert {(p.run_id, p.metric, p.metadata["lr"]) for p in points} == {("run-1", "loss", 0.1)}
    assert len(await store.read("run-1")) == 6
    assert [(p.step, p.value, p.metadata) for p in await store.read("run-2")] == [(None, -7, {})]
    assert await store.read("run-3") == []


async def test_reading_sees_what_was_not_flushed(store):
    store.record("r", "m", 1)
    assert values(await store.read("r")) == [1]


async def test_f11_numbers_that_json_does_not_have_come_back(store):
    numbers = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 2**63 - 1, 0.1]
    for value in numbers:
        store.record("r", "m", value)
    assert list(map(repr, values(await store.read("r")))) == list(map(repr, numbers))


async def test_scalars_of_other_libraries_are_their_numbers(store):
    for value in (np.float32(0.5), np.int64(3), np.array([2.0])[0], True, 10**400):
        store.record("r", "m", value, step=np.int32(4))
    assert values(await store.read("r")) == [0.5, 3.0, 2.0, 1.0, math.inf]
    assert {p.step for p in await store.read("r")} == {4}


@pytest.mark.parametrize(
    ("given", "which"),
    [
        (("", "m", 1), "run_id"),
        ((None, "m", 1), "run_id"),
        (("r" * 300, "m", 1), "run_id"),
        (("\ud800", "m", 1), "run_id"),
        (("r", "", 1), "metric"),
        (("r", "m", "0.5"), "value"),
        (("r", "m", None), "value"),
        (("r", "m", 1j), "value"),
    ],
)
async def test_what_is_no_name_or_no_number_is_refused(store, given, which):
    with pytest.raises(ct.ConfigurationError, match=f"^{which}: "):
        store.record(*given)
    for step in (1.5, "3", 2**70):
        with pytest.raises(ct.ConfigurationError, match="^step: "):
            store.record("r", "m", 1, step=step)
    assert await store.read("r") == []


async def test_threads_record_at_once_and_lose_nothing(store):
    def work(name):
        for step in range(500):
            store.record("r", name, step, step=step)

    threads = [threading.Thread(target=work, args=(f"m{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(4):
        assert values(await store.read("r", f"m{k}")) == list(range(500))


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.floats() | st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(0, 9))
    )
)
async def test_any_points_round_trip_through_a_file(tmp_path_factory, recorded):
    folder = tmp_path_factory.mktemp("series")
    with ct.JsonlMetricsStore(folder) as store:
        for value, step in recorded:
            store.record("r", "m", value, step=step)
    found = await ct.JsonlMetricsStore(folder).read("r")
    assert [(repr(p.value), p.step) for p in found] == [(repr(v), s) for v, s in recorded]


async def test_a_torn_line_loses_itself_only_and_is_named(tmp_path, caplog):
    store = ct.JsonlMetricsStore(tmp_path)
    store.record("r", "m", 1)
    await store.flush()
    path = tmp_path / "r.jsonl"
    path.write_bytes(path.read_bytes() + b'{"run_id":"r","met')
    for value in (2, 3):
        store.record("r", "m", value)
        await store.flush()
    assert values(await store.read("r")) == [1, 2, 3]
    assert store.damaged == {"r": (2,)}
    assert "r.jsonl: 1 lines could not be read and are left out: 2" in caplog.text
    path.write_bytes(b"\xff\xfe\n" + path.read_bytes())
    assert values(await store.read("r")) == [1, 2, 3]
    assert store.damaged == {"r": (1, 3)}


async def test_lines_are_json_in_utf_8(tmp_path):
    with ct.JsonlMetricsStore(tmp_path) as store:
        store.record("实验", "verlust", math.nan, step=3, metadata={"wörter": "é", "x": math.inf})
    text = (tmp_path / "实验.jsonl").read_text("utf-8")
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert line.pop("timestamp_us") > 1_600_000_000_000_000
    assert line == {
        "run_id": "实验", "metric": "verlust", "step": 3, "value": "nan",
        "metadata": {"wörter": "é", "x": "inf"},
    }  # fmt: skip


async def test_the_buffer_is_bounded_and_written_when_it_is_full(tmp_path):
    store = ct.JsonlMetricsStore(tmp_path)
    for step in range(series_module.BUFFERED + 5):
        store.record("r", "m", step)
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == series_module.BUFFERED
    store.close()
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == series_module.BUFFERED + 5


async def test_what_could_not_be_written_is_kept_and_written_later(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    store = ct.JsonlMetricsStore(tmp_path / "taken")
    store.record("r", "m", 1)
    with pytest.raises(OSError, match="taken"):
        await store.flush()
    (tmp_path / "taken").unlink()
    await store.flush()
    assert values(await store.read("r")) == [1]


APPENDING = """
import sys
import crucible_telemetry as ct
with ct.JsonlMetricsStore(sys.argv[1]) as store:
    for step in range(2000):
        store.record("shared", sys.argv[2], step, metadata={"padding": "x" * 200})
"""


def append_from(processes, folder):
    command = [sys.executable, "-c", APPENDING, str(folder)]
    workers = [subprocess.Popen([*command, f"m{k}"]) for k in range(processes)]
    return [worker.wait(60) for worker in workers]


async def test_several_processes_append_to_one_run(tmp_path):
    assert append_from(2, tmp_path) == [0, 0]
    store = ct.JsonlMetricsStore(tmp_path)
    for k in range(2):
        assert values(await store.read("shared", f"m{k}")) == list(range(2000))
    assert store.damaged == {"shared": ()}


FORKED = """
import os, sys
import crucible_telemetry as ct
store = ct.JsonlMetricsStore(sys.argv[1])
store.record("r", "of the parent", 1)
child = os.fork()
store.record("r", "of both", 2)
store.close()
if child:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
async def test_a_forked_child_does_not_write_what_its_parent_recorded(tmp_path):
    await anyio.run_process([sys.executable, "-c", FORKED, str(tmp_path)])
    points = await ct.JsonlMetricsStore(tmp_path).read("r")
    assert sorted(point.metric for point in points) == ["of both", "of both", "of the parent"]


async def test_points_of_an_experiment_are_events_that_figures_are_made_of():
    async with ct.Lab() as lab:
        config = {"custom": ["loss"]}
        a = await lab.start_experiment("a", capture="scope", metrics_config=config)
        b = await lab.start_experiment("b", capture="scope", privacy="none")
        async with b.scope():
            for step in range(4):
                a.series.record("r", "loss", 4 - step, step=step)
        assert b.counts.emitted == 0
        with pytest.raises(ct.ConfigurationError, match="privacy"):
            b.series.record("r", "loss", 1)
        assert a.live().fields["loss"].mean == 2.5
        await a.stop()
        assert values(await a.series.read("r")) == [4, 3, 2, 1]
