"""A second request when the first is slow: how often it fires, what it wins, what it costs."""

import random

import anyio

import crucible_telemetry as ct

HEDGE_AFTER_S = 0.030
ITEMS = [f"q{number}" for number in range(80)]
INPUT_TOKENS, OUTPUT_TOKENS = 200, 50
USD_PER_INPUT, USD_PER_OUTPUT = 1e-6, 4e-6


async def call_model(item: str, attempt: int) -> None:
    """One call to the provider: usually quick, one in six takes a little longer, one in ten hangs.

    Who is cancelled pays as well: for all of the prompt, and for the tokens that were made until then.
    """
    draw = random.Random(f"{item}/{attempt}")  # the same luck in both arms
    slowest, slower, quick = (0.12, 0.20), (0.03, 0.05), (0.01, 0.025)
    (range_s,) = draw.choices([slowest, slower, quick], [0.1, 0.17, 0.73])
    takes_s = draw.uniform(*range_s)
    began_s = anyio.current_time()
    async with ct.llm_call(provider="example", model="small-1", attempt=attempt) as call:
        try:
            await anyio.sleep(takes_s)
        finally:
            done = min((anyio.current_time() - began_s) / takes_s, 1.0)
            output = int(OUTPUT_TOKENS * done)
            call.usage(input_tokens=INPUT_TOKENS, output_tokens=output)
            call.cost(INPUT_TOKENS * USD_PER_INPUT + output * USD_PER_OUTPUT)


async def request(item: str, *, hedged: bool) -> None:
    """The first answer wins and the other call is cancelled."""
    winners: list[int] = []
    fired = False
    async with ct.span("hedging.request", {"strategy": "fixed" if hedged else "none"}) as span:
        async with anyio.create_task_group() as calls:

            async def attempt(number: int) -> None:
                await call_model(item, number)
                winners.append(number)
                calls.cancel_scope.cancel()

            calls.start_soon(attempt, 0)
            if hedged:
                await anyio.sleep(HEDGE_AFTER_S)  # cancelled when the answer is there before
                fired = True
                await ct.execute("hedging.hedge.fired", {"delay_ms": HEDGE_AFTER_S * 1e3})
                calls.start_soon(attempt, 1)
        won = winners[0] == 1
        if won:
            await ct.execute("hedging.hedge.won", metadata={"item": item})
        span.annotate(hedged=fired, hedge_won=won, attempts=1 + fired)


async def run(experiment: ct.Experiment) -> None:
    """All items of one arm, eight at a time."""
    items = list(ITEMS)

    async def worker() -> None:
        while items:
            item = items.pop()
            async with experiment.trial(item=item):
                await request(item, hedged=experiment.name == "hedged")

    async with anyio.create_task_group() as workers:
        for _ in range(8):
            workers.start_soon(worker)


async def main() -> None:
    async with ct.Lab() as lab:
        arms = [await lab.start_experiment(name, capture="scope") for name in ("plain", "hedged")]
        async with anyio.create_task_group() as tasks:
            for arm in arms:
                tasks.start_soon(run, arm)
        print("arm      p50 ms  p95 ms  calls  cancelled  USD per 1,000 requests")
        for arm in arms:
            await arm.stop()
            summary = await arm.metrics(by="event")
            users = summary.events.by_event["hedging.request.stop"].latency
            calls, cost = summary.reliability, summary.cost.total
            assert users.count == len(ITEMS)
            assert cost is not None
            assert summary.cost.count == calls.total_requests
            print(
                f"{arm.name:<8} {users.p50:6.1f}  {users.p95:6.1f}  {calls.total_requests:5}"
                f"  {calls.cancelled:9}  {cost * 1000 / len(ITEMS):22.3f}"
            )
        fired, won = [
            await arms[1].count_events(ct.Where(event=f"hedging.hedge.{what}"))
            for what in ("fired", "won")
        ]
        print(f"the hedge fired in {fired} of {len(ITEMS)} requests and won {won} of these")


if __name__ == "__main__":
    anyio.run(main)
