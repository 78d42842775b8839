"""Trials: identity, outcome, scores, and plans of many trials."""

import asyncio
import gc
import time

import anyio
import pytest

import crucible_telemetry as ct

pytestmark = [pytest.mark.asyncio, pytest.mark.virtual_time]


async def arms(lab, n=2, **options):
    options = {"capture": "scope", **options}
    return [await lab.start_experiment(f"arm-{i}", **options) for i in range(n)]


IDENTITY = {
    "item": "q17", "repeat": 2, "attempt": 1, "session": "s", "user": "u", "cohort": "c",
}  # fmt: skip


def identity(event):
    fields = ("sample_id", "repeat", "attempt", "session_id", "user_id", "cohort")
    return tuple(getattr(event, field) for field in fields)


async def test_the_identity_is_on_every_event_inside_also_in_process_captures(lab):
    everything = await lab.start_experiment("all")
    async with lab.experiment("a") as exp:
        ct.execute_nowait("outside")
        async with exp.trial(**IDENTITY):
            ct.execute_nowait("plain")
            with ct.span("s"):
                await asyncio.create_task(ct.execute("deep"))
            await asyncio.to_thread(ct.execute_nowait, "thread")
    for events in (await exp.events(), await everything.events()):
        found = {e.event_name: identity(e) for e in events}
        assert found.pop("outside") == (None, None, None, None, None, None)
        assert set(found) == {"plain", "s.start", "deep", "s.stop", "thread"}
        assert set(found.values()) == {("q17", 2, 1, "s", "u", "c")}


async def test_metadata_that_names_an_id_itself_comes_first(lab):
    async with lab.experiment("a") as exp, exp.trial(item="q", user="u"):
        ct.execute_nowait("n", None, {"user_id": "other", "session_id": 5})
    (event,) = await exp.events()
    assert (event.user_id, event.session_id, event.sample_id) == ("other", "5", "q")


async def test_a_trial_opens_the_scope_of_its_experiment_wherever_it_runs(lab):
    (exp,) = await arms(lab, 1)
    other = await lab.start_experiment("other", capture="scope")
    with other.scope(), ct.span("of.other"), exp.trial(item=1) as trial:
        assert ct.current_experiment() is exp
        assert trial.experiment is exp
        ct.execute_nowait("n")
    (event,) = await exp.events()
    assert event.parent_id is None
    assert event.sample_id == "1"


async def test_a_trial_inside_a_span_of_its_experiment_hangs_under_it(lab):
    async with lab.experiment("a") as exp:
        with ct.span("batch") as batch, exp.trial(item=1), ct.span("call"):
            assert ct.current_span().parent_id == batch.span_id
    call = next(e for e in await exp.events() if e.event_name == "call.start")
    assert call.sample_id == "1"


async def test_a_trial_is_a_record_from_its_start_to_its_end(lab):
    (exp,) = await arms(lab, 1)
    async with exp.trial(item="q", repeat=1) as trial:
        (record,) = await exp.trials()
        assert record == trial.record
        assert (record.outcome, record.ended_us, record.duration_ns) == (None, None, None)
        trial.score(correct=False, bleu=0.25)
        trial.score(correct=True)
    record = trial.record
    assert isinstance(record, ct.TrialRecord)
    assert (record.item, record.repeat, record.key) == ("q", 1, ("q", 1))
    assert record.outcome == "ok"
    assert record.scores == {"correct": True, "bleu": 0.25}
    assert record.duration_ns >= 0
    assert record.started_us <= record.ended_us
    assert exp.trials_done() == {("q", 1)}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("secret text"), "error"),
        (TimeoutError(), "timeout"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_an_exception_is_the_outcome_and_its_type_the_reason(lab, error, outcome):
    (exp,) = await arms(lab, 1)
    with pytest.raises(type(error)):
        async with exp.trial(item=1):
            raise error
    (record,) = await exp.trials()
    assert (record.outcome, record.reason) == (outcome, type(error).__name__)
    assert exp.trials_done() == set()


async def test_a_trial_may_fail_without_an_exception(lab):
    (exp,) = await arms(lab, 1)
    with exp.trial(item=1) as trial:
        trial.fail("no_answer")
        trial.score(correct=False)
    assert (trial.record.outcome, trial.record.reason) == ("error", "no_answer")
    assert trial.record.scores == {"correct": False}
    assert exp.trials_done() == set()


async def test_a_reason_that_is_a_text_is_kept_as_privacy_lets_it(lab):
    (exp,) = await arms(lab, 1)
    with exp.trial(item=1) as trial:
        trial.fail("the answer was: a secret")
    assert "secret" not in trial.record.reason
    assert trial.record.reason.startswith("redacted (24 characters")


async def test_a_trial_beyond_the_sample_runs_unrecorded_and_its_events_are_late(lab):
    exp = await lab.start_experiment("e", capture="scope", sample_size=2, stop_at_sample_size=True)
    for item in range(4):
        with exp.trial(item=item) as trial:
            ct.execute_nowait("x")
            trial.score(correct=True)
    await exp.flush()
    assert len(await exp.trials()) == len(exp.trials_done()) == 2
    assert (exp.counts.stored, exp.counts.late) == (2, 2)


async def test_a_trial_that_has_not_begun_has_no_record(lab):
    (exp,) = await arms(lab, 1)
    trial = exp.trial(item=5)
    assert (trial.item, trial.repeat, trial.record) == ("5", 0, None)
    assert await exp.trials() == []


# -- plans ------------------------------------------------------------------------------------------


async def handed_out(plan):
    handed = []
    async for trial in plan:
        handed.append((trial.experiment.name, trial.item, trial.repeat))
        async with trial:
            pass
    return handed


async def test_every_item_runs_in_every_arm_as_often_as_asked(lab):
    both = await arms(lab)
    for order in ("interleaved", "random", "sequential"):
        got = await handed_out(lab.trials(both, items=range(5), repeats=3, order=order, seed=1))
        assert len(got) == 30
        assert len(set(got)) == 30


async def test_interleaved_arms_stand_side_by_side_and_neither_is_always_first(lab):
    both = await arms(lab)
    got = await handed_out(lab.trials(both, items=range(40)))
    pairs = list(zip(got[::2], got[1::2], strict=True))
    assert all(a[1:] == b[1:] and a[0] != b[0] for a, b in pairs)
    assert [a[1] for a, _ in pairs] == [str(i) for i in range(40)]
    firsts = [a[0] for a, _ in pairs]
    assert 8 < firsts.count("arm-0") < 32


async def test_sequential_arms_follow_each_other(lab):
    both = await arms(lab)
    got = await handed_out(lab.trials(both, items=["a", "b"], repeats=2, order="sequential"))
    assert [name for name, *_ in got] == ["arm-0"] * 4 + ["arm-1"] * 4
    assert [rest for _, *rest in got[:4]] == [["a", 0], ["b", 0], ["a", 1], ["b", 1]]


@pytest.mark.parametrize("order", ["interleaved", "random"])
async def test_a_seed_gives_the_same_order_again_and_another_seed_another(lab, order):
    both = await arms(lab)

    async def with_seed(seed):
        return await handed_out(lab.trials(both, items=range(20), order=order, seed=seed))

    assert await with_seed(1) == await with_seed(1)
    assert await with_seed(1) != await with_seed(2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": "best"}, {"repeats": 0}, {"repeats": 1.5}, {"concurrency": 0},
        {"concurrency": True}, {"items": [1, "1"]}, {"items": 5}, {"items": "abc"}, {"seed": "x"},
    ],
)  # fmt: skip
async def test_a_wrong_plan_is_refused_when_it_is_made(lab, wrong):
    both = await arms(lab)
    with pytest.raises(ct.ConfigurationError) as told:
        lab.trials(both, **{"items": [1, 2], **wrong})
    assert told.value.option == next(iter(wrong))
    with pytest.raises(ct.ConfigurationError, match="at least one"):
        lab.trials([], items=[1])


async def test_no_more_trials_run_at_once_than_asked_and_all_places_are_used(lab):
    both = await arms(lab)
    running, peak, done = 0, 0, 0

    async def run(trial):
        nonlocal running, peak, done
        async with trial:
            running += 1
            peak = max(peak, running)
            await anyio.sleep(1 + int(trial.item) % 3)
            running -= 1
            done += 1

    began_s = asyncio.get_running_loop().time()
    async with anyio.create_task_group() as group:
        async for trial in lab.trials(both, items=range(30), concurrency=7):
            group.start_soon(run, trial)
    assert (peak, done) == (7, 60)
    assert asyncio.get_running_loop().time() - began_s < 120 / 7 + 4


async def test_several_workers_that_share_a_plan_run_each_trial_once(lab):
    both = await arms(lab)
    plan, ran = lab.trials(both, items=range(10), concurrency=3), []

    async def worker():
        async for trial in plan:
            async with trial:
                await anyio.sleep(1)
                ran.append((trial.experiment.name, trial.item))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(worker)
    assert len(ran) == len(set(ran)) == 20
    assert plan.remaining == 0


async def test_trials_that_ended_well_before_are_skipped_when_asked(lab):
    both = await arms(lab)
    async for trial in lab.trials(both, items=range(4)):
        async with trial:
            if trial.item == "3":
                trial.fail("again")
    again = await handed_out(lab.trials(both, items=range(5), skip_done=True))
    assert {item for _, item, _ in again} == {"3", "4"}
    assert len(again) == 4
    assert len(await handed_out(lab.trials(both, items=range(5)))) == 10


async def test_a_trial_that_failed_gives_its_place_back(lab):
    (exp,) = await arms(lab, 1)
    async for trial in lab.trials([exp], items=range(5)):
        try:
            async with trial:
                int("no number")
        except ValueError:
            continue
    assert [r.outcome for r in await exp.trials()] == ["error"] * 5


async def test_a_trial_that_is_never_begun_gives_its_place_back(lab):
    (exp,) = await arms(lab, 1)
    handed = 0
    async for trial in lab.trials([exp], items=range(5)):
        handed += 1
        del trial
        gc.collect()
    assert handed == 5
    assert await exp.trials() == []


async def test_a_plan_leaves_out_an_experiment_that_stopped_meanwhile(lab):
    both = await arms(lab)
    got = []
    async for trial in lab.trials(both, items=range(6)):
        async with trial:
            got.append((trial.experiment.name, trial.item))
            if trial.experiment is both[0] and trial.item == "2":
                await both[0].stop()
    assert [item for name, item in got if name == "arm-0"] == ["0", "1", "2"]
    assert [item for name, item in got if name == "arm-1"] == [str(i) for i in range(6)]


@pytest.mark.parametrize("concurrency", [1, 4, 50])
async def test_a_sample_that_is_complete_starts_no_further_trial(lab, concurrency):
    (exp,) = await arms(lab, 1, sample_size=10, stop_at_sample_size=True)

    async def run(trial):
        async with trial:
            await ct.execute("n", {"i": 1})
            await anyio.sleep(1)
            await ct.execute("n", {"i": 2})

    async with anyio.create_task_group() as group:
        async for trial in lab.trials([exp], items=range(30), concurrency=concurrency):
            group.start_soon(run, trial)
    records = await exp.trials()
    assert len(records) == 10
    assert {r.outcome for r in records} == {"ok"}
    assert await exp.count_events() == 20
    assert exp.counts.late == 0


async def test_resuming_an_experiment_by_name_goes_on_where_it_stood(lab):
    first = await lab.start_experiment("a", capture="scope", on_existing="resume")
    async for trial in lab.trials([first], items=range(6)):
        async with trial:
            pass
        if trial.item == "2":
            break
    again = await lab.start_experiment("a", capture="scope", on_existing="resume")
    assert again is first
    rest = await handed_out(lab.trials([again], items=range(6), skip_done=True))
    assert [item for _, item, _ in rest] == ["3", "4", "5"]


async def test_scores_and_failures_that_come_after_the_trial_still_count_until_the_stop(
    lab, caplog
):
    (exp,) = await arms(lab, 1)
    with exp.trial(item=1) as trial:
        pass
    trial.score(correct=True)
    assert trial.record.scores == {"correct": True}
    assert exp.trials_done() == {("1", 0)}
    trial.fail("refused")
    assert (trial.record.outcome, trial.record.reason) == ("error", "refused")
    assert exp.trials_done() == set()
    await exp.stop()
    trial.score(correct=False)
    assert trial.record.scores == {"correct": True}
    assert "after its experiment stopped" in caplog.text


async def test_a_trial_begins_once_and_a_score_that_is_a_text_is_kept_as_privacy_lets_it(lab):
    (exp,) = await arms(lab, 1)
    with exp.trial(item=1) as trial:
        trial.score(note="a secret answer", answer="secret", label="good", bleu=0.5)
    assert "secret" not in str(trial.record.scores)
    assert trial.record.scores["label"] == "good"
    assert trial.record.scores["bleu"] == 0.5
    with pytest.raises(ct.LifecycleError, match="begun already"):
        trial.__enter__()


async def test_skipping_what_is_done_costs_by_the_trial_and_not_by_its_square(lab):
    exp = (await arms(lab))[0]
    for number in range(20_000):
        record = exp._trials.open(number + 1, item=str(number))
        exp._trials.close(record.number, ended_us=1, outcome="ok")
    began_s = time.thread_time()
    assert await handed_out(lab.trials([exp], items=range(20_000), skip_done=True)) == []
    assert time.thread_time() - began_s < 2  # 4 s and more with a copy for each
