"""One query over a lab in memory, on a file and on a server, over exported files and archives: the same rows."""

import math

import pytest
import servers

import crucible_telemetry as ct

pytest.importorskip("duckdb", reason="the extra [sql] is not installed")
pa = pytest.importorskip("pyarrow", reason="the extra [sql] is not installed")
pytestmark = pytest.mark.asyncio

AT_US = 1_700_000_000_000_000
QUERIES = (
    (
        "select model, count(*), sum(prompt_tokens), quantile_cont(latency_ms, .99), sum(cost_usd) from events"
        " where success group by 1 order by 1"
    ),
    (
        "select seq, timestamp_us, time, event_name, category, condition, tags, outcome, error_type, provider, model,"
        " sample_id, repeat, attempt, session_id, loss, epoch, fields->>'finish_reason', latency_ms, ttft_ms, total_tokens"
        " from events order by seq"
    ),
    "select measurements->>'loss', metadata->>'note', metadata->'deep'->'a' from events order by seq",
    (
        "select t.item, t.repeat, t.outcome, t.scores['correct'], t.scores_json->>'note', t.duration_ns, count(e.seq)"
        " from trials t left join events e on e.trial = t.number and e.experiment_id = t.experiment_id"
        " group by all order by all"
    ),
    "select name, condition, tags, events, trials from experiments",
    "describe events",
    "describe trials",
    "describe experiments",
)


async def filled(lab):
    async with lab.experiment("arm", condition="control", tags=["h1", "ü"], privacy="full") as exp:
        for i in range(24):
            async with exp.trial(item=f"q{i % 8}", repeat=i // 8, session="s") as trial:
                trial.score(correct=i % 2 == 0, note=f"n{i}")
                ct.execute_nowait(
                    "llm.request.stop" if i % 5 else "llm.request.exception",
                    {
                        "duration": 10**6 * i,
                        "ttft_ms": 0.5 * i,
                        "input_tokens": i,
                        "output_tokens": 2,
                    },
                    {
                        "provider": "openai",
                        "model": f"m{i % 3}",
                        "cost_usd": 0.001 * i,
                        "finish_reason": "stop",
                    },
                    at_us=AT_US + i,
                )
            ct.execute_nowait(
                "training.step", {"loss": math.nan if i == 3 else i / 7}, {"epoch": i, "note": "a'b", "deep": {"a": i}},
                at_us=AT_US + 1000 - i,
            )  # fmt: skip
    return exp


async def answers(lab, **options):
    found = []
    for query in QUERIES:
        result = await lab.sql(query, **options)
        assert isinstance(pa.table(result), pa.Table)
        found.append(repr((result.columns, result.rows)))
    return found


FILES = ("e.parquet", "e.arrow", "e.jsonl", "e.csv")


async def test_the_same_query_has_the_same_rows_everywhere(tmp_path):
    url = servers.postgres().url()
    async with ct.Lab() as lab:
        exp = await filled(lab)
        wanted = await answers(lab)
        for kind in ("parquet", "jsonl"):
            await exp.checkpoint(tmp_path / kind, format=kind)
        await exp.archive(tmp_path / "parquet")
        for name in FILES:
            await exp.export(tmp_path / name)
    for kept in (tmp_path / "runs.db", url):
        async with ct.Lab(kept) as lab:
            await lab.restore(tmp_path / "parquet")
        async with ct.Lab(kept) as lab:
            assert await answers(lab) == wanted, kept
    async with ct.Lab() as lab:
        for name in ("parquet", "jsonl", *FILES):
            assert await answers(lab, files=[tmp_path / name]) == wanted, name
        assert len(lab.list_experiments()) == 0


async def test_a_lab_and_files_are_asked_together(tmp_path):
    async with ct.Lab() as lab:
        exp = await filled(lab)
        path = await exp.export(tmp_path / "e.parquet")
        both = await lab.sql("select count(*) from events", experiments=[exp.id], files=[path])
        alone = await lab.sql("select count(*) from events", files=[path])
        (several,) = await lab.export_multiple(
            [exp.id, (await filled(lab)).id], tmp_path / "two.parquet"
        )
        two = await lab.sql(
            "select count(distinct experiment_id), count(*) from events", files=[several]
        )
    assert (both.rows, alone.rows, two.rows) == ([(96,)], [(48,)], [(2, 96)])


async def test_f30_a_query_over_files_reads_no_other_file(tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("canary\n1\n")
    async with ct.Lab() as lab:
        path = await (await filled(lab)).export(tmp_path / "e.parquet", what="events")
        for query in (
            f"from '{secret}'",
            f"from read_text('{path}')",
            f"from '{path}'",
            f"copy events to '{path}'",
        ):
            with pytest.raises(ct.QueryError) as refused:
                await lab.sql(query, files=[path])
            assert "canary" not in str(refused.value)
        with pytest.raises(ct.UnreadableFile, match=r"secret\.csv"):
            await lab.sql("from events", files=[secret])
    assert sorted(one.name for one in tmp_path.iterdir()) == ["e.parquet", "secret.csv"]


async def test_a_query_that_takes_too_long_is_ended():
    endless = "select sum(a.range * b.range) from range(1000000000) a, range(1000000000) b"
    async with ct.Lab() as lab:
        with pytest.raises(ct.QueryError, match=r"more than 0\.2 s"):
            await lab.sql(endless, timeout_s=0.2)
