"""Traces through a real lab."""

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest
from hypothesis import given, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.errors import ConfigurationError, UnreadableFile
from crucible_telemetry.replay.mapping import Options
from crucible_telemetry.replay.reading import Trace
from crucible_telemetry.replay.run import Replay

SHARED = Path(__file__).parents[3] / "shared" / "data"
LLMPERF = (
    "anyscale_13b", "anyscale_70b", "fireworks_70b", "replicate_70b", "together_13b", "together_70b",
)  # fmt: skip


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name}, which is no part of the package")
    return path


async def replayed(lab, path, *, speed=None, **options):
    """(experiment, report) of a trace replayed whole."""
    exp = await lab.start_experiment("trace", capture="scope")
    report = await Replay(Trace(path), Options(**options)).run(exp, speed=speed, tell=lambda: None)
    await exp.stop()
    return exp, report


def written(tmp_path, rows):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.asyncio
async def test_the_azure_trace_is_replayed_with_its_times_and_tokens(lab):
    path = shared("azure_llm_inference_trace_2023_code.csv.gz")
    exp, report = await replayed(lab, path, fixed={"model": "gpt-4o"})
    summary = await exp.metrics()
    with gzip.open(path, "rt") as file:
        cells = [line.strip().split(",") for line in list(file)[1:]]
    assert (report.rows, report.bad) == (len(cells), 0) == (8819, 0)
    assert summary.summary.total_events == 8819
    assert summary.tokens.total_prompt == sum(int(row[1]) for row in cells)
    assert summary.tokens.total_completion == sum(int(row[2]) for row in cells)
    assert summary.tokens.by_model.keys() == {"gpt-4o"}
    if find_spec("genai_prices") is not None:
        assert (summary.cost.count, summary.cost.unpriced) == (8819, 0)
        assert summary.cost.total > 0
    first, last = summary.summary.time_range
    assert first == 1_700_158_623_979_960
    assert last - first == 3_435_948_056
    assert exp.counts.emitted == exp.counts.stored == 8819


@pytest.mark.parametrize("name", LLMPERF)
@pytest.mark.asyncio
async def test_an_llmperf_file_has_its_published_figures_when_it_is_replayed(lab, name):
    exp, report = await replayed(lab, shared(f"llmperf/{name}.json"))
    published = json.loads(shared(f"llmperf/{name}.summary.json").read_text())
    summary = await exp.metrics()
    assert (report.rows, report.bad) == (published["results_num_requests_started"], 0)
    assert summary.reliability.failed == published["results_number_errors"]
    parts = {
        "end_to_end_latency_s": summary.latency,
        "ttft_s": summary.streaming.ttft,
        "inter_token_latency_s": summary.streaming.itl,
    }
    for source, figures in parts.items():
        assert figures.mean == pytest.approx(published[f"results_{source}_mean"] * 1e3, rel=1e-6)
        p99 = published[f"results_{source}_quantiles_p99"] * 1e3
        assert figures.p99 == pytest.approx(p99, rel=1e-6)


@pytest.mark.asyncio
async def test_rows_that_cannot_be_replayed_are_counted_and_the_first_are_named(lab, tmp_path):
    rows = [{"latency_ms": "slow" if at % 2 else at} for at in range(40)]
    exp, report = await replayed(lab, written(tmp_path, rows))
    assert (report.rows, report.bad, exp.counts.stored) == (40, 20, 20)
    assert report.named == [
        f"line {line}: column 'latency_ms': 'slow' is no number" for line in (2, 4, 6, 8, 10)
    ]


@pytest.mark.asyncio
async def test_a_trace_of_which_no_row_can_be_replayed_is_an_error(lab, tmp_path):
    with pytest.raises(
        UnreadableFile, match="no row can be replayed; line 1: column 'input_tokens'"
    ):
        await replayed(lab, written(tmp_path, [{"input_tokens": "many"}] * 3))


@pytest.mark.parametrize(
    ("text", "match"), [("\n", "has no rows"), ("[]\n7\n", "no row can be read")]
)
@pytest.mark.asyncio
async def test_a_trace_without_rows_is_an_error(lab, tmp_path, text, match):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(UnreadableFile, match=match):
        await replayed(lab, tmp_path / "t.jsonl")


@pytest.mark.asyncio
async def test_an_export_is_no_trace_and_the_error_says_what_reads_it(lab, exp, tmp_path):
    await ct.execute("llm.request.stop", {"duration_ms": 3})
    await exp.export(tmp_path / "e.jsonl")
    with pytest.raises(UnreadableFile, match="crucible show"):
        await replayed(lab, tmp_path / "e.jsonl")


@pytest.mark.asyncio
async def test_identity_in_a_trace_is_identity_in_the_experiment(lab, tmp_path):
    row = {"item": "q1", "session": "s", "user": "u", "repeat": 1, "model": "m", "note": "n"}
    exp, _ = await replayed(lab, written(tmp_path, [row]))
    (event,) = await exp.events()
    assert (event.sample_id, event.session_id, event.user_id) == ("q1", "s", "u")
    assert (event.repeat, event.model, event.metadata["note"]) == (1, "m", "n")


@pytest.mark.virtual_time
@pytest.mark.asyncio
async def test_speed_keeps_the_distances_of_the_trace(lab, tmp_path):
    rows = [{"time_s": second} for second in (100, 160, 400)]
    began = anyio.current_time()
    await replayed(lab, written(tmp_path, rows), speed=60)
    assert anyio.current_time() - began == pytest.approx(5, abs=0.2)


@pytest.mark.asyncio
async def test_speed_needs_times(lab, tmp_path):
    with pytest.raises(ConfigurationError, match="does not say when"):
        await replayed(lab, written(tmp_path, [{"latency_ms": 1}]), speed=2)


@pytest.mark.asyncio
async def test_columns_that_come_late_are_kept(lab, tmp_path):
    rows = [{"latency_ms": 1}] * 150 + [{"latency_ms": 1, "grade": 3, "cost": 9}]
    exp, report = await replayed(lab, written(tmp_path, rows))
    assert report.bad == 0
    assert (await exp.events())[-1].measurements == {"duration_ms": 1, "grade": 3, "column_cost": 9}


names = st.sampled_from(
    ["time", "latency_ms", "itl_s", "input_tokens", "cost", "success", "error", "item", "x", "a.b"]
)
cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["2024-01-01", "12", "1e400", "9" * 30]), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@given(st.lists(st.dictionaries(names, cells, max_size=5), min_size=1, max_size=20))
def test_every_row_of_any_trace_is_stored_or_counted_as_left_out(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "t.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    async def run():
        async with ct.Lab(prices=False) as lab:
            try:
                exp, report = await replayed(lab, path, time_unit="s")
            except UnreadableFile as error:
                assert "no row can be replayed" in str(error)  # noqa: PT017 - then all are bad
                return
            assert report.rows == len(rows)
            assert exp.counts.stored == report.rows - report.bad
            assert len(report.named) == min(report.bad, 5)

    anyio.run(run)
