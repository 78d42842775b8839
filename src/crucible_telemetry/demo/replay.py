"""Makes the calls of a trace again: same order, same pace, compressed by a factor.

What happens here is what a user's pipeline does: workers take items, each call runs inside a trial, and
tokens arrive one after the other. Only the provider is missing, a clock stands in for it.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress

import anyio

from crucible_telemetry.demo.traces import Call, Trace
from crucible_telemetry.events.span import Span, llm_call
from crucible_telemetry.experiment import Experiment

MIN_GAP_S = 0.004
"""Chunks are not replayed closer than this: event loops wake up to a millisecond late."""

FULL_LENGTH = 150
"""Output tokens the publishers asked for on average; the demo's score says whether a call got there."""


class ReplayedFailure(Exception):
    """The call failed in the trace, so it fails again: the recorded code and message."""


def chunk_times(call: Call, speed: float) -> Iterator[tuple[float, int]]:
    """(seconds after the start, tokens) of each chunk: the first token, then even steps up to the end.

    The steps come from the end-to-end latency, since LLMPerf's inter-token latency counts the time to the
    first token once more. Tokens travel together where steps would be shorter than `MIN_GAP_S`.
    """
    rest = call.number_output_tokens - 1
    first_s, span_s = call.ttft_s / speed, (call.end_to_end_latency_s - call.ttft_s) / speed
    yield first_s, 1
    chunks = max(min(rest, math.floor(span_s / MIN_GAP_S)), 1)
    sent = 0
    for number in range(1, chunks + 1):
        due = rest * number // chunks
        if due > sent:
            yield first_s + span_s * number / chunks, due - sent
        sent = due


async def stream(call: Call, span: Span, speed: float) -> None:
    """Mark each chunk when it is due; a recorded failure comes when the recorded call ended."""
    start = anyio.current_time()
    if call.error_code is None:
        for offset_s, tokens in chunk_times(call, speed):
            await anyio.sleep_until(start + offset_s)
            span.chunk(tokens)
    await anyio.sleep_until(start + call.end_to_end_latency_s / speed)
    if call.error_code is not None:
        raise ReplayedFailure(call.error_code, call.error_msg)


async def make_call(exp: Experiment, trace: Trace, index: int, speed: float) -> None:
    """One trial with one call in it; a call that fails is an outcome, not the end of the replay."""
    call = trace.calls[index]
    with suppress(ReplayedFailure):
        async with exp.trial(item=f"call-{index:03d}", repeat=0) as trial:
            async with llm_call(provider=trace.provider, model=trace.model) as span:
                await stream(call, span, speed)
                span.usage(
                    input_tokens=call.number_input_tokens, output_tokens=call.number_output_tokens
                )
            trial.score(full_length=call.number_output_tokens >= FULL_LENGTH)


async def replay(exp: Experiment, trace: Trace, order: Iterable[int], speed: float) -> None:
    """All calls of the trace, in `order` (positions in it), as many at a time as when it was recorded."""
    waiting = iter(order)

    async def worker() -> None:
        for index in waiting:
            await make_call(exp, trace, index, speed)

    async with anyio.create_task_group() as tasks:  # noqa: TID251 - the user's pipeline, not the lab's
        for _ in range(trace.published.concurrency):
            tasks.start_soon(worker)
