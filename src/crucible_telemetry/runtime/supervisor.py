"""Starts children in order, watches them, stops them in reverse: the shell around `restart.py`.

Every child runs in a root task of its own (`loops.spawn_root`). A task group would cancel the siblings
of a child that fails and would wait for ever for one that does not stop; a root task does neither.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio

from crucible_telemetry.errors import ActorStopped, ConfigurationError, RestartsExhausted
from crucible_telemetry.runtime.children import (
    ChildSpec,
    Node,
    Report,
    Slot,
    SupervisorEvent,
    distinct,
)
from crucible_telemetry.runtime.loops import RootTask, Signal, spawn_root
from crucible_telemetry.runtime.restart import (
    DEFAULT_INTENSITY,
    Backoff,
    Intensity,
    Restart,
    RestartBudget,
    Strategy,
    affected,
    wants_restart,
)


class _Request:
    """Something another task wants done between two turns of the supervisor."""

    __slots__ = ("action", "answered", "error")

    def __init__(self, action: Callable[[], Awaitable[None]]) -> None:
        self.action = action
        self.answered = Signal()
        self.error: Exception | None = None


def _is_fatal(error: BaseException | None) -> bool:
    """KeyboardInterrupt and its like: no crash to be healed, but no cancellation either."""
    if error is None or isinstance(error, Exception):
        return False
    return not isinstance(error, anyio.get_cancelled_exc_class())


class Supervisor:
    """Keeps its children running; `run` is its life and may itself be a child's `start`.

    Children added while it runs are gone when it is started again, as in OTP. `on_event` gets every
    `SupervisorEvent` at once, in the supervisor's task; should it raise, it is called no more and the
    error is kept in `report_error`. Not for use from threads; `tree` and `children` cost their size.
    """

    def __init__(
        self,
        name: str,
        children: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = DEFAULT_INTENSITY,
        on_event: Callable[[SupervisorEvent], object] | None = None,
    ) -> None:
        self.name = name
        self.ready = Signal()
        self.report_error: Exception | None = None
        self._specs = distinct(children)
        self._strategy, self._intensity = strategy, intensity
        self._on_event = on_event
        self._state = "new"
        self._slots: dict[str, Slot] = {}
        self._wake = Signal()
        self._exits: deque[tuple[Slot, int, RootTask]] = deque()
        self._requests: deque[_Request] = deque()
        self._budget = RestartBudget(intensity)

    def as_child(
        self, *, restart: Restart = Restart.PERMANENT, backoff: Backoff | None = None
    ) -> ChildSpec:
        """The spec that puts this supervisor under another one.

        Without a limit on its shutdown, as in OTP: its children have theirs.
        """
        return ChildSpec(self.name, self.run, restart, math.inf, backoff, self.ready)

    async def run(self) -> None:
        """Start the children left to right, then watch until cancelled; stops them right to left.

        Raises RestartsExhausted from the crash that was one too many, a child's own error when its
        first start fails, and KeyboardInterrupt or SystemExit of a child; all after the others have
        stopped. Stopping is shielded and takes at most the sum of the children's `shutdown_s`.
        """
        self._open()
        try:
            for spec in self._specs:
                await self._admit(spec)
            self._state = "running"
            self.ready.set()
            while True:
                await self._turn()
        finally:
            try:
                await self._halt_all()
            finally:
                self._close()

    async def start_child(self, spec: ChildSpec) -> None:
        """Add a child and start it; returns when it is ready. Its error when it fails before that.

        Waits its turn behind restarts and stops. Cancelled while it still waits, nothing is started.
        """
        await self._request(partial(self._admit, spec))

    async def stop_child(self, child_id: str) -> None:
        """Stop a child and forget it; returns when it has ended or was abandoned."""
        await self._request(partial(self._dismiss, child_id))

    def children(self) -> tuple[Node, ...]:
        """The children in start order, those of supervisors below included."""
        return tuple(slot.node() for slot in self._slots.values())

    def tree(self) -> Node:
        """Everything below, as data that prints; after the end, as it was at the end."""
        return Node(self.name, self._state, children=self.children())

    # The supervisor's own task does all that follows, one thing at a time.

    def _open(self) -> None:
        if self._state in ("starting", "running"):
            raise ConfigurationError("run", f"supervisor {self.name!r} runs already")
        self._state = "starting"
        self.ready.clear()
        self._slots = {}
        self._exits.clear()
        self._budget = RestartBudget(self._intensity)

    def _close(self) -> None:
        self._state = "ended"
        for slot in self._slots.values():
            self._tell_gone(slot)
        while self._requests:
            request = self._requests.popleft()
            request.error = ActorStopped(self.name)
            request.answered.set()

    async def _turn(self) -> None:
        dues_s = [slot.due_s for slot in self._slots.values() if slot.due_s is not None]
        with anyio.CancelScope(deadline=min(dues_s, default=math.inf)):
            await self._wake.wait()
        self._wake.clear()
        while self._exits:
            await self._take_exit(*self._exits.popleft())
        while self._requests:
            await self._answer(self._requests.popleft())
        await self._start_due()

    async def _admit(self, spec: ChildSpec) -> None:
        if spec.id in self._slots:
            raise ConfigurationError("id", f"{self.name!r} has a child {spec.id!r} already")
        slot = self._slots[spec.id] = Slot(spec)
        error = await self._start(slot)
        if error is None:
            return
        slot.run += 1
        self._forget(slot)
        if isinstance(error, anyio.get_cancelled_exc_class()):
            raise ActorStopped(spec.id) from error  # another task's cancellation is not this one's
        error.add_note(f"child {spec.id!r} of supervisor {self.name!r} failed before it was ready")
        raise error

    async def _dismiss(self, child_id: str) -> None:
        if child_id not in self._slots:
            raise ConfigurationError("id", f"{self.name!r} has no child {child_id!r}")
        slot = self._slots[child_id]
        await self._halt(slot)
        self._forget(slot)

    async def _start(self, slot: Slot) -> BaseException | None:
        """Start one run and wait until it is ready; its error when it ended before that."""
        spec, gate = slot.spec, slot.spec.ready or Signal()
        gate.clear()
        slot.run += 1
        slot.due_s, slot.stillborn, slot.since_s = None, False, anyio.current_time()
        main = partial(_enter, spec.start, gate) if spec.ready is None else spec.start
        ended = partial(self._note_exit, slot, slot.run, gate)
        slot.root = root = spawn_root(main, f"{self.name}/{spec.id}", ended)
        await gate.wait()
        if slot.stillborn:
            return root.error
        self._report(Report.STARTED, slot)
        return None

    def _note_exit(self, slot: Slot, run: int, gate: Signal, root: RootTask) -> None:
        if slot.run == run:
            slot.stillborn = not gate.is_set and root.error is not None
            gate.set()
            self._exits.append((slot, run, root))
            self._wake.set()

    async def _take_exit(self, slot: Slot, run: int, root: RootTask) -> None:
        if slot.run != run:
            return  # stopped, replaced or given up meanwhile
        slot.root, error = None, root.error
        if error is not None and _is_fatal(error):
            raise error
        slot.error = error or slot.error
        self._report(Report.CRASHED if error else Report.STOPPED, slot, error)
        if wants_restart(slot.spec.restart, crashed=error is not None):
            await self._restart(slot, error)
        else:
            self._retire(slot)

    async def _restart(self, failed: Slot, error: BaseException | None) -> None:
        now_s, spec = anyio.current_time(), failed.spec
        if not self._budget.spend(now_s):
            self._give_up(failed, error)
        recovered = now_s - failed.since_s > self._intensity.period_s
        failed.streak = 1 if recovered else failed.streak + 1
        delay_s = spec.backoff.delay_s(failed.streak) if spec.backoff else 0.0
        self._report(Report.RESTARTING, failed, delay_s=delay_s)
        group = [self._slots[i] for i in affected(self._strategy, list(self._slots), spec.id)]
        for slot in reversed(group):
            await self._halt(slot)
        due_s = anyio.current_time() + delay_s
        for slot in group:
            self._schedule(slot, due_s)

    def _give_up(self, slot: Slot, error: BaseException | None) -> None:
        limit = self._intensity
        last = RestartsExhausted(self.name, slot.spec.id, limit.restarts, limit.period_s)
        self._report(Report.GAVE_UP, slot, last)
        raise last from error

    def _schedule(self, slot: Slot, due_s: float) -> None:
        if slot.spec.restart is Restart.TEMPORARY:
            self._retire(slot)  # taken down with a sibling: never started again all the same
        else:
            slot.due_s = due_s
            slot.restarts += 1

    async def _start_due(self) -> None:
        now_s = anyio.current_time()
        for slot in list(self._slots.values()):
            if slot.due_s is None or slot.due_s > now_s:
                continue
            if await self._start(slot) is not None:
                return  # its exit is on the way: what becomes of the others is decided there

    async def _halt(self, slot: Slot) -> None:
        """Cancel one child and wait at most `shutdown_s`; then go on without it.

        Python cannot kill a task that holds on: an abandoned one runs on, cancelled, until it ends by
        itself, and a restart starts the next run beside it.
        """
        slot.due_s, root = None, slot.root
        if root is None:
            return
        kind = Report.CRASHED if root.done and root.error else Report.STOPPED
        slot.run += 1
        root.cancel()
        interrupted = await root.outlast(slot.spec.shutdown_s)
        slot.root = None
        self._report_halt(kind, slot, root)
        if interrupted is not None:
            raise interrupted

    def _report_halt(self, kind: Report, slot: Slot, root: RootTask) -> None:
        error = root.error
        if not root.done:
            slot.abandoned = [lost for lost in slot.abandoned if not lost.done] + [root]
            self._report(Report.ABANDONED, slot)
            return
        self._report(kind, slot, error if isinstance(error, Exception) else None)
        if error is not None and _is_fatal(error):
            raise error

    async def _halt_all(self) -> None:
        passing: BaseException | None = None
        for slot in reversed(self._slots.values()):
            try:
                await self._halt(slot)
            except BaseException as error:  # noqa: BLE001 - raised again when all have stopped
                passing = error
        if passing is not None:
            raise passing

    def _retire(self, slot: Slot) -> None:
        if slot.spec.restart is Restart.TEMPORARY:
            self._forget(slot)
        else:
            self._tell_gone(slot)

    def _forget(self, slot: Slot) -> None:
        del self._slots[slot.spec.id]
        self._tell_gone(slot)

    def _tell_gone(self, slot: Slot) -> None:
        if slot.spec.on_gone is not None:
            slot.spec.on_gone()

    async def _request(self, action: Callable[[], Awaitable[None]]) -> None:
        if self._state not in ("starting", "running"):
            raise ActorStopped(self.name)
        request = _Request(action)
        self._requests.append(request)
        self._wake.set()
        try:
            await request.answered.wait()
        finally:
            if request in self._requests:
                self._requests.remove(request)
        if request.error is not None:
            raise request.error

    async def _answer(self, request: _Request) -> None:
        try:
            await request.action()
        except Exception as error:  # noqa: BLE001 - the one who asked gets it
            request.error = error
        except BaseException:
            request.error = ActorStopped(self.name)
            raise
        finally:
            request.answered.set()

    def _report(
        self, kind: Report, slot: Slot, error: BaseException | None = None, **more: float
    ) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(SupervisorEvent(kind, self.name, slot.spec.id, error, **more))
        except Exception as raised:  # noqa: BLE001 - whoever listens must not break what it listens to
            self._on_event, self.report_error = None, raised


async def _enter(start: Callable[[], Awaitable[None]], gate: Signal) -> None:
    gate.set()
    await start()
