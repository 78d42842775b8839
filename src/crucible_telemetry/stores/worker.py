"""A thread of one's own for calls that block: one at a time, in the order they came.

Unlike a pool's, it is nobody else's, and a daemon: a disk that hangs keeps neither the waiting task from being
cancelled nor the interpreter from ending. A call that has begun runs to its end whether or not somebody
still waits; the next one comes after it, so that two never meet in one connection.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from crucible_telemetry.runtime.loops import Signal

T = TypeVar("T")


class _Call:
    __slots__ = ("done", "error", "result", "unwanted", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = Signal()
        self.result: Any = None
        self.error: BaseException | None = None
        self.unwanted = False

    def make(self) -> None:
        """In the thread."""
        try:
            if not self.unwanted:
                self.result = self.work()
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            self.error = error
        self.done.set()


class Worker:
    """The thread; it begins with the first call and ends with `end`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Cancelled before it has begun, it is never begun."""
        call = _Call(work)
        if self._thread is None:
            self._thread = threading.Thread(
                target=_live, args=(self._calls,), name=self._name, daemon=True
            )
            self._thread.start()
        self._calls.put(call)
        try:
            await call.done.wait()
        finally:
            call.unwanted = True
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def end(self) -> None:
        """Let the thread end after what has been asked for; a later call begins another."""
        if self._thread is not None:
            self._calls.put(None)
        self._thread, self._calls = None, SimpleQueue()


def _live(calls: "SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        call.make()
