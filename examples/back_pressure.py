"""What happens when events come faster than they are collected: senders wait, nothing is lost."""

import time

import anyio

import crucible_telemetry as ct


def slow_filter(event: str, measurements: dict[str, object], metadata: dict[str, object]) -> bool:
    """A filter that takes its time, so that the mailbox fills."""
    time.sleep(0.0002)
    return True


async def main() -> None:
    async with (
        ct.Lab() as lab,
        lab.experiment("waiting", mailbox_size=64, event_filter=slow_filter) as exp,
    ):
        began = time.perf_counter()
        for number in range(1000):
            await ct.execute("work.done", {"number": number})  # waits while the mailbox is full
        print(f"await execute: 1,000 events in {time.perf_counter() - began:.2f} s")
        for number in range(1000):
            ct.execute_nowait("work.done", {"number": number})  # empties a full mailbox itself
        await exp.flush()
        health = exp.health()
        print(
            f"{exp.counts.stored} stored of {exp.counts.emitted}; at most {health.mailbox_peak} waited"
        )
        assert exp.counts.stored == exp.counts.emitted == 2000

    async with (
        ct.Lab() as lab,
        lab.experiment("dropping", mailbox_size=64, overflow="drop_newest") as exp,
    ):
        for number in range(1000):
            ct.execute_nowait("work.done", {"number": number})
        await exp.flush()
        print(
            f"drop_newest, a choice: {exp.counts.stored} stored, {exp.counts.dropped} dropped, counted"
        )
        assert exp.counts.stored + exp.counts.dropped == 1000


if __name__ == "__main__":
    anyio.run(main)
