"""Figures of one's own: a calculator, a streaming metric, named fields, and all of them by event."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio

import crucible_telemetry as ct


class Agreement:
    """A calculator: gets all events at rest, returns whatever it likes."""

    def calculate(self, events: Sequence[ct.Event]) -> float | None:
        votes = [event.metadata["choice"] for event in events if event.event_name == "vote.cast"]
        if not votes:
            return None
        return Counter(votes).most_common(1)[0][1] / len(votes)


class LongestStreak:
    """A streaming metric: sees each event once as it is stored, and has a result at any time."""

    def __init__(self) -> None:
        self.now = self.best = 0

    def add(self, event: ct.Event) -> None:
        if event.event_name == "answer.graded":
            self.now = self.now + 1 if event.measurements["accuracy"] >= 0.5 else 0
            self.best = max(self.best, self.now)

    def result(self) -> int:
        return self.best


async def main() -> None:
    chance = random.Random(7)
    options: dict[str, Any] = {
        "custom_metrics": {"agreement": Agreement(), "longest_streak": LongestStreak()},
        "metrics_config": {"custom": ["accuracy", "score.bleu"], "streaming": False},
    }
    async with ct.Lab() as lab, lab.experiment("graded", **options) as exp:
        for _ in range(200):
            scores = {"bleu": chance.betavariate(3, 2)}
            accuracy = chance.betavariate(4, 2)
            await ct.execute("answer.graded", {"accuracy": accuracy}, {"score": scores})
            await ct.execute("answer.revised", {"accuracy": accuracy + chance.gauss(0.05, 0.02)})
            await ct.execute("vote.cast", metadata={"choice": chance.choice(["42", "42", "41"])})

        live = exp.live()
        print(f"while running: longest streak {live.custom['longest_streak']} of 200")
        summary = await exp.metrics(by="event")
        print(summary)
        print()
        print(f"{'':<16}{'count':>7}{'mean':>8}{'p90':>8}{'std_dev':>9}")
        for name, figures in summary.events.by_event.items():
            accuracy_of = figures.fields["accuracy"]
            if accuracy_of.mean is None or accuracy_of.p90 is None or accuracy_of.std_dev is None:
                continue
            print(
                f"{name:<16}{accuracy_of.count:>7}{accuracy_of.mean:>8.3f}{accuracy_of.p90:>8.3f}"
                f"{accuracy_of.std_dev:>9.3f}"
            )


if __name__ == "__main__":
    anyio.run(main)
