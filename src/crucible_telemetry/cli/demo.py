"""``crucible demo``: two published traces replayed side by side."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from crucible_telemetry.cli.output import Piped, close_output
from crucible_telemetry.demo import run, traces


def demo(
    speed: Annotated[
        float, typer.Option(min=1, max=1000, help="Times faster; beyond 20 it shows.")
    ] = 6.0,
    out: Annotated[Path, typer.Option(help="Directory for the events.")] = Path("crucible-demo"),
    seed: Annotated[int | None, typer.Option(help="Shuffle the calls; else as recorded.")] = None,
) -> None:
    """Replay two published traces of LLM calls as two experiments at the same time."""

    async def replayed() -> bool:
        console = Piped()
        return await run.demo(traces.shipped(), speed=speed, out=out, seed=seed, console=console)

    complete = False
    try:
        complete = anyio.run(replayed)
    except* BrokenPipeError:
        close_output()
    if not complete:  # an event is missing, or nobody reads the output any more
        raise SystemExit(1)


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: crucible demo --speed 20")(demo)
