"""The terminal face: ``crucible``. Each command is a call to what users have in Python too.

One module for each group of commands (`demo.py`, …); each has `add(app)`. They import typer and Rich,
which are an extra, so they are imported when the command line runs and not before.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

from crucible_telemetry.errors import CrucibleError, install

if TYPE_CHECKING:
    import typer

COMMANDS = (
    "demo", "replay", "labs", "exports", "compare", "query", "archives", "doctor", "events",
)  # fmt: skip
"""The modules of this folder that add commands, in the order ``--help`` shows them."""

EXTRAS = {
    "typer": "cli",
    "rich": "cli",
    "scipy": "stats",
    "statsmodels": "stats",
    "zstandard": "zstd",
    "pyarrow": "parquet",
    "duckdb": "sql",
    "asyncpg": "postgres",
    "obstore": "s3",
    "genai_prices": "prices",
    "matplotlib": "plot",
}
"""Optional package → the extra that brings it."""


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
        skip_damaged: Annotated[
            bool,
            typer.Option(
                "--skip-damaged",
                help="Read what is left of a damaged lab, and name what is missing.",
            ),
        ] = False,
    ) -> None:
        """Research telemetry for async LLM and ML experiments."""
        import_module(f"{__name__}.sources").ON_DAMAGE.set("skip" if skip_damaged else "raise")

    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add(app)
    return app


def main() -> None:
    """Entry point; what went wrong on purpose is one line on standard error and exit code 1."""
    try:
        application()(prog_name="crucible")
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        sys.exit(f"crucible needs {package}: {install(EXTRAS[package])}")
    except CrucibleError as error:
        sys.exit(f"crucible: {error}")
    except BrokenPipeError:
        from crucible_telemetry.cli.output import close_output  # noqa: PLC0415 - needs the extra

        close_output()
        sys.exit(1)
