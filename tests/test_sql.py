"""SQL over experiments: what it sees, that it reads only, and that it can be stopped."""

import gc
import math
import sqlite3
import sys
import time

import anyio
import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct

pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
pytest.importorskip("pyarrow", reason="the extra [sql] is not installed")

HARD = {
    "nan": math.nan, "inf": math.inf, "big": 10**40, "small": 5e-324, "nul": "a\0b", "lone": "\ud800",
    "bytes": b"\xff", "deep": {"a": [{"b": None}]}, "quote": "'; drop table events; --",
}  # fmt: skip


async def two_arms(lab, n=30):
    arms = []
    for condition in ("control", "treatment"):
        async with lab.experiment(f"prompt-{condition}", condition=condition, tags=["h1"]) as exp:
            for i in range(n):
                async with exp.trial(item=f"q{i}", repeat=i % 3) as trial:
                    async with ct.llm_call(provider="openai", model=f"m{i % 2}") as call:
                        call.usage(input_tokens=10 * i, output_tokens=3)
                        call.cost(0.001 * i)
                    trial.score(correct=i % 2 == 0, bleu=i / n, note="x")
                ct.execute_nowait("training.step", {"loss": i / 7}, {"epoch": i, **HARD})
        arms.append(exp)
    return arms


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return "memory" if request.param == "memory" else str(tmp_path / "runs.db")


@pytest.mark.asyncio
async def test_figures_are_those_of_metrics(url):
    async with ct.Lab(url) as lab:
        arms = await two_arms(lab)
        found = await lab.sql(
            "select experiment_id, count(*), sum(prompt_tokens), quantile_cont(latency_ms, .99),"
            " sum(cost_usd) from events where category = 'llm' and success group by 1 order by 1"
        )
        for row, exp in zip(found.rows, sorted(arms, key=lambda one: one.id), strict=True):
            figures = await exp.metrics()
            assert row[:3] == (exp.id, figures.latency.count, figures.tokens.total_prompt)
            assert row[3] == pytest.approx(figures.latency.p99, rel=1e-12)
            assert row[4] == pytest.approx(figures.cost.total, rel=1e-12)


@pytest.mark.asyncio
async def test_every_field_of_an_event_is_a_column_of_the_same_value(url):
    async with ct.Lab(url) as lab:
        exp = (await two_arms(lab))[0]
        found = await lab.sql("select * from events order by seq", experiments=[exp.id])
        rows = [dict(zip(found.columns, row, strict=True)) for row in found]
        events = await exp.events()
    assert len(rows) == len(events) > 60
    for row, event in zip(rows, events, strict=True):
        for field in event.__struct_fields__:
            if field not in ("measurements", "metadata"):
                value = getattr(event, field)
                assert row[field] == (list(value) if field == "tags" else value), field
        assert row["loss"] == event.loss
        assert row["epoch"] == event.epoch


@pytest.mark.asyncio
async def test_metadata_is_json_with_words_for_what_json_lacks(url):
    async with ct.Lab(url) as lab:
        await two_arms(lab, 2)
        found = await lab.sql(
            "select metadata->>'nan', metadata->>'inf', metadata->>'quote', metadata->'deep'->'a'->0->>'b',"
            " metadata->>'lone' from events where event_name = 'training.step' limit 1"
        )
    assert found.rows == [("NaN", "Infinity", HARD["quote"], None, "\\ud800")]


@pytest.mark.asyncio
async def test_trials_have_scores_as_numbers_and_join_their_events(url):
    async with ct.Lab(url) as lab:
        await two_arms(lab)
        scores = await lab.sql(
            "select condition, avg(scores['correct']), max(scores_json->>'note') from trials group by 1 order by 1"
        )
        joined = await lab.sql(
            "select count(*) from events e join trials t"
            " on e.experiment_id = t.experiment_id and e.trial = t.number where e.sample_id <> t.item"
        )
        told = await lab.sql("select name, state, events, trials, tags from experiments order by 1")
    assert scores.rows == [("control", 0.5, "x"), ("treatment", 0.5, "x")]
    assert joined.rows == [(0,)]
    assert told.rows[0] == ("prompt-control", "stopped", 90, 30, ["h1"])


@pytest.mark.asyncio
async def test_it_sees_what_was_emitted_before_the_call_and_chosen_experiments_only():
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("a", capture="scope")
        other = await lab.start_experiment("b", capture="scope")
        with exp.scope():
            for _ in range(3):
                ct.execute_nowait("x.y", {"n": 1})
        assert (await lab.sql("select count(*) from events")).rows == [(3,)]
        assert (await lab.sql("from events", experiments=[other.id])).rows == []
        with pytest.raises(ct.UnknownExperiment, match="nobody"):
            await lab.sql("from events", experiments=["nobody"])
        with pytest.raises(ct.ConfigurationError, match="several ids"):
            await lab.sql("from events", experiments=exp.id)


@pytest.mark.asyncio
async def test_a_lab_without_experiments_has_empty_relations():
    async with ct.Lab() as lab:
        assert len(await lab.sql("from events")) == 0
        assert (await lab.sql("select count(*) from trials, experiments")).rows == [(0,)]


READS = [
    ("select * from read_csv('{secret}')", "disabled"),
    ("select * from read_text('{secret}')", "disabled"),
    ("select * from read_blob('{secret}')", "disabled"),
    ("select * from '{secret}'", "disabled|does not exist"),
    ("select * from glob('{folder}/*')", "disabled"),
    ("select * from parquet_scan('{secret}')", "disabled"),
    ("select * from read_json('http://localhost:9/x')", ""),
    ("copy events to '{folder}/out.csv'", "not COPY"),
    ("export database '{folder}/out'", "only queries|statements"),
    ("attach '{folder}/out.db'", "not ATTACH"),
    ("install httpfs", "not LOAD"),
    ("load httpfs", "not LOAD"),
    ("set enable_external_access = true", "not SET"),
    ("reset lock_configuration", "not (RE)?SET|not VARIABLE_SET"),
    ("pragma database_list", "only queries|statements"),
    ("call pragma_version()", "not CALL"),
    ("explain analyze copy events to '{folder}/out.csv'", "not EXPLAIN"),
    ("create table t as select 1", "not CREATE"),
    ("create secret s (type s3, key_id 'x', secret 'y')", "not CREATE|only"),
    ("select 1; drop view events", "2 statements"),
    ("insert into trials select * from trials", "not INSERT"),
    ("with x as (select 1) delete from events", "not DELETE"),
    ("select nobody from events", "nobody"),
    ("selct 1", "syntax"),
    ("", "0 statements"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("query", "why"), READS)
async def test_f30_it_reads_and_reads_no_files(query, why, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("canary\n1\n")
    before = sorted(tmp_path.iterdir())
    async with ct.Lab() as lab:
        await two_arms(lab, 2)
        with pytest.raises(ct.QueryError, match=f"(?s){why}") as refused:
            await lab.sql(query.format(secret=secret, folder=tmp_path))
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.asyncio
async def test_f30_variables_of_the_program_are_no_tables():
    import pyarrow as pa

    hidden = pa.table({"canary": [1]})
    async with ct.Lab() as lab:
        with pytest.raises(ct.QueryError, match="hidden does not exist"):
            await lab.sql("select * from hidden")
    assert hidden.num_rows == 1


@settings(deadline=None, max_examples=15)
@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_f30_parameters_are_values_whatever_they_hold(text):
    from crucible_telemetry.export.words import utf8

    async def run():
        async with ct.Lab() as lab:
            async with lab.experiment("a", privacy="full"):
                ct.execute_nowait("x.y", {"n": 1}, {"text": text})
            wanted = [utf8(text)]
            return await lab.sql("select count(*) from events where metadata->>'text' = $1", wanted)

    assert anyio.run(run).rows == [(1,)]


@pytest.mark.asyncio
async def test_a_query_that_is_cancelled_ends_at_once_and_the_lab_goes_on():
    endless = "select sum(a.range * b.range) from range(1000000000) a, range(1000000000) b"
    async with ct.Lab() as lab:
        await two_arms(lab, 2)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.3):
                await lab.sql(endless)
        assert time.monotonic() - began < 5
        assert (await lab.sql("select 1")).rows == [(1,)]


@pytest.mark.asyncio
async def test_the_loop_goes_on_during_a_query():
    async with ct.Lab() as lab:
        await two_arms(lab, 2)
        turns = 0

        async def count():
            nonlocal turns
            while True:
                turns += 1
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as group:
            group.start_soon(count)
            await lab.sql("select sum(sqrt(range)) from range(30000000)")
            group.cancel_scope.cancel()
    assert turns > 3


@pytest.mark.asyncio
async def test_memory_is_bounded_inside_the_query_and_in_its_answer():
    async with ct.Lab() as lab:
        with pytest.raises(ct.QueryError, match="(?i)memory"):
            await lab.sql("select list(range) from range(50000000)", memory_bytes=50_000_000)
        with pytest.raises(ct.QueryError, match="answer is larger"):
            await lab.sql("select range, range + 1 from range(9000000)", memory_bytes=50_000_000)


@pytest.mark.asyncio
async def test_a_damaged_block_is_named_and_nothing_is_answered(tmp_path):
    path = tmp_path / "runs.db"
    async with ct.Lab(path) as lab:
        exp = (await two_arms(lab, 3))[0]
    with sqlite3.connect(path) as db:
        db.execute("update blocks set data = zeroblob(20) where experiment = ?", (exp.id,))
    db.close()
    async with ct.Lab(path) as lab:
        with pytest.raises(ct.CrucibleError, match="digest differs"):
            await lab.sql("select count(*) from events")


@pytest.mark.asyncio
async def test_the_answer_is_rows_arrow_pandas_and_a_table_that_prints():
    import pyarrow as pa

    async with ct.Lab() as lab:
        found = await lab.sql("select range as n, range / 3 as third, null as x from range(50)")
    assert len(found) == 50
    assert found.columns == ["n", "third", "x"]
    assert list(found)[3] == (3, 1.0, None)
    assert pa.table(found).num_rows == found.arrow().num_rows == 50
    assert found.to_pandas()["n"].sum() == 1225
    lines = str(found).splitlines()
    assert lines[:3] == [" n     third  x", "──  ────────  ─", " 0         0"]
    assert lines[3] == " 1  0.333333"
    assert lines[-1] == "… 50 rows"
    assert repr(found) == "<QueryResult 50 rows: n, third, x>"


@pytest.mark.asyncio
async def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for name in ("experiment.asking", "export.sql"):
        monkeypatch.delitem(sys.modules, f"crucible_telemetry.{name}", raising=False)
    async with ct.Lab() as lab:
        with pytest.raises(ct.ConfigurationError, match=r"duckdb: pip install .*\[sql\]"):
            await lab.sql("select 1")


@pytest.mark.asyncio
async def test_rows_are_read_for_a_query_without_a_garbage_collection():
    """Of some thousand dictionaries at a time, each made the loop 60 ms late and found nothing."""
    async with ct.Lab() as lab:
        exp = await lab.start_experiment("many", capture="scope")
        async with exp.scope():
            for i in range(20_000):
                await ct.execute("note", {"n": i}, {"text": str(i)})
        await lab.sql("select max(metadata->>'text') from events where seq < 10")
        full = []

        def watch(phase, info):
            if phase == "stop" and info["generation"] == 2:
                full.append(info)

        gc.callbacks.append(watch)
        try:
            found = await lab.sql("select count(distinct metadata->>'text') from events")
        finally:
            gc.callbacks.remove(watch)
        assert found.rows == [(20_000,)]
        assert not full
