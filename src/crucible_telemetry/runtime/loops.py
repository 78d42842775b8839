"""The only place that knows asyncio and trio: root tasks, loops seen from outside, wake-ups.

trio is never imported here: code that runs in trio has imported it already.
"""

import asyncio  # noqa: TID251 - root tasks and thread-safe calls are what anyio does not have
import contextvars
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.lowlevel

_thread_id = threading.get_ident


def _trio() -> Any:
    return sys.modules["trio"]


def _in_trio() -> bool:
    return "trio" in sys.modules and bool(_trio().lowlevel.in_trio_task())


class LoopHandle(ABC):
    """A running event loop as seen from outside: from threads, signal handlers and other loops."""

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        self._thread = _thread_id()

    @staticmethod
    def current() -> "LoopHandle":
        """The loop this task runs on; RuntimeError where there is none."""
        return _TrioLoop() if _in_trio() else _AsyncioLoop()

    @abstractmethod
    def run_soon(self, fn: Callable[[], object]) -> bool:
        """Call `fn` on the loop, soon, in an empty context; False when the loop is closed.

        Safe from any thread and from signal handlers; keeps order. Costs microseconds (it wakes the
        loop). `fn` must not raise: on trio that would end the whole run.
        """

    @abstractmethod
    def is_here(self) -> bool:
        """Whether the caller is on the loop's thread while the loop runs; does not raise."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the loop will never run anything again."""


class _AsyncioLoop(LoopHandle):
    __slots__ = ("_loop",)

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()

    def run_soon(self, fn: Callable[[], object]) -> bool:
        try:
            # Without a context of its own the call would run in the scope of whoever made it.
            self._loop.call_soon_threadsafe(fn, context=contextvars.Context())
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            return False
        return True

    def is_here(self) -> bool:
        # Twice as fast as asking for the running loop, which costs a getpid (CPython 3.11).
        return self._thread == _thread_id() and self._loop.is_running()

    @property
    def closed(self) -> bool:
        return self._loop.is_closed()


def _nothing() -> None:
    """Asks a trio loop whether it still takes calls."""


class _TrioLoop(LoopHandle):
    __slots__ = ("_token",)

    def __init__(self) -> None:
        super().__init__()
        self._token = _trio().lowlevel.current_trio_token()

    def run_soon(self, fn: Callable[[], object]) -> bool:
        try:
            self._token.run_sync_soon(fn)
        except _trio().RunFinishedError:
            return False
        return True

    def is_here(self) -> bool:
        if self._thread != _thread_id() or not _trio().lowlevel.in_trio_run():
            return False
        return _trio().lowlevel.current_trio_token() is self._token

    @property
    def closed(self) -> bool:
        try:
            self._token.run_sync_soon(_nothing, idempotent=True)
        except _trio().RunFinishedError:
            return True
        return False


class _Waiter:
    __slots__ = ("_event", "_loop")

    def __init__(self) -> None:
        self._loop = LoopHandle.current()
        self._event = anyio.Event()

    def wake(self) -> None:
        # Never directly, even on the loop's thread: in a signal handler the loop may be asleep.
        self._loop.run_soon(self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


class Signal:
    """One flag that any thread may raise and tasks of any loop may wait for; takes no lock.

    A waiter wakes when the flag is raised after its `wait` began, even if it is lowered again at once.
    Whoever empties something lowers the flag *before* looking, and waits only when nothing was there:
    then no wake-up is lost.
    """

    __slots__ = ("_raised", "_waiters")

    def __init__(self) -> None:
        self._raised = False
        self._waiters: deque[_Waiter] = deque()

    @property
    def is_set(self) -> bool:
        """Whether the flag is up at this moment."""
        return self._raised

    def set(self) -> None:
        """Raise the flag and wake all who wait; costs an attribute when it is up already.

        Safe in signal handlers and finalisers; waiters on closed loops are forgotten.
        """
        if self._raised and not self._waiters:
            return
        self._raised = True
        waiters = self._waiters
        while waiters:
            try:
                waiter = waiters[0]
            except IndexError:
                return  # another thread woke the last one
            # Woken before it is let go: an interrupt between the two leaves it to the next `set`.
            waiter.wake()
            self._leave(waiter)

    def clear(self) -> None:
        """Lower the flag."""
        self._raised = False

    async def wait(self) -> None:
        """Return when the flag is up, or has been since the call; always a checkpoint."""
        if self._raised:
            await anyio.lowlevel.checkpoint()
            return
        waiter = _Waiter()
        self._waiters.append(waiter)
        try:
            # Raised between the look and the append: that `set` may not have seen this waiter.
            if self._raised:
                await anyio.lowlevel.checkpoint()
            else:
                await waiter.wait()
        finally:
            self._leave(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return  # woken: `set` took it out
        except IndexError:
            self._leave(waiter)  # another thread changed the deque meanwhile


_alive: Final[set[Any]] = set()  # asyncio itself holds tasks only weakly


class RootTask:
    """A task that belongs to nobody: no task group, no cancel scope, no context around it."""

    __slots__ = ("_error", "_finished", "_loop", "_on_done", "_scope", "_unwanted", "name")

    def __init__(self, name: str, on_done: Callable[["RootTask"], object] | None) -> None:
        self.name = name
        self._on_done = on_done
        self._error: BaseException | None = None
        self._finished = Signal()
        self._loop = LoopHandle.current()
        self._scope: anyio.CancelScope | None = None  # made in the task: a callback cannot
        self._unwanted = False

    @property
    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._finished.is_set

    @property
    def error(self) -> BaseException | None:
        """What it ended with; None while it runs, after a plain end, and after `cancel`."""
        return self._error

    async def wait(self) -> BaseException | None:
        """Wait for the end, in any task of any loop; the error comes back as a value."""
        await self._finished.wait()
        return self._error

    async def outlast(self, limit_s: float) -> BaseException | None:
        """Wait for the end, at most `limit_s` seconds, shielded from cancellation.

        A cancellation meanwhile comes back as a value: asyncio's ``Task.cancel()`` goes through shields.
        """
        interrupted = None
        deadline_s = anyio.current_time() + limit_s
        while not self.done and anyio.current_time() < deadline_s:
            try:
                with anyio.CancelScope(deadline=deadline_s, shield=True):
                    await self.wait()
            except anyio.get_cancelled_exc_class() as error:
                interrupted = error
        return interrupted

    def cancel(self) -> None:
        """Ask it to end, from any thread: every wait inside raises until it has ended."""
        if self._loop.is_here():
            self._cancel()
        else:
            self._loop.run_soon(self._cancel)

    def _cancel(self) -> None:
        self._unwanted = True
        if self._scope is not None:
            self._scope.cancel()

    async def _live(self, main: Callable[[], Awaitable[None]]) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if self._unwanted:
                    self._scope.cancel()
                await main()
        except GeneratorExit as error:
            self._error = error
            raise
        except BaseException as error:
            self._error = error
            # Cancelled from outside: the loop shuts down and wants to see that it was heard.
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise
        finally:
            self._finished.set()
            if self._on_done is not None:
                self._on_done(self)


def spawn_root(
    main: Callable[[], Awaitable[None]],
    name: str,
    on_done: Callable[[RootTask], object] | None = None,
) -> RootTask:
    """Start `main` outside every task group, cancel scope and context variable of the caller.

    Nothing it does cancels or raises into the caller, and an error nobody asks for makes no warning.
    `on_done` is called at the end, in the task itself, and must not raise. When the loop ends the task
    is cancelled with it.
    """
    root = RootTask(name, on_done)
    if _in_trio():
        _trio().lowlevel.spawn_system_task(
            root._live, main, name=name, context=contextvars.Context()
        )
        return root
    loop = asyncio.get_running_loop()
    task = loop.create_task(root._live(main), name=name, context=contextvars.Context())
    _alive.add(task)
    task.add_done_callback(_alive.discard)
    return root
