"""What a lab owes the process it lives in: fork, the interpreter's end, SIGTERM.

Knows labs by three verbs, two of them hidden from users: `close`, `_make_inert`, `_begin_terminate`.
"""

import atexit
import os
import signal
import threading
import weakref
from pathlib import Path
from typing import Any

import anyio

from crucible_telemetry.events import scope
from crucible_telemetry.events.routes import ROUTES
from crucible_telemetry.runtime.loops import LoopHandle

_open: "weakref.WeakSet[Any]" = weakref.WeakSet()
_handlers: dict[int, tuple[Any, Any]] = {}
"""By id of the lab: its handler of SIGTERM, and the one before."""


def began(pid: int) -> int | None:
    """When a process of this machine began, on its own clock (0 where that cannot be told); None: it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _answers(pid)
    fields = stat.rpartition(")")[2].split()  # proc(5): from field 3 on
    return None if fields[0] in "ZX" else int(fields[19])  # a zombie is gone; field 22: starttime


def _answers(pid: int) -> int | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        return 0  # there, and somebody else's
    return 0


def remember(lab: Any) -> None:
    """Save it at the interpreter's end, make it inert in children of `fork`."""
    _open.add(lab)


def forget(lab: Any) -> None:
    """It is being closed."""
    _open.discard(lab)
    handler, former = _handlers.pop(id(lab), (None, None))
    # Whoever has chained itself to it since, or closes the lab in another thread, leaves it in place:
    # of a closed lab it does nothing but pass the signal on.
    here = threading.current_thread() is threading.main_thread()
    if handler is not None and here and signal.getsignal(signal.SIGTERM) is handler:
        signal.signal(signal.SIGTERM, former)


def handle_sigterm(lab: Any, loop: LoopHandle) -> None:
    """On SIGTERM: close the lab, then do what would have been done without it.

    Only in the main thread; a second SIGTERM meanwhile is the former handler's.
    """
    former = signal.getsignal(signal.SIGTERM)

    def handler(number: int, frame: Any) -> None:
        signal.signal(number, former)
        _handlers.pop(id(lab), None)
        if not loop.run_soon(lambda: lab._begin_terminate(number)):
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handler)
    _handlers[id(lab)] = (handler, former)


def _at_exit() -> None:
    for lab in list(_open):
        anyio.run(lab.close)


def _in_child() -> None:
    scope.reseed()
    for lab in list(_open):
        lab._make_inert()
    _open.clear()
    # Process-wide experiments stay in the routes, to count what they refuse; handlers are the user's.
    ROUTES.notes.clear()
    ROUTES.refresh()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
