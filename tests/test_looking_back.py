"""A lab that is opened again says of its experiments what the process said that ran them, by every verb that reads."""

import asyncio

import pytest
import servers

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreDamaged
from crucible_telemetry.stores.memory import SEGMENT_ROWS

pytestmark = pytest.mark.asyncio


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    return tmp_path / "runs.db" if request.param == "sqlite" else servers.postgres().url()


async def ran(exp, items):
    for i in range(items):
        async with exp.trial(item=f"q{i}") as trial:
            async with ct.llm_call(provider="openai", model="gpt-4o") as call:
                call.usage(input_tokens=10 + i, output_tokens=5)
                call.cost(0.001 * (i + 1))
                call.chunk()
            trial.score(correct=i % 3 > 0)


async def told(lab, ids, folder):
    """What every reading verb says, by name."""
    said = {}
    for exp in map(lab.get_experiment, ids):
        said[exp.name] = {
            "metrics": (await exp.metrics(by="event")).to_dict(),
            "live": exp.live(by="event").to_dict(),
            "counts": exp.counts,
            "trials": await exp.trials(),
            "done": exp.trials_done(),
            "windows": await exp.windowed_metrics(1),
            "minutes": await exp.windowed_metrics(60),
            "count": await exp.count_events(ct.Where(event="llm.request.stop")),
            "last": await exp.window(ct.Last(minutes=5)),
            "pages": [page async for page in exp.pages(size=7)],
            "export": (await exp.export(folder / f"{exp.name}.csv")).read_bytes(),
            "trial file": (folder / f"{exp.name}.trials.csv").read_bytes(),
            "stream": [chunk async for chunk in exp.stream("jsonl")],
            "spec": exp.spec,
            "state": exp.state,
            "times": (exp.active_seconds, exp.paused_seconds, exp.pause_count),
        }
    compared = await lab.compare_experiments(ids, metric="score.correct", secondary=["cost_usd"])
    query = "select experiment_name, count(*), max(latency_ms) from events group by 1 order by 1"
    said["lab"] = {
        "comparison": compared.to_dict(),
        "sql": (await lab.sql(query)).rows,
        "described": (await lab.sql("select * from experiments order by name")).rows,
        "together": [
            path.read_bytes() for path in await lab.export_multiple(ids, folder / "all.jsonl")
        ],
    }
    return said


async def test_every_reading_verb_says_what_the_first_process_said(url, tmp_path):
    async with ct.Lab(url) as lab:
        a = await lab.start_experiment("a", capture="scope", condition="control")
        b = await lab.start_experiment("b", capture="scope", metadata={"x": 1}, tags=["t"])
        await asyncio.gather(ran(a, 12), ran(b, 12))
        await b.pause()
        await b.resume()
        await a.stop()
        await b.stop()
        ids = [a.id, b.id]
        first = await told(lab, ids, tmp_path)
    async with ct.Lab(url) as lab:
        for one in ids:
            await lab.get_experiment(one).flush()
        again = await told(lab, ids, tmp_path)
    for name, figures in first.items():
        for verb, figure in figures.items():
            assert again[name][verb] == figure, (name, verb)


async def emitted(exp, count):
    with exp.scope():
        for number in range(count):
            ct.execute_nowait("fault.numbered", {"n": number, "duration_ns": 1_000 + number})


async def test_live_counts_again_from_the_first_look_a_part_at_a_time(tmp_path):
    rows = 3 * SEGMENT_ROWS
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, rows)
        await exp.stop()
        figures = exp.live().to_dict()
    async with ct.Lab(tmp_path / "runs.db") as lab:
        (exp,) = lab.list_experiments()
        seen = [exp.live().upto_seq]
        async with asyncio.timeout(20):
            while seen[-1] < rows:
                await asyncio.sleep(0)
                seen.append(exp.live().upto_seq)
        assert seen[0] == 0
        assert seen == sorted(seen)
        assert len(set(seen)) > 2
        assert exp.live().to_dict() == figures
    async with ct.Lab(tmp_path / "runs.db") as lab:
        (exp,) = lab.list_experiments()
        await exp.flush()
        assert exp.live().to_dict() == figures


async def test_live_of_one_that_goes_on_is_a_recount_to_the_bit(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await ran(exp, 9)
        await exp.stop()
        board, figures = exp._collector.progress.live, exp.live().to_dict()
    async with ct.Lab(tmp_path / "runs.db") as lab:
        (exp,) = lab.list_experiments()
        exp.live()  # begins to look back, and is overtaken
        await exp.reopen()
        assert exp._collector.progress.live == board
        again = exp.live().to_dict()
        assert {**again, "summary": 0} == {**figures, "summary": 0}
        for field in ("total_events", "time_range", "event_types", "paused_seconds"):
            assert again["summary"][field] == figures["summary"][field]
        await ran(exp, 3)
        live, rest = exp.live(), await exp.metrics()
        assert live.latency.mean == rest.latency.mean
        assert live.cost.total == rest.cost.total
        assert live.upto_seq == rest.upto_seq == 24


async def test_live_figures_that_were_reset_stay_so(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 100)
    async with ct.Lab(tmp_path / "runs.db") as lab:
        (exp,) = lab.list_experiments()
        exp.live()
        exp.reset_live()
        await exp.flush()
        assert exp.live().summary.total_events == 0
        assert (await exp.metrics()).summary.total_events == 100


async def test_where_events_are_damaged_live_says_how_far_it_came(tmp_path, caplog):
    import apsw

    path, rows = tmp_path / "runs.db", 3 * SEGMENT_ROWS
    async with ct.Lab(path) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, rows)
    file = apsw.Connection(str(path))
    file.execute("UPDATE blocks SET data = zeroblob(length(data)) WHERE first_seq = 8193")
    file.close()
    async with ct.Lab(path) as lab:
        (exp,) = lab.list_experiments()
        await exp.flush()
        assert exp.live().upto_seq == exp.live().summary.total_events == SEGMENT_ROWS
        assert "live figures of 'a-" in caplog.text
        assert "events 8193 to 16384" in caplog.text
        with pytest.raises(StoreDamaged, match="events 8193 to 16384"):
            await exp.metrics()


async def test_a_lab_that_closes_while_somebody_looks_back_ends_at_once(tmp_path):
    async with ct.Lab(tmp_path / "runs.db") as lab:
        exp = await lab.start_experiment("a", capture="scope")
        await emitted(exp, 3 * SEGMENT_ROWS)
    lab = await ct.Lab(tmp_path / "runs.db").open()
    lab.list_experiments()[0].live()
    assert await asyncio.wait_for(lab.close(), 5) == {}
