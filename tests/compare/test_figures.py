"""Each metric is what SPEC says of a trial; the result prints, tabulates and draws."""

import json
import math

import pytest
from trial_arms import run

import crucible_telemetry as ct
from crucible_telemetry.errors import ComparisonError, ConfigurationError

pytestmark = pytest.mark.asyncio


async def two(lab, **said):
    rows = [(item, 0, {"cost": 0.01 * (1 + item % 3), **said}) for item in range(12)]
    other = [(item, 0, {"cost": 0.02 * (1 + item % 4), **said}) for item in range(12)]
    return [(await run(lab, "a", rows)).id, (await run(lab, "b", other)).id]


async def values(lab, ids, metric, **options):
    found = await lab.compare_experiments(ids, metric=metric, **options)
    return [arm.value for arm in found.arms]


async def test_time_to_first_token_is_that_of_the_first_call(lab):
    ids = []
    for name in ("a", "b"):
        exp = await lab.start_experiment(name, capture="scope")
        for item in range(3):
            async with exp.trial(item=item):
                for ttft in (7.0 + item, 1.0):
                    await ct.execute("llm.request.stop", {"duration_ms": 20, "ttft_ms": ttft})
        ids.append((await exp.stop()).id)
    assert await values(lab, ids, "ttft") == [8.0, 8.0]


async def test_cost_per_success_is_all_cost_over_all_successes(lab):
    rows = [(item, 0, {"cost": 1.0, **({"fail": "x"} if item == 0 else {})}) for item in range(4)]
    ids = [(await run(lab, name, rows)).id for name in "ab"]
    assert await values(lab, ids, "cost_per_success") == pytest.approx([4 / 3, 4 / 3])


async def test_tokens_are_sums_and_fields_are_means_over_the_calls_of_a_trial(lab):
    ids = []
    for name in ("a", "b"):
        exp = await lab.start_experiment(name, capture="scope")
        for item in range(3):
            async with exp.trial(item=item):
                for part in (1, 3):
                    numbers = {"prompt_tokens": part, "completion_tokens": item, "score_x": part}
                    await ct.execute("llm.request.stop", numbers)
        ids.append((await exp.stop()).id)
    assert await values(lab, ids, "prompt_tokens") == [4.0, 4.0]
    assert await values(lab, ids, "tokens") == [6.0, 6.0]
    assert await values(lab, ids, "score_x") == [2.0, 2.0]


async def test_cancelled_and_open_trials_are_censored_and_counted_as_unfinished(lab):
    ids = [(await run(lab, "a", [(item, 0, {}) for item in range(6)])).id]
    exp = await lab.start_experiment("b", capture="scope")
    for item in range(5):
        async with exp.trial(item=item):
            pass
    exp.trial(item=5).__enter__()  # hangs for ever
    ids.append((await exp.stop()).id)
    found = await lab.compare_experiments(ids, metric="latency_ms.p90")
    assert [arm.unfinished for arm in found.arms] == [0, 1]
    assert found.arms[1].value == math.inf
    success = await lab.compare_experiments(ids, metric="success")
    assert success.arms[1].without_value == 1


async def test_a_call_that_says_no_tokens_is_not_one_of_none(lab):
    ids = []
    for name, silent in (("a", ()), ("b", (2, 3))):
        exp = await lab.start_experiment(name, capture="scope")
        for item in range(12):
            async with exp.trial(item=item):
                numbers = {} if item in silent else {"prompt_tokens": 10, "completion_tokens": item}
                error = {"error": "refused"} if item == 4 else {}
                await ct.execute("llm.request.stop", {} if error else numbers, error)
        ids.append((await exp.stop()).id)
    found = await lab.compare_experiments(ids, metric="tokens")
    assert [arm.without_value for arm in found.arms] == [0, 2]
    assert found.result.estimate == 0  # where both say them they are the same
    assert "0.0% of a, 16.7% of b" in found.notes[0]


async def test_a_first_token_before_the_cut_was_seen(lab):
    ids = []
    for name in "ab":
        exp = await lab.start_experiment(name, capture="scope")
        for item in range(6):
            trial = exp.trial(item=item)
            trial.__enter__()
            await ct.execute("llm.request.stop", {"duration_ms": 9.0, "ttft_ms": 5.0 + item})
            if item % 2:
                trial.__exit__(None, None, None)  # the others are still open at the end
        ids.append((await exp.stop()).id)
    found = await lab.compare_experiments(ids, metric="ttft")
    assert [arm.unfinished for arm in found.arms] == [3, 3]
    assert [arm.value for arm in found.arms] == [7.0, 7.0]


async def test_arms_that_ran_one_after_the_other_carry_a_note_on_drift(lab):
    found = await lab.compare_experiments(await two(lab), metric="cost_usd")
    assert any("different times" in note for note in found.notes)


async def test_a_sample_is_refused_where_its_events_are_needed(lab):
    ids = []
    for name in ("a", "b"):
        async with lab.experiment(name, sampling_rate=0.5, seed=1) as exp:
            for _ in range(20):
                await ct.execute("llm.request.stop", {"duration_ms": 1})
        ids.append(exp.id)
    with pytest.raises(ComparisonError, match="sample"):
        await lab.compare_experiments(ids, metric="latency_ms")


async def test_a_result_is_text_markdown_html_and_a_dictionary_that_agree(lab):
    ids = await two(lab)
    found = await lab.compare_experiments(ids, metric="cost_usd", secondary=["success"])
    plain = found.to_dict()
    assert json.dumps(plain["arms"])
    assert plain["primary"]["result"]["estimate"] == found.result.estimate
    for text in (str(found), found.to_markdown(), found._repr_html_()):
        assert "cost_usd" in text
        assert "success" in text
        assert "paired t" in text


async def test_a_result_draws_itself(lab, tmp_path):
    pytest.importorskip("matplotlib", reason="plot() needs the extra [plot]")
    found = await lab.compare_experiments(await two(lab), metric="latency_ms")
    figure = found.plot()
    assert figure.axes[0].get_xlabel() == "treatment − control\nlatency_ms (ms)"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "mean of successes alone",
        "p99",
        "p95",
        "p90",
        "p50",
    ][1:]
    assert len(figure.axes[1].get_lines()) == 2
    assert figure.axes[1].get_ylabel() == "share succeeded by then"
    figure.savefig(tmp_path / "x.png")


@pytest.mark.parametrize(
    "options",
    [
        {"correction": "none"},
        {"pairing": "some"},
        {"confidence": 95},
        {"horizon_s": 0},
        {"control": "x"},
        {"secondary": "x"},
        {"secondary": 3},
        {"secondary": ["success"]},
        {"correction": None},
        {"confidence": "0.95"},
        {"horizon_s": "1"},
        {"wrong": 3},
    ],
)
async def test_wrong_options_are_named(lab, options):
    ids = await two(lab)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        await lab.compare_experiments(ids, metric="success", **options)


async def test_a_picture_of_arms_that_never_succeed_says_so(lab):
    pytest.importorskip("matplotlib", reason="plot() needs the extra [plot]")
    rows = [(item, 0, {"fail": "broken"}) for item in range(6)]
    ids = [(await run(lab, name, rows)).id for name in "ab"]
    found = await lab.compare_experiments(ids, metric="latency_ms")
    right = found.plot().axes[1]
    assert [text.get_text() for text in right.texts] == ["nothing succeeded"]
    assert [list(line.get_ydata()) for line in right.get_lines()] == [[0, 0], [0, 0]]
    assert found.curves[0].until == math.inf


async def test_notebooks_show_a_table_of_what_there_is(lab):
    shown = (await lab.compare_experiments(await two(lab), metric="cost_usd"))._repr_html_()
    assert "p adjusted" not in shown  # nothing is secondary
    assert shown.count("<ul>") == shown.count("</ul>") == 1
