"""Inbox, ref and the loop that empties an inbox in batches.

An inbox belongs to the child's place under its supervisor, not to the actor: what is queued outlives a
crash, and a `Ref` stays valid over restarts. Each start makes a fresh actor that borrows the inbox.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
from msgspec import Struct

from crucible_telemetry.errors import ActorStopped, AskTimeout, ConfigurationError, MailboxFull
from crucible_telemetry.runtime.children import ChildSpec
from crucible_telemetry.runtime.loops import Signal
from crucible_telemetry.runtime.restart import Backoff, Restart

M = TypeVar("M")


class MailboxStatistics(Struct, frozen=True):
    """Counts of messages: waiting now, allowed, most ever waiting, ever accepted."""

    size: int
    capacity: int
    peak: int
    received: int


class Asked(Generic[M]):
    """A message whose sender waits for a reply; the actor finds it in its batch in place of `message`."""

    __slots__ = ("_answered", "_error", "_value", "message", "waiting")

    def __init__(self, message: M) -> None:
        self.message = message
        self.waiting = True
        """False once the sender has given up: then a reply reaches nobody."""
        self._answered = Signal()
        self._value: Any = None
        self._error: BaseException | None = None

    def reply(self, value: object) -> None:
        """Answer; the first answer counts, so that a batch handled twice does no harm."""
        self._answer(value, None)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, which is raised where the sender waits."""
        self._answer(None, error)

    def _answer(self, value: object, error: BaseException | None) -> None:
        if not self._answered.is_set:
            self._value, self._error = value, error
            self._answered.set()

    async def wait(self) -> Any:
        """The reply, or the error it was answered with."""
        await self._answered.wait()
        if self._error is not None:
            raise self._error
        return self._value


class Inbox(Generic[M]):
    """A bounded queue with one reader; messages leave it only when they have been handled.

    Any thread may put; putting from several at once may pass `capacity` by as many messages as there are
    threads, and blur `peak`. It opens when its actor has started, and closes when no restart is planned.
    """

    __slots__ = (
        "_capacity",
        "_closed",
        "_handled",
        "_peak",
        "_queue",
        "_reader",
        "filled",
        "name",
        "room",
    )

    def __init__(self, name: str, capacity: int = 1024) -> None:
        if capacity < 1:
            raise ConfigurationError("capacity", f"{capacity} leaves no room for a message")
        self.name = name
        self.filled, self.room = Signal(), Signal()
        self._capacity = capacity
        self._queue: list[M | Asked[M]] = []
        self._handled = self._peak = self._reader = 0
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether the next message has to wait."""
        return len(self._queue) >= self._capacity

    def statistics(self) -> MailboxStatistics:
        """The counts at this moment; received = handled + waiting."""
        size = len(self._queue)
        return MailboxStatistics(size, self._capacity, self._peak, self._handled + size)

    def put(self, item: M | Asked[M]) -> None:
        """Append one; MailboxFull when there is no room, ActorStopped when nobody will read it."""
        if self._closed:
            raise ActorStopped(self.name)
        if self.is_full:
            raise MailboxFull(self.name, self._capacity)
        self._queue.append(item)
        self._peak = max(self._peak, len(self._queue))
        self.filled.set()

    async def put_when_room(self, item: M | Asked[M]) -> None:
        """Append one, waiting while there is no room; cancelled meanwhile, nothing was appended."""
        while True:
            try:
                return self.put(item)
            except MailboxFull:
                self.room.clear()
            if self.is_full and not self._closed:
                await self.room.wait()

    def open(self) -> int:
        """Begin to read; returns the reader's number, which makes all earlier ones invalid."""
        self._closed = False
        self._reader += 1
        return self._reader

    async def front(self, reader: int, most: int) -> Sequence[M | Asked[M]]:
        """Wait until there is something; up to `most` of the oldest, which stay where they are.

        ActorStopped when another reader has taken over (this one was abandoned).
        """
        while reader == self._reader:
            self.filled.clear()
            if batch := self._queue[:most]:
                return batch
            await self.filled.wait()
        raise ActorStopped(self.name)

    def remove(self, reader: int, n: int) -> None:
        """Drop the `n` oldest, which have been handled; nothing when another reader has taken over."""
        if reader == self._reader:
            # Cut, never swapped for a new list: a thread may be appending to this one.
            del self._queue[:n]
            self._handled += n
            self.room.set()

    def close(self) -> None:
        """Refuse what comes; answer those who ask with ActorStopped. What was told stays queued."""
        self._closed = True
        # By position, from the end: a thread may still append, and messages need not compare.
        for at in reversed(range(len(self._queue))):
            item = self._queue[at]
            if isinstance(item, Asked):
                del self._queue[at]
                self._handled += 1
                item.fail(ActorStopped(self.name))
        self.room.set()


class Ref(Generic[M]):
    """All that others hold of an actor: its name and the sending end of its mailbox."""

    __slots__ = ("_mailbox", "name")

    def __init__(self, mailbox: Inbox[M]) -> None:
        self.name = mailbox.name
        self._mailbox = mailbox

    async def tell(self, message: M) -> None:
        """Queue a message, waiting while there is no room; ActorStopped when the actor has ended."""
        await self._mailbox.put_when_room(message)

    def tell_nowait(self, message: M) -> bool:
        """Queue a message from any thread; False when there is no room, ActorStopped as `tell`."""
        try:
            self._mailbox.put(message)
        except MailboxFull:
            return False
        return True

    async def ask(self, message: M, timeout_s: float = 5.0) -> Any:
        """Queue a message and wait for the reply, over restarts of the actor; no wait in itself.

        AskTimeout after `timeout_s`, from MailboxFull when the message was not even accepted; it may be
        handled all the same when it was. ActorStopped when the actor ends for good before it answers.
        """
        asked: Asked[M] = Asked(message)
        unheard: MailboxFull | None = MailboxFull(self.name, self.statistics().capacity)
        try:
            with anyio.move_on_after(timeout_s):
                await self._mailbox.put_when_room(asked)
                unheard = None
                return await asked.wait()
        finally:
            asked.waiting = False
        raise AskTimeout(self.name, timeout_s) from unheard

    def statistics(self) -> MailboxStatistics:
        """How full the mailbox is, and was."""
        return self._mailbox.statistics()


class Actor(ABC, Generic[M]):
    """State that one task owns. Subclass it and say what `receive` does with a batch.

    A batch leaves the mailbox when `receive` has returned. If it raises, the actor has crashed, and the
    next one gets the same messages first: handle a batch in one step or so that repeating it does no
    harm. A message that always fails thus spends the restart budget; catch what one message may cause.
    """

    batch_size = 512
    """The most messages `receive` gets at once."""

    async def on_start(self) -> None:
        """Called before the first batch; an error here is a failed start."""

    @abstractmethod
    async def receive(self, batch: Sequence[M | Asked[M]]) -> None:
        """Handle the oldest messages, in order; `Asked` ones want a `reply`."""

    async def on_stop(self) -> None:
        """Called at the end, after a crash too, if `on_start` went well; shielded from cancellation.

        Time is limited by the child's `shutdown_s`.
        """

    def stop(self) -> None:
        """End after the present batch, as if done: a permanent actor is started again."""
        self._stopping = True

    _stopping = False

    async def run(self, mailbox: Inbox[M], ready: Signal) -> None:
        """The actor's life: set up, serve, tear down."""
        await self.on_start()
        try:
            reader = mailbox.open()
            ready.set()
            await self._serve(mailbox, reader)
        finally:
            with anyio.CancelScope(shield=True):
                await self.on_stop()

    async def _serve(self, mailbox: Inbox[M], reader: int) -> None:
        while not self._stopping:
            batch = await mailbox.front(reader, self.batch_size)
            await self.receive(batch)
            mailbox.remove(reader, len(batch))
            await anyio.lowlevel.checkpoint()  # a full mailbox must not keep the loop to itself


async def _live(make: Callable[[], Actor[M]], mailbox: Inbox[M], ready: Signal) -> None:
    await make().run(mailbox, ready)


def actor_child(
    name: str,
    make: Callable[[], Actor[M]],
    *,
    capacity: int = 1024,
    restart: Restart = Restart.PERMANENT,
    shutdown_s: float = 5.0,
    backoff: Backoff | None = None,
) -> tuple[ChildSpec, Ref[M]]:
    """The spec of an actor, its mailbox inside, and the ref to it.

    `make` is called for each start. The ref accepts messages from now on, before the first start too.
    """
    mailbox: Inbox[M] = Inbox(name, capacity)
    ready = Signal()
    start = partial(_live, make, mailbox, ready)
    spec = ChildSpec(name, start, restart, shutdown_s, backoff, ready, mailbox.close)
    return spec, Ref(mailbox)
