"""A lab on a loop of its own, for benchmarks whose timed part is sync or async."""

import asyncio
from collections.abc import Callable

from event import typical_event
from measure import Contender

import crucible_telemetry as ct
from crucible_telemetry.events.scope import current_scope

ROOM_FOR_ALL = 50_000_000


class Stage:
    """An open lab; `contender` makes what is measured, each with experiments of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lab = self.run(ct.Lab().open())

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def close(self) -> None:
        self.run(self.lab.close())
        self.loop.close()

    def start(self, **options):
        options = {"capture": "scope", **options}
        return self.run(self.lab.start_experiment("bench", **options))

    def nobody(self, name: str, emit: Callable[..., object]) -> Contender:
        """`emit` where no experiment and no handler listens (the lab is open and idle)."""

        def record(n: int) -> None:
            for _ in range(n):
                emit("a.b", None, None)

        return Contender(name, record)

    def caller(self, name: str, *, wait: bool, event=typical_event) -> Contender:
        """What the caller pays: the mailbox takes all, nobody drains while the clock runs."""
        exp = self.start(mailbox_size=ROOM_FOR_ALL)

        def record(n: int) -> None:
            self.run(_burst(exp, n, event, wait=wait))

        def reset() -> None:
            nonlocal exp
            self.run(exp.cleanup())
            exp = self.start(mailbox_size=ROOM_FOR_ALL)

        return Contender(name, record, reset)

    def whole(
        self, name: str, *, wait: bool, event=typical_event, spans: bool = False, **options
    ) -> Contender:
        """The whole way: emitted, stored, and counted on the live board, quantiles included."""
        exp = self.start(**options)

        def record(n: int) -> None:
            self.run(_whole(exp, n, event, wait=wait, spans=spans))

        def reset() -> None:
            nonlocal exp
            assert exp.counts.stored == exp.counts.emitted > 0
            self.run(exp.cleanup())
            exp = self.start(**options)

        return Contender(name, record, reset)

    def batches(self, name: str, rows: int, event=typical_event) -> Contender:
        """The whole way, drained every `rows` events."""
        exp = self.start()

        async def go(n: int) -> None:
            collector = exp._collector
            async with exp.trial(item="q"):
                for start in range(0, n, rows):
                    for i in range(start, min(start + rows, n)):
                        ct.execute_nowait(*event(i))
                    collector.drain_now(collector.box.accepted)
            assert exp.live().latency.p99

        def reset() -> None:
            nonlocal exp
            self.run(exp.cleanup())
            exp = self.start()

        return Contender(name, lambda n: self.run(go(n)), reset)


async def _burst(exp, n: int, event, *, wait: bool) -> None:
    async with exp.trial(item="q17", repeat=0):
        if wait:
            for i in range(n):
                await ct.execute(*event(i))
        else:
            for i in range(n):
                ct.execute_nowait(*event(i))


async def _whole(exp, n: int, event, *, wait: bool, spans: bool) -> None:
    if spans:
        async with exp.trial(item="q17", repeat=0):
            for i in range(n):
                _, measurements, metadata = event(i)
                with ct.span("req_llm.request", metadata) as span:
                    span.measurements.update(measurements)
    else:
        await _burst(exp, n, event, wait=wait)
    assert exp.live().summary.total_events


def empty(event, measurements=None, metadata=None, *, at_us=None) -> None:
    """An empty Python function of as many arguments as an emit."""


def outside_any_scope() -> None:
    current_scope.set(None)
