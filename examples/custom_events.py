"""Events of your own domain: registered once, then their units, fields and types are understood.

A retrieval step reports milliseconds, recall and what it cost; a reply that is not what its type says is
stored all the same, marked and counted.
"""

import random

import anyio
import msgspec

import crucible_telemetry as ct


class Retrieved(msgspec.Struct):
    """What one retrieval measures."""

    documents: int
    recall: float
    cost_usd: float = 0.0


ct.catalog.register(
    "rag.retrieve.*",
    category="retrieval",
    description="One look into the index",
    unit="ms",  # of a plain `duration`: our index reports milliseconds
    measurements=Retrieved,
    fields={"index": "name"},
)


async def retrieve(question: str, chance: random.Random) -> None:
    """One retrieval, as an index client might report it."""
    took_ms = chance.lognormvariate(2.5, 0.4)
    found = {"duration": took_ms, "documents": chance.randint(3, 9), "recall": chance.random()}
    await ct.execute("rag.retrieve.stop", {**found, "cost_usd": 0.0001}, {"index": question[:1]})


async def main() -> None:
    chance = random.Random(7)
    async with ct.Lab() as lab, lab.experiment("retrieval") as exp:
        for number in range(200):
            await retrieve(f"w-{number}", chance)
        # A broken reply: no recall. It is kept, marked and counted.
        await ct.execute("rag.retrieve.stop", {"duration": 9.0, "documents": 2}, {"index": "w"})
        summary = await exp.metrics()
        events = await exp.events()
        marks = exp.health().marks

    info = ct.catalog.event_info("rag.retrieve.stop")
    assert info is not None
    fields = ", ".join(f"{field.name} ({field.unit})" for field in info.fields)
    print(f"{info.name}: {info.description}; duration in {info.unit}; {fields}")
    recalls = [event.fields["recall"] for event in events if "recall" in event.fields]
    latency, cost = summary.latency, summary.cost
    print(f"{latency.count} retrievals: p50 {latency.p50:.1f} ms, p95 {latency.p95:.1f} ms")
    print(
        f"mean recall {sum(recalls) / len(recalls):.2f} of {len(recalls)}; cost ${cost.total:.4f}"
    )
    print(f"replies that are not as their type says: {marks['schema']}")


if __name__ == "__main__":
    anyio.run(main)
