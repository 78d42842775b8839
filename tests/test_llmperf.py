"""Six published traces come out as their publishers summarised them."""

import gzip
import json
from importlib.resources import files
from pathlib import Path

import pytest

import crucible_telemetry as ct

SHARED = Path(__file__).parents[2] / "shared" / "data" / "llmperf"
SHIPPED = ("anyscale_70b", "together_70b")
NAMES = (*SHIPPED, "anyscale_13b", "fireworks_70b", "replicate_70b", "together_13b")
QUANTILES = ("p25", "p50", "p75", "p90", "p95", "p99")
MOMENTS = {"mean": "mean", "min": "min", "max": "max", "std_dev": "stddev"}
FIGURES = {"latency": "end_to_end_latency_s", "ttft": "ttft_s", "itl": "inter_token_latency_s"}


def trace(name):
    """(calls, published summary)."""
    if name in SHIPPED:
        data = files("crucible_telemetry").joinpath("data")
        calls = gzip.decompress(data.joinpath(f"llmperf_{name}.json.gz").read_bytes())
        return json.loads(calls), json.loads(
            data.joinpath(f"llmperf_{name}.summary.json").read_bytes()
        )
    if not SHARED.is_dir():
        pytest.skip("only two of the six traces ship with the package; the others lie in ../shared")
    return tuple(
        json.loads((SHARED / f"{name}{tail}").read_text()) for tail in (".json", ".summary.json")
    )


async def replayed(calls, model):
    """(live figures, figures at rest) of the calls of a trace, emitted as events that tell their time."""
    async with ct.Lab() as lab, lab.experiment("trace") as exp:
        for at, call in enumerate(calls):
            measured = {
                "duration_s": call["end_to_end_latency_s"],
                "ttft_s": call["ttft_s"],
                "itl_s": call["inter_token_latency_s"],
                "input_tokens": call["number_input_tokens"],
                "output_tokens": call["number_output_tokens"],
            }
            said = {"model": model, "error_code": call["error_code"]}
            await ct.execute("llm.request.stop", measured, said, at_us=1_700_000_000_000_000 + at)
        return exp.live(), await exp.metrics()


def parts(summary):
    return {
        "latency": summary.latency,
        "ttft": summary.streaming.ttft,
        "itl": summary.streaming.itl,
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_a_published_trace_gives_the_published_summary(name):
    calls, published = trace(name)
    live, rest = await replayed(calls, published["model"])
    assert len(calls) == published["results_num_requests_started"]
    for summary, of_quantiles in ((rest, 1e-6), (live, live.quantile_error + 1e-6)):
        for part, source in FIGURES.items():
            figures = parts(summary)[part]
            assert figures.count == published["results_num_completed_requests"]
            for field, word in MOMENTS.items():
                expected_ms = published[f"results_{source}_{word}"] * 1e3
                assert getattr(figures, field) == pytest.approx(expected_ms, rel=1e-6), (
                    part,
                    field,
                )
            for field in QUANTILES:
                expected_ms = published[f"results_{source}_quantiles_{field}"] * 1e3
                near = pytest.approx(expected_ms, rel=of_quantiles)
                assert getattr(figures, field) == near, (part, field)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_the_live_view_of_a_trace_is_the_one_at_rest_but_for_the_stated_quantile_error(name):
    calls, published = trace(name)
    live, rest = await replayed(calls, published["model"])
    assert 0 < live.quantile_error < 0.02
    for part in FIGURES:
        one, other = parts(live)[part], parts(rest)[part]
        assert one.count == other.count
        for field in MOMENTS:
            assert getattr(one, field) == getattr(other, field), (part, field)
        for field in QUANTILES:
            near = pytest.approx(getattr(other, field), rel=live.quantile_error)
            assert getattr(one, field) == near, (part, field)
    assert live.tokens == rest.tokens
    for field in ("total_requests", "successful", "failed", "timeouts", "error_types"):
        assert getattr(live.reliability, field) == getattr(rest.reliability, field), field


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_calls_that_failed_are_counted_by_their_published_code_and_are_no_fast_answers(name):
    calls, published = trace(name)
    _, rest = await replayed(calls, published["model"])
    codes = json.loads(
        published["results_error_code_frequency"].replace("{-1.0:", '{"-1":')
    )  # a Python dict, printed
    assert rest.reliability.total_requests == published["results_num_requests_started"]
    assert rest.reliability.failed == published["results_number_errors"]
    assert rest.reliability.error_types == codes
    if codes:
        assert rest.latency.by_outcome["error"].count == sum(codes.values())
    else:
        assert rest.latency.by_outcome.keys() == {"ok"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio
async def test_token_counts_of_a_trace_are_those_of_its_calls(name):
    calls, published = trace(name)
    _, rest = await replayed(calls, published["model"])
    assert rest.tokens.total_prompt == sum(call["number_input_tokens"] for call in calls)
    assert rest.tokens.total_completion == sum(call["number_output_tokens"] for call in calls)
    assert rest.tokens.by_model.keys() == {published["model"]}
