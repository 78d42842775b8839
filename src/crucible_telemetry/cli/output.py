"""Where commands write: a console that tells when nobody reads any more."""

import os
import sys

from rich.console import Console


class Piped(Console):
    """Says that nobody reads; Rich's own exits, out of the middle of the event loop."""

    def on_broken_pipe(self) -> None:
        """As any other write would: the command ends."""
        raise BrokenPipeError


def close_output() -> None:
    """Nobody reads it: what is still buffered goes nowhere, or the interpreter complains at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
