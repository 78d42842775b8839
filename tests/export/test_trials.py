"""Trials taken away: a line each with its scores, as data, and back again."""

import csv
import json
import os

import pytest
from hypothesis import given, settings, strategies as st

import crucible_telemetry as ct
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.export.trials import OF_TRIAL, TrialTable, read_trials, trial_chunks
from crucible_telemetry.export.writing import Wishes

pytestmark = pytest.mark.asyncio
ENDINGS = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz", ".jsonl.zst", ".csv.zst")
FORMULA = "=HYPERLINK(1)"


async def experiment(lab, name="pilot", n=6, **options):
    """Trials scored, failed, raised and open, of hostile names; texts as they are."""
    options = {"condition": "control", "tags": ["a", "=b"], "privacy": "full"} | options
    exp = await lab.start_experiment(name, capture="scope", **options)
    for i in range(n):
        with exp.trial(
            item=f"q{i}" if i else FORMULA, repeat=i, session=f"{i}", cohort="c"
        ) as trial:
            ct.execute_nowait("llm.request.stop", {"duration_ms": 1 + i})
            trial.score(correct=i % 2 == 0, bleu=i / 7, **{"f1.macro": float("nan")})
            if i == 3:
                trial.score(label=FORMULA, digits="17")
                trial.fail("no_answer")
    with pytest.raises(TimeoutError), exp.trial(item="slow"):
        raise TimeoutError
    exp.trial(item="open").__enter__()
    return exp


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_a_csv_of_trials_has_a_row_each_and_scores_as_columns(tmp_path):
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        path = await exp.export(tmp_path / "t.csv", what="trials")
        records = await exp.trials()
    found = rows(path)
    assert list(found[0]) == [
        *OF_TRIAL, "score.correct", "score.bleu", r"score.f1\.macro", "score.label", "score.digits",
    ]  # fmt: skip
    assert [row["outcome"] for row in found] == ["ok"] * 3 + ["error"] + ["ok"] * 2 + [
        "timeout",
        "",
    ]
    assert [row["duration_ns"] for row in found[:-1]] == [str(r.duration_ns) for r in records[:-1]]
    assert [row["score.correct"] for row in found] == ["true", "false"] * 3 + ["", ""]
    assert {row["score.label"] for row in found} == {"", "'" + FORMULA}  # no spreadsheet runs it
    assert found[0]["item"] == "'" + FORMULA
    assert found[3]["reason"] == "no_answer"
    assert {(row["experiment_id"], row["condition"]) for row in found} == {(exp.id, "control")}


async def test_pandas_reads_trials_as_the_numbers_they_are(tmp_path):
    pandas = pytest.importorskip("pandas", reason="reads what was written")
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        flat = pandas.read_csv(await exp.export(tmp_path / "t.csv.gz", what="trials"))
        lines = await exp.export(tmp_path / "t.jsonl", what="trials", flat=True)
        records = await exp.trials()
    assert flat["score.bleu"][:6].tolist() == [i / 7 for i in range(6)]
    assert flat["score.correct"].dropna().mean() == 0.5
    assert flat["started_us"].tolist() == [record.started_us for record in records]
    assert pandas.read_json(lines, lines=True)["score.bleu"][:6].round(9).tolist() == [
        round(i / 7, 9) for i in range(6)
    ]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_loaded_file_has_the_trials_that_were_written_beside_it(tmp_path, ending):
    if "zst" in ending:
        pytest.importorskip("zstandard", reason="writes and reads .zst")
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        path = await exp.export(tmp_path / f"run{ending}")
        want = await exp.trials()
        assert {p.name for p in tmp_path.iterdir()} == {f"run{ending}", f"run.trials{ending}"}
        loaded = await ct.load(path)
        assert repr(await loaded.trials()) == repr(want)
        again = await loaded.export(tmp_path / "new" / f"again{ending}", what="trials")
        assert again.read_bytes() == (tmp_path / f"run.trials{ending}").read_bytes()


async def test_trials_are_left_out_where_events_are_chosen_changed_or_asked_for_alone(tmp_path):
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        for wish in (
            {"what": "events"},
            {"where": ct.Where(success=True)},
            {"columns": ["timestamp_us"]},
            {"transformers": {"sample_id": lambda item: None}},
        ):
            await exp.export(tmp_path / "run.csv", **wish)
            assert [p.name for p in tmp_path.iterdir()] == ["run.csv"], wish
        events = b"".join([chunk async for chunk in exp.stream("csv", what="events")])
        assert b"".join([chunk async for chunk in exp.stream("csv")]) == events
        stream = b"".join([chunk async for chunk in exp.stream("csv", what="trials")])
        assert stream == (await exp.export(tmp_path / "t.csv", what="trials")).read_bytes()


async def test_columns_and_transformers_choose_and_change_trials(tmp_path):
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        wish = {"what": "trials", "columns": ["score.bleu", "item", "long"]}
        steps = [{"item": str.upper}, lambda row: row | {"long": len(row["item"]) > 3}]
        path = await exp.export(tmp_path / "t.csv", transformers=steps, **wish)
        assert path.read_text().splitlines()[:3] == [
            "score.bleu,item,long",
            f'0.0,"\'{FORMULA}",true',
            f"{1 / 7},Q1,false",
        ]
        path = await exp.export(tmp_path / "t.jsonl", transformers=steps, **wish)
        assert json.loads(path.read_text().splitlines()[1]) == {
            "score.bleu": 1 / 7, "item": "Q1", "long": False,
        }  # fmt: skip
        fail = {"item": lambda item: 1 / 0 if item == "q1" else item}
        with pytest.raises(ct.ExportError, match=r"trial \d+ of 'q1': transformer .* raised"):
            await exp.export(tmp_path / "n.csv", what="trials", transformers=fail)
    assert not (tmp_path / "n.csv").exists()


@pytest.mark.parametrize(
    ("wish", "option", "why"),
    [
        ({"what": "scores"}, "what", "events, trials"),
        ({"what": "trials", "where": ct.Where(success=True)}, "where", "of trials all"),
        (
            {"what": "trials", "columns": ["score.corect"]},
            "columns",
            "no trial has .* score.correct",
        ),
        ({"what": "trials", "transformers": {"itm": str}}, "transformers", "no trial has 'itm'"),
    ],
)
async def test_a_wish_that_trials_cannot_meet_is_refused_and_leaves_no_file(
    tmp_path, wish, option, why
):
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        for ending in (".csv", ".jsonl"):
            with pytest.raises(ct.ConfigurationError, match=why) as told:
                await exp.export(tmp_path / f"t{ending}", **wish)
            assert told.value.option == option
    assert list(tmp_path.iterdir()) == []


async def test_without_trials_there_is_a_header_and_nothing_is_written_beside(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        await ct.execute("llm.request.stop")
        path = await exp.export(tmp_path / "t.csv", what="trials", columns=["item", "score.any"])
        assert path.read_text() == "item,score.any\n"
        assert (await exp.export(tmp_path / "u.csv", what="trials")).read_text() == ",".join(
            OF_TRIAL
        ) + "\n"
        loaded = await ct.load(await exp.export(tmp_path / "e.jsonl"))
    assert await loaded.trials() == []
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv", "u.csv", "e.jsonl"}


async def test_several_experiments_write_their_trials_together_or_each_its_own(tmp_path):
    async with ct.Lab() as lab:
        a, b = [await experiment(lab, name, n) for name, n in (("a", 2), ("b", 3))]
        (both,) = await lab.export_multiple([a.id, b.id], tmp_path / "both.csv", what="trials")
        assert [row["experiment_name"] for row in rows(both)] == ["a"] * 4 + ["b"] * 5
        each = await lab.export_multiple([a.id, b.id], tmp_path / "each", what="trials")
        assert all(path.name.endswith(".trials.jsonl") for path in each)
        assert [len(path.read_text().splitlines()) for path in each] == [4, 5]
        (events,) = await lab.export_multiple([a.id, b.id], tmp_path / "all.jsonl")
        loaded = await ct.load(events, experiment=b.id)
        assert repr(await loaded.trials()) == repr(await b.trials())
        path = await lab.export(a.id, tmp_path / "one.jsonl", what="trials")
        assert len(path.read_text().splitlines()) == 4


async def test_what_is_exported_on_exit_has_its_trials_beside(tmp_path):
    async with ct.Lab() as lab:
        await experiment(lab, export_on_exit=tmp_path / "x.csv")
    assert len(rows(tmp_path / "x.trials.csv")) == 8


async def test_trials_that_a_file_cannot_have_lost_are_missed_by_name(tmp_path):
    async with ct.Lab() as lab:
        a, b = [await experiment(lab, name) for name in "ab"]
        path = await a.export(tmp_path / "a.jsonl")
        beside = tmp_path / "a.trials.jsonl"
        beside.rename(tmp_path / "elsewhere.jsonl")
        loaded = await ct.load(path)
        with pytest.raises(
            ct.UnreadableFile, match=r"a\.trials\.jsonl.*is not there.*load\(trials=\)"
        ):
            await loaded.trials()
        await loaded.export(tmp_path / "copy.csv")  # the events are there, and no more is claimed
        assert not (tmp_path / "copy.trials.csv").exists()
        named = await ct.load(path, trials=tmp_path / "elsewhere.jsonl")
        assert repr(await named.trials()) == repr(await a.trials())
        await b.export(beside, what="trials")
        with pytest.raises(ct.UnreadableFile, match=f"no trial in it is of '{a.id}'"):
            await (await ct.load(path)).trials()
        beside.write_text('{"item": "q", "outcome": "fine"}\n')
        with pytest.raises(ct.UnreadableFile, match="line 1: outcome: 'fine'"):
            await (await ct.load(path)).trials()
        with pytest.raises(ct.UnreadableFile, match="No such file"):
            await ct.load(path, trials=tmp_path / "none.jsonl")


async def test_a_file_of_trials_that_cannot_be_written_leaves_the_one_of_events_as_it_was(tmp_path):
    (tmp_path / "x.jsonl").write_text("before")
    (tmp_path / "x.trials.jsonl").mkdir()
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        with pytest.raises(ct.ExportError, match=r"x\.trials\.jsonl.*no regular file"):
            await exp.export(tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text() == "before"


async def test_reasons_and_texts_leave_as_privacy_lets_them(tmp_path):
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        with exp.trial(item=1) as trial:
            trial.score(note="the secret answer", bleu=0.5)
            trial.fail("it said the secret answer")
        for ending in (".csv", ".jsonl"):
            text = (await exp.export(tmp_path / f"t{ending}", what="trials")).read_text()
            assert "secret" not in text
            assert "0.5" in text
            assert "redacted (25 characters" in text


async def test_scores_that_are_numbers_of_other_kinds_leave_as_numbers(tmp_path):
    numpy = pytest.importorskip("numpy")
    async with ct.Lab() as lab, lab.experiment("e") as exp:
        with exp.trial(item=1) as trial:
            trial.score(a=numpy.float64(0.25), b=numpy.int64(3), c=numpy.bool_(1), d=10**40)
        path = await exp.export(tmp_path / "t.jsonl", what="trials")
    assert json.loads(path.read_text())["scores"] == {
        "a": 0.25, "b": 3, "c": True, "d": {"crucible:int": str(10**40)},
    }  # fmt: skip


TEXT = st.text(max_size=8)
SCORE = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT
RECORD = st.builds(
    TrialRecord,
    number=st.integers(0, 2**40),
    item=TEXT,
    repeat=st.integers(0, 9),
    attempt=st.integers(0, 9),
    session=st.none() | TEXT,
    user=st.none() | TEXT,
    cohort=st.none() | TEXT,
    started_us=st.integers(0, 2**60),
    ended_us=st.none() | st.integers(0, 2**60),
    duration_ns=st.none() | st.integers(0, 2**60),
    outcome=st.sampled_from([None, "ok", "error", "timeout", "cancelled"]),
    scores=st.dictionaries(TEXT, SCORE, max_size=4),
    reason=st.none() | TEXT,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(RECORD, max_size=5), st.sampled_from(["csv", "jsonl"]), st.booleans())
async def test_trials_come_back_as_they_were(tmp_path_factory, records, kind, flat):
    whole = TrialTable(
        experiment_id="e-1", experiment_name="e", condition="c", tags=("t",), records=records
    )
    path = tmp_path_factory.mktemp("trials") / f"t.{kind}"
    path.write_bytes(b"".join([c async for c in trial_chunks([whole], kind, Wishes(flat=flat))]))
    found = await read_trials(path, "e-1", 2**20)
    by_column = flat or kind == "csv"
    assert [told(one) for one in found] == [told(one, by_column=by_column) for one in records]


def told(record, *, by_column=False):
    """A trial in words; by column a score of None is none, and scores stand in the order of the columns."""
    own = [getattr(record, name) for name in record.__struct_fields__ if name != "scores"]
    scores = [one for one in record.scores.items() if not by_column or one[1] is not None]
    return repr((own, sorted(scores, key=lambda score: score[0])))


async def test_events_that_cannot_be_written_leave_no_file_of_trials_either(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    (tmp_path / "y.trials.csv").write_text("of before")
    os.mkfifo(tmp_path / "y.csv")
    async with ct.Lab() as lab:
        exp = await experiment(lab)
        for name in ("x.csv", "y.csv"):
            with pytest.raises(ct.ExportError, match=rf"{name}.*no regular file"):
                await exp.export(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "y.csv", "y.trials.csv"}
    assert (tmp_path / "y.trials.csv").read_text() == "of before"
