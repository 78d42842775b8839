import threading

import anyio
import anyio.lowlevel
import pytest

from crucible_telemetry.errors import ActorStopped, AskTimeout, ConfigurationError, MailboxFull
from crucible_telemetry.runtime.actor import Actor, Asked, Inbox, actor_child
from crucible_telemetry.runtime.loops import Signal, spawn_root
from crucible_telemetry.runtime.restart import Intensity, Restart
from crucible_telemetry.runtime.supervisor import Supervisor

pytestmark = pytest.mark.anyio


class Clerk(Actor):
    """Writes down what it gets; crashes or waits when told to."""

    def __init__(self, book):
        self.book = book
        self.batch_size = book.batch_size

    async def on_start(self):
        self.book.life.append("start")

    async def receive(self, batch):
        self.book.batches.append([getattr(item, "message", item) for item in batch])
        for item in batch:
            await self.handle(item)

    async def handle(self, item):
        message = item.message if isinstance(item, Asked) else item
        if message == "crash" and self.book.crashes:
            raise self.book.crashes.pop()
        if message == "wait":
            await self.book.go_on.wait()
        if message == "stop":
            self.stop()
        self.book.handled.append(message)
        if isinstance(item, Asked) and message != "silence":
            item.reply(f"re: {message}")

    async def on_stop(self):
        await anyio.lowlevel.checkpoint()
        self.book.life.append("stop")


class Book:
    def __init__(self, *crashes, batch_size=100):
        self.life, self.batches, self.handled = [], [], []
        self.crashes, self.batch_size = list(crashes), batch_size
        self.go_on = Signal()

    def supervised(self, restarts=5, **options):
        spec, self.ref = actor_child("clerk", lambda: Clerk(self), **options)
        self.supervisor = Supervisor("top", [spec], intensity=Intensity(restarts))
        return self

    async def __aenter__(self):
        self.root = spawn_root(self.supervisor.run, "top")
        await anyio.sleep(1e-6)
        return self.ref

    async def __aexit__(self, *_):
        self.root.cancel()
        await self.root.wait()


async def test_messages_are_handled_in_order_and_in_batches():
    book = Book(batch_size=3)
    async with book.supervised() as ref:
        for i in range(7):
            assert ref.tell_nowait(i)
        await anyio.sleep(1)
    assert book.batches == [[0, 1, 2], [3, 4, 5], [6]]
    assert book.life == ["start", "stop"]


async def test_ask_brings_the_reply():
    async with Book().supervised() as ref:
        assert await ref.ask("ping") == "re: ping"


async def test_ask_raises_the_error_it_is_answered_with():
    class Refuser(Actor):
        async def receive(self, batch):
            for item in batch:
                item.fail(LookupError(item.message))
                item.reply("too late")

    spec, ref = actor_child("refuser", Refuser)
    root = spawn_root(Supervisor("top", [spec]).run, "top")
    with pytest.raises(LookupError, match="who"):
        await ref.ask("who")
    root.cancel()
    await root.wait()


async def test_ask_gives_up_after_its_time_to_the_microsecond():
    async with Book().supervised() as ref:
        before_s = anyio.current_time()
        with pytest.raises(AskTimeout, match="'clerk' did not answer within 2 s") as caught:
            await ref.ask("silence", timeout_s=2)
        assert anyio.current_time() - before_s == pytest.approx(2, abs=1e-6)
        assert caught.value.__cause__ is None


async def test_ask_says_when_the_message_was_not_even_accepted():
    async with Book().supervised(capacity=1) as ref:
        assert ref.tell_nowait("wait")
        with pytest.raises(AskTimeout) as caught:
            await ref.ask("ping", timeout_s=2)
        assert isinstance(caught.value.__cause__, MailboxFull)


async def test_a_slow_actor_makes_the_sender_wait():
    book, told = Book(), []

    async def tell_all(ref):
        for i in range(5):
            await ref.tell(i)
            told.append(i)

    async with book.supervised(capacity=3) as ref, anyio.create_task_group() as tg:
        await ref.tell("wait")
        tg.start_soon(tell_all, ref)
        await anyio.sleep(1)
        assert told == [0, 1]
        assert not ref.tell_nowait("no room")
        book.go_on.set()
        await anyio.sleep(1)
        assert told == [0, 1, 2, 3, 4]
    assert book.handled == ["wait", 0, 1, 2, 3, 4]


async def test_many_senders_in_a_small_mailbox_all_get_through_in_their_own_order():
    book = Book()

    async def tell_all(ref, who):
        for i in range(50):
            await ref.tell((who, i))

    async with book.supervised(capacity=2) as ref:
        async with anyio.create_task_group() as tg:
            for who in range(8):
                tg.start_soon(tell_all, ref, who)
        await anyio.sleep(1)
    for who in range(8):
        assert [i for name, i in book.handled if name == who] == list(range(50))
    assert max(map(len, book.batches)) <= 2


async def test_a_sender_that_is_cancelled_while_it_waits_has_told_nothing():
    book = Book()
    async with book.supervised(capacity=1) as ref:
        await ref.tell("wait")
        with anyio.move_on_after(1):
            await ref.tell("gone")
        book.go_on.set()
        await anyio.sleep(1)
    assert book.handled == ["wait"]


async def test_f18_the_batch_that_crashed_is_handled_again_and_nothing_is_lost():
    book = Book(ValueError("once"))
    async with book.supervised() as ref:
        for message in ("a", "crash", "b"):
            ref.tell_nowait(message)
        await anyio.sleep(1)
    assert book.batches == [["a", "crash", "b"]] * 2
    assert book.handled == ["a", "a", "crash", "b"]
    assert book.life == ["start", "stop", "start", "stop"]


async def test_f18_who_asks_is_answered_by_the_actor_after_the_crash():
    book = Book(ValueError("once"))
    async with book.supervised() as ref:
        assert await ref.ask("crash") == "re: crash"
    assert book.life[:3] == ["start", "stop", "start"]


async def test_f18_who_still_asks_when_the_actor_gives_up_is_told_so():
    book = Book(*[ValueError(str(i)) for i in range(9)])
    async with book.supervised(restarts=2) as ref:
        before_s = anyio.current_time()
        with pytest.raises(ActorStopped, match="'clerk' has stopped"):
            await ref.ask("crash", timeout_s=60)
        assert anyio.current_time() - before_s < 1
        with pytest.raises(ActorStopped):
            ref.tell_nowait("more")


async def test_who_waits_for_room_when_the_actor_ends_is_told_so():
    book, refused = Book(), []

    async def tell(ref):
        try:
            await ref.tell("more")
        except ActorStopped as error:
            refused.append(error.actor)

    async with anyio.create_task_group() as tg, book.supervised(capacity=1) as ref:
        await ref.tell("wait")
        tg.start_soon(tell, ref)
        await anyio.sleep(1)
    assert refused == ["clerk"]


async def test_what_was_told_before_the_start_is_handled_after_it():
    book = Book().supervised()
    await book.ref.tell("early")
    async with book:
        await anyio.sleep(1)
    assert book.handled == ["early"]


async def test_what_was_told_survives_the_supervisor_itself():
    book = Book().supervised()
    async with book as ref:
        for message in ("wait", "later"):
            await ref.tell(message)
        await anyio.sleep(1)
    assert book.handled == []
    book.go_on.set()
    async with book:
        await anyio.sleep(1)
    assert book.handled == ["wait", "later"]


async def test_an_actor_that_stops_itself_is_done_unless_it_is_permanent():
    book = Book()
    async with book.supervised(restart=Restart.TRANSIENT) as ref:
        await ref.tell("stop")
        await anyio.sleep(1)
        assert book.life == ["start", "stop"]
        assert ref.statistics().size == 0
        with pytest.raises(ActorStopped):
            await ref.tell("more")


async def test_an_actor_that_cannot_start_fails_the_supervisor():
    class Broken(Actor):
        async def on_start(self):
            raise OSError("no disk")

        async def receive(self, batch):
            raise AssertionError("never started")

    spec, _ = actor_child("broken", Broken)
    root = spawn_root(Supervisor("top", [spec]).run, "top")
    error = await root.wait()
    assert isinstance(error, OSError)
    assert "child 'broken' of supervisor 'top' failed before it was ready" in error.__notes__


async def test_statistics_count_what_came_and_the_most_that_waited():
    book = Book()
    async with book.supervised(capacity=10) as ref:
        for message in ("wait", 1, 2, 3):
            await ref.tell(message)
        full = ref.statistics()
        book.go_on.set()
        await anyio.sleep(1)
        ref.tell_nowait(4)
        assert (full.size, full.capacity, full.peak, full.received) == (4, 10, 4, 4)
        assert (ref.statistics().size, ref.statistics().peak, ref.statistics().received) == (
            1,
            4,
            5,
        )
        with pytest.raises(AttributeError):
            full.size = 0


async def test_an_abandoned_reader_takes_nothing_from_its_successor():
    mailbox = Inbox("m")
    first = mailbox.open()
    for i in range(3):
        mailbox.put(i)
    assert await mailbox.front(first, 2) == [0, 1]
    second = mailbox.open()
    mailbox.remove(first, 2)
    assert await mailbox.front(second, 9) == [0, 1, 2]
    with pytest.raises(ActorStopped):
        await mailbox.front(first, 9)


async def test_a_busy_actor_lets_the_loop_breathe():
    class Greedy(Actor):
        batch_size = 1

        async def receive(self, batch):
            ref.tell_nowait("again")

    spec, ref = actor_child("greedy", Greedy)
    root = spawn_root(Supervisor("top", [spec]).run, "top")
    ref.tell_nowait("first")
    for _ in range(50):
        await anyio.lowlevel.checkpoint()
    root.cancel()
    assert await root.wait() is None


def test_a_mailbox_has_room_for_one_at_least():
    with pytest.raises(ConfigurationError, match="capacity"):
        Inbox("m", 0)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_f17_what_threads_tell_arrives_once_and_in_order(backend):
    book = Book()
    per_thread, threads = 2_000, 4

    async def main():
        async with book.supervised(capacity=100_000) as ref:

            def tell_all(who):
                for i in range(per_thread):
                    assert ref.tell_nowait((who, i))

            senders = [threading.Thread(target=tell_all, args=(who,)) for who in range(threads)]
            for sender in senders:
                sender.start()
            with anyio.move_on_after(20):
                while len(book.handled) < per_thread * threads:
                    await anyio.lowlevel.checkpoint()
            for sender in senders:
                sender.join(20)

    anyio.run(main, backend=backend)
    for who in range(threads):
        assert [i for name, i in book.handled if name == who] == list(range(per_thread))
