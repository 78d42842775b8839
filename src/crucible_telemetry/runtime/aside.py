"""An asyncio loop in a thread of its own, for clients that know asyncio only: any task of any loop may call."""

import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from crucible_telemetry.runtime.loops import Signal

T = TypeVar("T")


class AsideLoop:
    """A loop beside the caller's, trio's or asyncio's; it outlives theirs, so that a lab can be closed on another.

    The thread is a daemon: a program that forgets to `stop` ends all the same.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._portal: BlockingPortal | None = None
        self._started = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether calls are taken."""
        return self._portal is not None

    def start(self) -> None:
        """Start the thread; does nothing when it runs."""
        if self._thread is None:
            self._started.clear()
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            self._thread.start()
            self._started.wait()

    def _main(self) -> None:
        anyio.run(self._serve, backend="asyncio")

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            self._portal = portal
            self._started.set()
            await portal.sleep_until_stopped()

    async def call(self, fn: Callable[[], Awaitable[T]]) -> T:
        """Run `fn` over there and wait for it; a caller that is cancelled cancels it, and does not wait."""
        if self._portal is None:
            raise RuntimeError(f"loop {self._name!r} does not run")
        done = Signal()
        future = self._portal.start_task_soon(fn)
        future.add_done_callback(lambda _: done.set())
        try:
            await done.wait()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def stop(self) -> None:
        """End the loop, what runs on it cancelled; twice is once."""
        portal, self._portal = self._portal, None
        thread, self._thread = self._thread, None
        if portal is None or thread is None:
            return
        portal.start_task_soon(lambda: portal.stop(cancel_remaining=True))
        await anyio.to_thread.run_sync(thread.join)
