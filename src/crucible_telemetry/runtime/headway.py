"""How far long work is, told to whoever watches: a bar in a terminal. Unwatched, a look at a context variable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

Tell = Callable[[str, float], None]
"""Hears what is being done, and how much of it is, 0 … 1."""
_watching: Final[ContextVar[Tell | None]] = ContextVar("crucible_headway", default=None)


@contextmanager
def watched(tell: Tell) -> Iterator[None]:
    """Have `tell` hear of the work done inside, in the tasks and threads it starts too."""
    token = _watching.set(tell)
    try:
        yield
    finally:
        _watching.reset(token)


def headway(doing: str, share: float) -> None:
    """Say how far it is; call it a few times a second, not for each event."""
    tell = _watching.get()
    if tell is not None:
        tell(doing, share)
