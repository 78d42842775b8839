"""The terminal face: ``crucible``. Each command is a call to what users have in Python too."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from crucible_telemetry.errors import CrucibleError

if TYPE_CHECKING:
    import typer

EXTRA = ("typer", "click", "rich")
"""Packages of the extra ``[cli]``, imported only here and in the demo."""


def demo(speed: float, out: Path, seed: int | None) -> None:
    """Run the demo on this terminal; exits 1 when an event is missing or nobody reads the output any more."""
    import anyio  # noqa: PLC0415 - quick to say --version
    from rich.console import Console  # noqa: PLC0415 - an extra

    from crucible_telemetry.demo import run, traces  # noqa: PLC0415 - needs the extra

    class Piped(Console):
        """Says that nobody reads; Rich's own exits, out of the middle of the event loop."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    async def replayed() -> bool:
        console = Piped()
        return await run.demo(traces.shipped(), speed=speed, out=out, seed=seed, console=console)

    complete = False
    try:
        complete = anyio.run(replayed)
    except* BrokenPipeError:
        _close_output()
    if not complete:
        raise SystemExit(1)


def _close_output() -> None:
    """Nobody reads it: what is still buffered goes nowhere, or the interpreter complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def application() -> "typer.Typer":
    """The command line; ImportError when the extra ``[cli]`` is not installed."""
    import typer  # noqa: PLC0415 - an extra

    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    def show_version(asked: bool) -> None:  # noqa: FBT001 - typer hands the flag over by position
        if asked:
            typer.echo(version("crucible-telemetry"))
            raise typer.Exit

    @app.callback()
    def crucible(
        *,
        version: Annotated[
            bool,
            typer.Option(
                "--version", callback=show_version, is_eager=True, help="Print the version."
            ),
        ] = False,
    ) -> None:
        """Research telemetry for async LLM and ML experiments."""

    @app.command("demo")
    def demo_command(
        speed: Annotated[
            float, typer.Option(min=1, max=1000, help="Times faster; beyond 20 it shows.")
        ] = 6.0,
        out: Annotated[Path, typer.Option(help="Directory for the events.")] = Path(
            "crucible-demo"
        ),
        seed: Annotated[
            int | None, typer.Option(help="Shuffle the calls; else as recorded.")
        ] = None,
    ) -> None:
        """Replay two published traces of LLM calls as two experiments at the same time."""
        demo(speed, out, seed)

    return app


def main() -> None:
    """Entry point; what went wrong on purpose is one line on standard error and exit code 1."""
    try:
        application()()
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit(f"crucible needs {missing.name}: pip install 'crucible-telemetry[cli]'")
    except CrucibleError as error:
        sys.exit(f"crucible: {error}")
