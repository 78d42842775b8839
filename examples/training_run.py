"""A training run: events epoch by epoch, the loss by step beside it, and the curve at the end."""

import random
import tempfile
from pathlib import Path

import anyio

import crucible_telemetry as ct

EPOCHS, BATCHES = 12, 16
WIDTH = 48


def train_batch(weight: float, chance: random.Random) -> tuple[float, float, float]:
    """Stands for a step of training: fits y = 3x by gradient descent; (weight, loss, gradient)."""
    points = [(x, 3 * x + chance.gauss(0, 0.05)) for x in (chance.uniform(-1, 1) for _ in range(8))]
    loss = sum((weight * x - y) ** 2 for x, y in points) / len(points)
    gradient = sum(2 * x * (weight * x - y) for x, y in points) / len(points)
    return weight - 0.05 * gradient, loss, gradient


def curve(points: list[ct.MetricPoint]) -> list[str]:
    """A line for each epoch, as long as its mean loss."""
    epochs = [points[at : at + BATCHES] for at in range(0, len(points), BATCHES)]
    means = [sum(point.value for point in epoch) / len(epoch) for epoch in epochs]
    top = max(means)
    return [
        f"epoch {epoch:>2}  {mean:>6.3f}  {'█' * max(1, round(WIDTH * mean / top))}"
        for epoch, mean in enumerate(means)
    ]


async def main() -> None:
    chance, weight, loss, gradient = random.Random(3), 0.0, 0.0, 0.0
    config = {"custom": ["loss", "accuracy", "gradient_norm"]}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            ct.Lab() as lab,
            ct.JsonlMetricsStore(Path(folder) / "metrics") as by_step,
            lab.experiment("fit-3x", metrics_config=config) as exp,
        ):
            for epoch in range(EPOCHS):
                with ct.span("training.epoch", {"epoch": epoch}) as span:
                    for batch in range(BATCHES):
                        weight, loss, gradient = train_batch(weight, chance)
                        by_step.record("fit-3x", "loss", loss, step=epoch * BATCHES + batch)
                    span.measure(
                        loss=loss,
                        accuracy=max(0.0, 1 - abs(weight - 3) / 3),
                        gradient_norm=abs(gradient),
                    )
            summary = await exp.metrics()
            points = await by_step.read("fit-3x", "loss")
        print(summary)
        print()
        print("\n".join(curve(points)))
        last = summary.fields["accuracy"].max
        print(f"\nbest accuracy {last:.3f}, {len(points)} losses by step in {by_step.folder.name}/")


if __name__ == "__main__":
    anyio.run(main)
