"""Users' own metrics are compared by the trial; `where=` and shared events."""

import math
import time
from collections import Counter

import anyio
import anyio.lowlevel
import pytest
from trial_arms import run

import crucible_telemetry as ct

pytestmark = pytest.mark.asyncio


class Longest:
    """A calculator: the longest text of an answer."""

    def calculate(self, events):
        found = [event.metadata["length"] for event in events if "length" in event.metadata]
        return max(found) if found else None


class Steps:
    """A streaming metric with a state of its own."""

    def __init__(self):
        self.seen = Counter()

    def add(self, event):
        self.seen[event.event_name] += 1

    def result(self):
        return self.seen["agent.step"]


class Locked(Steps):
    def __deepcopy__(self, memo):
        raise RuntimeError("holds a lock")


async def agents(lab, name, metrics, shift, items=range(6)):
    exp = await lab.start_experiment(name, capture="scope", custom_metrics=metrics)
    for item in items:
        for repeat in (0, 1):
            async with exp.trial(item=item, repeat=repeat):
                for step in range(item + shift + repeat):
                    await ct.execute("agent.step", {"n": 1}, {"length": 10 * step})
    await exp.stop()
    return exp.id


def own():
    return {"longest": Longest(), "steps": Steps()}


async def test_a_streaming_metric_is_worked_out_afresh_from_the_events_of_each_trial(lab):
    ids = [await agents(lab, name, own(), shift) for name, shift in (("a", 1), ("b", 3))]
    found = await lab.compare_experiments(ids, metric="steps", secondary=["custom.longest"])
    assert found.result.test == "paired t"
    assert found.result.n == (6, 6)
    assert found.result.estimate == 2
    assert [arm.value for arm in found.arms] == [4.0, 6.0]  # items 0 to 5, repeats averaged
    assert found.secondary[0].result.estimate == 20
    assert (
        lab.get_experiment(ids[0]).live().custom["steps"] == 48
    )  # its own count goes on undisturbed


async def test_true_and_false_make_a_rate_and_none_is_left_out(lab):
    class Long:
        def calculate(self, events):
            return None if len(events) == 2 else len(events) > 5

    ids = [await agents(lab, n, {"long": Long()}, s, range(4, 9)) for n, s in (("a", 1), ("b", 0))]
    found = await lab.compare_experiments(ids, metric="long")
    assert [arm.value for arm in found.arms] == pytest.approx([0.9, 0.7])
    assert found.arms[0].without_value == 0


async def test_without_trials_a_custom_metric_has_one_value_and_no_interval(lab):
    ids = []
    for name, count in (("a", 3), ("b", 5)):
        async with lab.experiment(name, custom_metrics=own()) as exp:
            for _ in range(count):
                await ct.execute("agent.step", {"n": 1})
        ids.append(exp.id)
    found = await lab.compare_experiments(ids, metric="steps")
    assert found.result.estimate == 2
    assert found.result.interval == (-math.inf, math.inf)
    assert any("no interval is possible" in note for note in found.notes)


async def test_what_cannot_be_compared_says_which_metric_and_why(lab):
    class Broken(Longest):
        def calculate(self, events):
            return 1 / 0

    class Wordy(Longest):
        def calculate(self, events):
            return {"a": 1}

    metrics = {"broken": Broken(), "wordy": Wordy(), "locked": Locked()}
    ids = [await agents(lab, name, metrics, 1) for name in "ab"]
    for metric, why in (
        ("broken", "ZeroDivisionError at calculate"),
        ("wordy", "answers a dict"),
        ("locked", "cannot be copied .RuntimeError: holds a lock"),
        ("custom.steps", "a was given no custom metric of this name, but broken, locked, wordy"),
    ):
        with pytest.raises(ct.ComparisonError, match=f"{metric}.*{why}"):
            await lab.compare_experiments(ids, metric=metric)


async def test_where_chooses_events_and_by_its_identity_trials(lab):
    ids = [await agents(lab, name, own(), shift) for name, shift in (("a", 1), ("b", 3))]
    some = await lab.compare_experiments(
        ids, metric="steps", where=ct.Where(metadata={"length": ct.Ge(20)})
    )
    assert some.arms[0].units == 12  # trials without such events are there all the same
    assert some.arms[0].value == pytest.approx(
        sum(max(i + r - 1, 0) for i in range(6) for r in (0, 1)) / 12
    )
    three = ct.Where(sample_id=["0", "1", "2"], repeat=0)
    for metric in ("steps", "success"):
        found = await lab.compare_experiments(ids, metric=metric, where=three)
        assert found.result.n == (3, 3)
    with pytest.raises(ct.ComparisonError, match="no trial of a fits `where`"):
        await lab.compare_experiments(ids, metric="steps", where=ct.Where(sample_id="nobody"))
    with pytest.raises(ct.ComparisonError, match="success.: is a figure of trials.*sample_id"):
        await lab.compare_experiments(ids, metric="success", where=ct.Where(event="agent.*"))


async def exported(exp, tmp_path):
    return await ct.load(await exp.export(tmp_path / f"{exp.name}.jsonl"))


async def test_files_of_one_process_that_both_heard_share_events(lab, tmp_path):
    from crucible_telemetry.compare.run import asked, compare

    early = await lab.start_experiment("early", capture="process")
    for i in range(30):
        await ct.execute("llm.request.stop", {"duration_ms": i})
        if i == 20:
            late = await lab.start_experiment("late", capture="process")
    await early.stop()
    for i in range(30):
        await ct.execute("llm.request.stop", {"duration_ms": i})
    await late.stop()
    files = [await exported(exp, tmp_path) for exp in (early, late)]
    with pytest.raises(ct.ComparisonError, match=r"share events .equal ones at 9 of 9 times"):
        await compare(files, asked("latency_ms", {}))


async def test_files_with_the_same_times_and_other_events_share_nothing(lab, tmp_path):
    from crucible_telemetry.compare.run import asked, compare

    files = []
    for name, slower in (("a", 1.0), ("b", 1.5)):
        async with lab.experiment(name) as exp:
            for i in range(30):
                took = {"duration_ms": slower * (i + 1)}
                await ct.execute("llm.request.stop", took, at_us=1_700_000_000_000_000 + i)
        files.append(await exported(exp, tmp_path))
    found = await compare(files, asked("latency_ms", {}))
    assert found.result.estimate == pytest.approx(15.5 * 0.5)


async def test_a_metric_of_a_known_name_is_the_known_one(lab):
    class Success(Longest):
        def calculate(self, events):
            return 7

    ids = [await agents(lab, name, {"success": Success()}, 1) for name in "ab"]
    assert (await lab.compare_experiments(ids, metric="success")).arms[0].value == 1.0
    assert (await lab.compare_experiments(ids, metric="custom.success")).arms[0].value == 7.0


async def test_a_measured_field_is_compared_by_its_name(lab):
    rows = [(item, 0, {}) for item in range(5)]
    ids = [(await run(lab, name, rows)).id for name in "ab"]
    found = await lab.compare_experiments(ids, metric="duration_ms")
    assert [arm.value for arm in found.arms] == [1.0, 1.0]


async def test_many_trials_do_not_keep_the_loop(lab):
    ids = []
    for name in "ab":
        exp = await lab.start_experiment(name, capture="scope")
        for item in range(4000):
            async with exp.trial(item=item) as trial:
                trial.score(s=item % 7)
        ids.append((await exp.stop()).id)
    longest = [0.0]

    async def watch():
        while True:
            before = time.thread_time()
            await anyio.lowlevel.checkpoint()
            longest[0] = max(longest[0], time.thread_time() - before)

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        await lab.compare_experiments(ids, metric="score.s")
        group.cancel_scope.cancel()
    assert longest[0] < 0.015  # 4,000 trials made into units on the loop took 25 ms of its own
