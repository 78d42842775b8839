"""Traces of LLM calls as their publishers recorded them; times in seconds."""

import gzip
from importlib.resources import files

import msgspec
from msgspec import Struct


class Call(Struct, frozen=True, kw_only=True):
    """One recorded call; `error_code` is None when it succeeded."""

    ttft_s: float
    end_to_end_latency_s: float
    number_input_tokens: int
    number_output_tokens: int
    error_code: int | str | None = None
    error_msg: str = ""


class Published(Struct, frozen=True, kw_only=True):
    """The publishers' own summary of a trace: what a replay should come to."""

    mean_s: float = msgspec.field(name="results_end_to_end_latency_s_mean")
    p50_s: float = msgspec.field(name="results_end_to_end_latency_s_quantiles_p50")
    p99_s: float = msgspec.field(name="results_end_to_end_latency_s_quantiles_p99")
    ttft_mean_s: float = msgspec.field(name="results_ttft_s_mean")
    ttft_p50_s: float = msgspec.field(name="results_ttft_s_quantiles_p50")
    output_tokens_mean: float = msgspec.field(name="results_number_output_tokens_mean")
    error_rate: float = msgspec.field(name="results_error_rate")
    concurrency: int = msgspec.field(name="num_concurrent_requests")


class Trace(Struct, frozen=True, kw_only=True):
    """Calls of one model at one provider, in the order they were made."""

    name: str
    provider: str
    model: str
    calls: tuple[Call, ...]
    published: Published


def load(name: str, provider: str, model: str) -> Trace:
    """The shipped trace of this name (`data/llmperf_<name>.json.gz`) with its published summary."""
    data = files("crucible_telemetry").joinpath("data")
    calls = gzip.decompress(data.joinpath(f"llmperf_{name}.json.gz").read_bytes())
    summary = data.joinpath(f"llmperf_{name}.summary.json").read_bytes()
    return Trace(
        name=name.replace("_", "-"),
        provider=provider,
        model=model,
        calls=msgspec.json.decode(calls, type=tuple[Call, ...]),
        published=msgspec.json.decode(summary, type=Published),
    )


def shipped() -> tuple[Trace, Trace]:
    """(control, treatment): the same model at two providers, 150 calls each, five at a time."""
    return (
        load("anyscale_70b", "anyscale", "meta-llama/Llama-2-70b-chat-hf"),
        load("together_70b", "together", "togethercomputer/llama-2-70b-chat"),
    )
