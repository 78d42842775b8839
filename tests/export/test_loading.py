"""What was exported comes back: the same events, the same figures."""

import json
import math
import re

import pytest
from hypothesis import given, settings, strategies as st
from msgspec.structs import replace
from strategies import ANYTHING, ODD_KEY

import crucible_telemetry as ct
from crucible_telemetry.export.columns import FLOAT_EXACT

pytestmark = pytest.mark.asyncio
ENDINGS = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz", ".jsonl.zst", ".csv.zst", ".parquet", ".arrow")
TABLES = (".parquet", ".arrow")
PARTS = ("latency", "cost", "reliability", "tokens", "streaming", "events", "pool", "upto_seq")


async def experiment(lab, n=40):
    """Calls of two models in trials, some failed, priced and not; an ensemble around some; plain lines."""
    exp = await lab.start_experiment(
        "of many kinds", condition="treatment", tags=["a", "=b"], capture="scope", privacy="full"
    )
    for i in range(n):
        async with exp.trial(item=f"q{i % 7}", repeat=i // 7, session="s", cohort="c"):
            with ct.span("ensemble.predict", {"n": 2}):
                async with ct.llm_call(provider="openai", model=f"m{i % 2}") as call:
                    call.usage(input_tokens=10 * i, output_tokens=i, cached=i)
                    call.cost(0.001 * i)
                async with ct.llm_call(provider="openai", model="streams") as call:
                    call.chunk()
                    call.chunk(tokens=i)
            ending = "stop" if i % 3 else "exception"
            await ct.execute(
                f"req_llm.request.{ending}",
                {"duration": 10**6 * i + i, "ttft_ms": 0.7 * i},
                {
                    "model": "x",
                    "kind": "TimeoutError" if i % 2 else "ValueError",
                    "a": {"b": {"c": i}},
                },
            )
            await ct.execute(
                "log.line", {"value": math.nan if i % 5 else i}, {"note": ["x", b"\xff"]}
            )
    await exp.stop()
    return exp


def figures(summary, part):
    """A part in words, to the bit, without what a file of events does not hold: the time it ran."""
    return re.sub(r"mtbf=[^,]+", "", repr(getattr(summary, part)))


def told(events, ending):
    """Events in words; of a table without the difference between 1 and 1.0, which a column of floats has not."""
    words = [repr(event) for event in events]
    return [re.sub(r"\b(\d+)\.0\b", r"\1", one) for one in words] if ending in TABLES else words


@pytest.mark.parametrize("ending", ENDINGS)
async def test_events_and_figures_of_a_loaded_file_are_those_of_the_experiment(tmp_path, ending):
    if "zst" in ending:
        pytest.importorskip("zstandard", reason="writes and reads .zst")
    if ending in TABLES:
        pytest.importorskip("pyarrow", reason="writes and reads tables")
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        loaded = await ct.load(await exp.export(tmp_path / f"e{ending}"))
        events, want = await loaded.events(), await exp.events()
        assert told(events, ending) == told(want, ending)
        assert told(ct.read_events(loaded.path), ending) == told(want, ending)
        for by in (None, "event"):
            found, wanted = await loaded.metrics(by=by), await exp.metrics(by=by)
            for part in PARTS:
                assert figures(found, part) == figures(wanted, part), part
        assert found.summary.time_range == wanted.summary.time_range
        assert found.summary.event_types == wanted.summary.event_types
        assert loaded.name == exp.name
        assert loaded.spec.condition == "treatment"
        where = ct.Where(event="llm.*", success=True)
        assert await loaded.count_events(where) == await exp.count_events(where) > 0
        rows = [replace(row, active_seconds=0.0) for row in await exp.windowed_metrics(0.001)]
        assert [
            replace(row, active_seconds=0.0) for row in await loaded.windowed_metrics(0.001)
        ] == rows
        again = await loaded.export(tmp_path / f"again{ending}")
        if ending == ".parquet":  # words may be numbered in another order
            read = pytest.importorskip("pyarrow.parquet").read_table
            assert repr(read(again).to_pylist()) == repr(read(tmp_path / "e.parquet").to_pylist())
        else:
            assert again.read_bytes() == (tmp_path / f"e{ending}").read_bytes()


async def test_a_file_of_some_events_keeps_their_seqs(tmp_path):
    where = ct.Where(event="llm.request.stop")
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        path = await exp.export(tmp_path / "some.jsonl", where=where)
        loaded, want = await ct.load(path), await exp.events(where)
    assert await loaded.events() == want
    assert [event async for page in loaded.pages(size=3) for event in page] == want
    assert await loaded.window(ct.LastN(5)) == want[-5:]
    assert await loaded.window(ct.Last(days=1)) == want
    assert (await loaded.export(tmp_path / "again.jsonl")).read_bytes() == path.read_bytes()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.dictionaries(ODD_KEY, ANYTHING, max_size=3), st.dictionaries(ODD_KEY, ANYTHING, max_size=3)),
        max_size=4,
    )
)  # fmt: skip
async def test_f11_whatever_was_stored_comes_back_from_json_lines(tmp_path_factory, given_events):
    folder = tmp_path_factory.mktemp("odd")
    async with ct.Lab() as lab, lab.experiment("odd", privacy="full") as exp:
        for measurements, metadata in given_events:
            await ct.execute("odd.stop", measurements, metadata)
        path = await exp.export(folder / "e.jsonl")
        want = await exp.events()
        wanted = await exp.metrics()
    assert [repr(event) for event in ct.read_events(path)] == [repr(event) for event in want]
    loaded = await ct.load(path)
    assert [repr(event) for event in await loaded.events()] == [repr(event) for event in want]
    assert (await loaded.metrics()).latency == wanted.latency


@given(st.integers(0, 2**62 - 1), st.sampled_from([1e6, 1e12]))
async def test_below_the_limit_milliseconds_and_dollars_lead_back_to_the_integer(value, scale):
    if value < FLOAT_EXACT:
        assert round(value / scale * scale) == value


@pytest.mark.parametrize("ending", TABLES)
async def test_a_table_has_the_trials_beside_it_and_larger_figures_as_integers(tmp_path, ending):
    pytest.importorskip("pyarrow", reason="writes and reads tables")
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("large", capture="scope")
        async with exp.scope():
            await ct.execute("a.stop", {"duration": 2**60 + 1, "cost_usd": 2**53 / 1e12})
        async with exp.trial(item="scored") as trial:
            trial.score(bleu=0.5, label="x")
        loaded = await ct.load(await exp.export(tmp_path / f"t{ending}"))
        assert [repr(one) for one in await loaded.trials()] == [
            repr(one) for one in await exp.trials()
        ]
        assert (await loaded.metrics()).latency == (await exp.metrics()).latency
        assert (await loaded.metrics()).cost == (await exp.metrics()).cost


@pytest.mark.parametrize(
    "value_ns", [FLOAT_EXACT - 1, FLOAT_EXACT, 2**53 + 1, 2**60 + 1, 2**62 - 1]
)
async def test_larger_figures_stand_beside_as_integers(tmp_path, value_ns):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a.stop", {"duration": value_ns, "cost_usd": value_ns / 1e12})
        await ct.execute("a.stop", {"duration": 1, "cost_usd": 0.0})
        path = await exp.export(tmp_path / "e.jsonl")
        found, want = await (await ct.load(path)).metrics(), await exp.metrics()
    assert found.latency == want.latency
    assert found.cost == want.cost
    line = json.loads(path.read_text().splitlines()[0])
    assert line.get("exact", {}).get("latency_ns") == (
        value_ns if value_ns >= FLOAT_EXACT else None
    )


async def test_a_text_that_looks_like_a_word_stays_a_text(tmp_path):
    texts = ["NaN", "Infinity", "//8=", "true", "1", "'x", ""]
    values = {"f": math.nan, "b": b"\xff\xff", "t": texts, "a/b~c": {"": -math.inf}}
    async with ct.Lab() as lab, lab.experiment("e", privacy="full") as exp:
        await ct.execute("a", {}, {**values, **{f"t{i}": text for i, text in enumerate(texts)}})
        path = await exp.export(tmp_path / "e.jsonl")
        (event,), (back,) = await exp.events(), ct.read_events(path)
        (cells,) = ct.read_events(await exp.export(tmp_path / "e.csv"))
    assert repr(back) == repr(event)
    assert repr(cells) == repr(event)


async def test_a_file_with_chosen_columns_counts_as_the_catalog_says(tmp_path):
    chosen = ["timestamp_us", "event_name", "latency_ms", "outcome", "metadata.a"]
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        for i in range(5):
            await ct.execute("req_llm.request.stop", {"duration": i}, {"a": i})
        for name in ("e.csv", "e.jsonl"):
            loaded = await ct.load(await exp.export(tmp_path / name, columns=chosen))
            assert (await loaded.metrics()).latency == (await exp.metrics()).latency
            assert [event.metadata for event in await loaded.events()] == [
                {"a": i} for i in range(5)
            ]
            assert loaded.id == "e"


async def test_a_file_of_several_experiments_wants_one_to_be_chosen(tmp_path):
    async with ct.Lab() as lab:
        a, b = await experiment(lab, 2), await experiment(lab, 3)
        both = tmp_path / "both.jsonl"
        parts = [(await exp.export(tmp_path / "x.jsonl")).read_bytes() for exp in (a, b)]
        both.write_bytes(b"".join(parts))
        with pytest.raises(ct.UnreadableFile, match=f"{a.id}.*{b.id}.*choose one, experiment="):
            await ct.load(both)
        loaded = await ct.load(both, experiment=b.id)
        assert repr(await loaded.events()) == repr(await b.events())
        with pytest.raises(ct.UnreadableFile, match="no experiment 'c'; it holds"):
            await ct.load(both, experiment="c")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", *TABLES])
async def test_an_empty_experiment_loads_as_empty(tmp_path, ending):
    if ending in TABLES:
        pytest.importorskip("pyarrow", reason="writes and reads tables")
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        loaded = await ct.load(await exp.export(tmp_path / f"none{ending}"))
    assert await loaded.events() == []
    assert (await loaded.metrics()).latency.count == 0
    assert await loaded.window(ct.Last(minutes=5)) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [("e.CSV", "csv"), ("e.CSV.GZ", "csv"), ("e.JSONL", "jsonl"), ("e.dat", "csv"), ("e.jsonl", "csv"),
     ("e.csv", "jsonl")],
)  # fmt: skip
async def test_what_a_file_holds_is_seen_whatever_its_name(tmp_path, name, kind):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("a", {"x": 1}, {"text": "two\nlines"})
        loaded = await ct.load(await exp.export(tmp_path / name, format=kind))
    assert await loaded.events() == await exp.events()


@pytest.mark.parametrize(("name", "match"), [("e.csv", "no timestamp_us"), ("e.jsonl", "JSON")])
async def test_what_is_neither_is_told_as_what_its_name_says(tmp_path, name, match):
    (tmp_path / name).write_text("neither\n")
    with pytest.raises(ct.UnreadableFile, match=match):
        await ct.load(tmp_path / name)


async def test_what_needs_a_running_experiment_says_that_this_is_a_file(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        loaded = await ct.load(await exp.export(tmp_path / "e.jsonl"))
    for ask in (loaded.live, loaded.reset_live, loaded.subscribe):
        with pytest.raises(ct.LifecycleError, match=r"it is read from .*e\.jsonl"):
            ask()
