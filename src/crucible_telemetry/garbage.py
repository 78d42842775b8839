"""Work that makes thousands of objects and lets them go again is no work for Python's garbage collector."""

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def uncollected(work: Callable[P, T]) -> Callable[P, T]:
    """The same without a garbage collection meanwhile: what is made of some rows is gone again at the end of it.

    Else they count as lasting, and every few batches bring on a full collection, which stops all threads
    for 20 to 80 ms and finds nothing. For work of milliseconds: it is off for the whole process.
    """

    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        collecting = gc.isenabled()
        try:  # around all of it: a signal's handler that raises leaves no garbage collector off
            gc.disable()
            return work(*args, **kwargs)
        finally:
            if collecting:
                gc.enable()

    return done
