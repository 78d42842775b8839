"""Where commands write: consoles that tell when nobody reads any more."""

import os
import sys

from rich.console import Console


class Piped(Console):
    """Says that nobody reads; Rich's own exits, out of the middle of the event loop."""

    def on_broken_pipe(self) -> None:
        """As any other write would: the command ends."""
        raise BrokenPipeError


def console() -> Piped:
    """For what was asked for: standard output."""
    return Piped()


def errors() -> Console:
    """For what went wrong: standard error, without colours in numbers and paths."""
    return Console(stderr=True, highlight=False, markup=False)


def close_output() -> None:
    """Nobody reads it: what is still buffered goes nowhere, or the interpreter complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
