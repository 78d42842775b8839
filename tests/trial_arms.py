"""Trials of some arms, as users would run them."""

import crucible_telemetry as ct


async def run(lab, name, rows, condition="control"):
    """An experiment of trials: each row is (item, repeat, scores) with ``cost``, ``fail``, ``ttft`` beside them."""
    experiment = await lab.start_experiment(name, condition=condition, capture="scope")
    for item, repeat, given in rows:
        said = dict(given)
        cost, fail, attempt = said.pop("cost", None), said.pop("fail", None), said.pop("attempt", 0)
        ttft, calls = said.pop("ttft_ms", None), said.pop("calls", 1)
        async with experiment.trial(item=item, repeat=repeat, attempt=attempt) as trial:
            for _ in range(calls):
                numbers = {"duration_ms": 1.0}
                numbers |= {} if cost is None else {"cost_usd": cost}
                numbers |= {} if ttft is None else {"ttft_ms": ttft}
                await ct.execute("llm.request.stop", numbers, {"error": fail} if fail else {})
            trial.score(**said)
            if fail:
                trial.fail(fail)
    return await experiment.stop()
