"""F20: the database is killed, restarted, or away for a while, and experiments go on.

Nothing that a flush confirmed is lost, nothing is there twice, and emitters notice nothing. The outage lasts
1.5 s, `--deep` seconds when that is given.
"""

import asyncio
import signal
import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
import servers
from waiting import comes

import crucible_telemetry as ct
from crucible_telemetry.errors import StoreError, StoreUnavailable
from crucible_telemetry.stores import kept, lasting
from crucible_telemetry.stores.postgres import server as connecting
from crucible_telemetry.stores.postgres.keep import PostgresKeep

pytestmark = pytest.mark.asyncio

EMITTERS = 4
BLOCKED_S = 1.0
"""An emit that takes longer was blocked, on however busy a machine."""


@pytest.fixture
def server():
    server = servers.postgres()
    yield server
    if not server.runs:
        server.start()


@contextmanager
def told():
    """Names of the events that stores put on the bus."""
    heard = []
    ct.attach("f20", ["crucible.store.*"], lambda event, *_: heard.append(event))
    try:
        yield heard
    finally:
        ct.detach("f20")


class Load:
    """Emits numbered events all the time, flushes now and then, and knows what was confirmed."""

    def __init__(self, exp):
        self.exp, self.emitted, self.confirmed, self.slowest_s = exp, 0, 0, 0.0
        self.failed_flushes = 0

    async def emit(self):
        while True:
            with_room = time.perf_counter()
            for _ in range(20):
                self.emitted += 1
                ct.execute_nowait("work.done", {"n": self.emitted}, {"text": "x" * 50})
            self.slowest_s = max(self.slowest_s, time.perf_counter() - with_room)
            await asyncio.sleep(0.005)

    async def confirm(self):
        while True:
            before = self.emitted
            result = await self.exp.flush()
            if result.complete:
                self.confirmed = before
            else:
                self.failed_flushes += 1
            await asyncio.sleep(0.05)


@asynccontextmanager
async def under_load(exp):
    load = Load(exp)
    async with exp.scope():
        tasks = [asyncio.create_task(load.emit()) for _ in range(EMITTERS)]
    tasks.append(asyncio.create_task(load.confirm()))
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [e for e in ended if not isinstance(e, asyncio.CancelledError)] == []


async def restarted(server, how, away_s):
    await asyncio.to_thread(server.stop, how)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)


async def killed(server):
    assert await asyncio.to_thread(server.signal_backends, signal.SIGKILL)


async def hung(server, away_s):
    assert server.signal_backends(signal.SIGSTOP)
    await asyncio.sleep(away_s)
    server.signal_backends(signal.SIGCONT)


FAULTS = {
    "backends killed": lambda server, _: killed(server),
    "hung for a while": hung,
    "restarted in order": lambda server, _: restarted(server, signal.SIGINT, 0),
    "crashed and started": lambda server, _: restarted(server, signal.SIGQUIT, 0),
    "away for a while": lambda server, away_s: restarted(server, signal.SIGINT, away_s),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_f20_nothing_confirmed_is_lost_and_nothing_is_there_twice(server, request, fault):
    away_s = request.config.getoption("--deep") or 1.5
    url = server.url()
    with told() as heard:
        async with ct.Lab(url) as lab:
            exp = await lab.start_experiment("a", capture="scope")
            async with under_load(exp) as load:
                await comes(lambda: load.confirmed)
                await FAULTS[fault](server, away_s)
                confirmed = load.confirmed
                for _ in range(2):  # it comes back by itself, and stays
                    again = load.confirmed
                    await comes(lambda again=again: load.confirmed > again)
            assert (await exp.flush()).complete
            emitted = load.emitted
            assert exp.counts.stored == emitted
            assert exp.health().state == "running"
    assert load.slowest_s < BLOCKED_S
    assert load.confirmed > confirmed
    assert heard[::2] == ["crucible.store.waiting"] * len(heard[::2])
    assert heard[1::2] == ["crucible.store.recovered"] * len(heard[1::2])
    assert len(heard) % 2 == 0
    if fault == "away for a while":
        assert heard
        assert load.failed_flushes
    async with ct.Lab(url) as lab:
        (found,) = lab.list_experiments()
        numbers = [event.measurements["n"] for event in await found.events()]
    assert sorted(numbers) == list(range(1, emitted + 1))


async def test_f20_what_waits_is_bounded_and_spills_to_a_file_and_is_written_in_the_end(
    server, monkeypatch
):
    monkeypatch.setattr(lasting, "FULL_ROWS", 2_000)
    monkeypatch.setattr(kept, "SPILL_ROWS", 4_000)
    url = server.url()
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope", mailbox_size=256)
        server.stop()
        async with exp.scope():
            for n in range(20_000):
                ct.execute_nowait("work.done", {"n": n})
            result = await exp.flush()
            assert not result.complete
            assert result.failed == 20_000
            waits = asyncio.create_task(waiting_emits(10_000))
            await asyncio.sleep(0.5)
            assert not waits.done()  # who waits for room waits for the server
            waits.cancel()
        store = lab._collectors[exp.id].store
        assert store.spilled_rows > 10_000
        server.start()
        result = await finished(exp)
        assert result.complete
        assert store.spilled_rows == 0
        count = exp.counts.stored
    async with ct.Lab(url) as lab:
        (found,) = lab.list_experiments()
        events = await found.events()
        numbers = [e.measurements["n"] for e in events if e.event_name == "work.done"]
    assert len(events) == count
    assert numbers == list(range(20_000))


async def waiting_emits(n):
    for _ in range(n):
        await ct.execute("work.late", {"n": -1})


async def finished(exp):
    for _ in range(100):
        result = await exp.flush()
        if result.complete:
            break
        await asyncio.sleep(0.1)
    return result


async def test_f20_reads_answer_from_memory_or_say_what_is_away(server):
    async with ct.Lab(server.url()) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        async with exp.scope():
            for n in range(20_000):
                ct.execute_nowait("work.done", {"n": n}, {"text": "x" * 20})
            await exp.flush()
            server.stop()
            ct.execute_nowait("work.done", {"n": 20_000})
        assert exp.live().summary.total_events == 20_001
        assert [e.measurements["n"] for e in await exp.window(ct.LastN(5))] == [
            *range(19_996, 20_001)
        ]
        lab._collectors[exp.id].store._hands.clear()
        with pytest.raises(StoreUnavailable, match="postgresql://postgres@"):
            await exp.events()
        server.start()
        assert len(await exp.events()) == 20_001


async def test_f20_a_lab_that_closes_while_it_is_away_says_what_is_not_saved(server):
    lab = await ct.Lab(server.url()).open()
    exp = await lab.start_experiment("a", capture="scope")
    server.stop()
    async with exp.scope():
        for n in range(10):
            await ct.execute("work.done", {"n": n})
    began = time.monotonic()
    report = await lab.close()
    assert time.monotonic() - began < 5
    assert "10 events are not on the disk" in report[exp.id]


async def test_f20_a_lab_cannot_be_opened_while_it_is_away(server):
    url = server.url()
    server.stop()
    with pytest.raises(StoreError):
        await ct.Lab(url).open()
    server.start()
    async with ct.Lab(url) as lab:
        assert lab.list_experiments() == []


@contextmanager
def hanging(server):
    """Neither who takes connections nor who serves them answers; what is asked meanwhile waits in their sockets."""
    server.signal_all(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal_all(signal.SIGCONT)


async def test_f20_a_lab_opens_not_at_a_server_that_hangs_and_says_so_in_time(server, monkeypatch):
    monkeypatch.setattr(connecting, "CONNECT_S", 0.5)
    url = server.url()
    with hanging(server):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await ct.Lab(url).open()
        assert time.monotonic() - began < 5
    async with ct.Lab(url) as lab:
        assert lab.list_experiments() == []


async def test_f20_a_lab_closes_in_time_at_a_server_that_hangs_and_says_what_is_not_saved(server):
    url = server.url()
    lab = await ct.Lab(url, close_timeout_s=0.5).open()
    exp = await lab.start_experiment("a", capture="scope")
    assert (await exp.flush()).complete
    with hanging(server):
        async with exp.scope():
            for n in range(10):
                await ct.execute("work.done", {"n": n})
        began = time.monotonic()
        report = await lab.close()
        assert time.monotonic() - began < 5
        assert "10 events are not on the disk" in report[exp.id]
        assert [one for one in threading.enumerate() if one.name == "crucible-postgres"] == []
    async with ct.Lab(url) as lab:
        (found,) = lab.list_experiments()
        assert found.counts.stored in (0, 10)  # what was under way may have come through
        await found.reopen()
        await found.stop()


async def test_f20_what_is_gone_on_with_while_the_server_fails_over_is_once_ours_and_whole(server):
    url = server.url()
    async with ct.Lab(url) as lab:
        exp = await lab.start_experiment("a", capture="scope")
        emitted = 0
        for attempt in range(12):
            async with exp.scope():
                for _ in range(500):
                    ct.execute_nowait("work.done", {"n": emitted})
                    emitted += 1
            assert (await finished(exp)).complete
            await exp.stop()
            exp = await gone_on(lab, exp, server, after_s=attempt * 0.004)
            assert exp.state == "running"
            await asked_until_it_answers(lab.refresh)
        assert (await finished(exp)).complete
    async with ct.Lab(url) as lab:
        (found,) = lab.list_experiments()
        numbers = [event.measurements["n"] for event in await found.events()]
        assert numbers == list(range(emitted))
        assert found.counts.stored == found.counts.emitted == emitted


async def gone_on(lab, exp, server, after_s):
    """Reopened, though the server's backends die meanwhile; asked again as long as it says that they did."""

    async def fails_over():
        await asyncio.sleep(after_s)
        await asyncio.to_thread(server.signal_backends, signal.SIGKILL)

    failing = asyncio.create_task(fails_over())
    again = await asked_until_it_answers(partial(lab.reopen_experiment, exp.id))
    await failing
    return again


async def asked_until_it_answers(ask):
    for _ in range(200):
        try:
            return await ask()
        except StoreUnavailable:
            await asyncio.sleep(0.05)
    return await ask()


async def test_f20_a_server_is_asked_to_notice_soon_that_our_machine_is_gone():
    """Measured with a cable that was pulled: the experiments were free after 31 s. Sockets of files have no cable."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    servers.postgres()  # skips where none can start
    server = await asyncio.to_thread(
        servers.Postgres, "fsync=off", "listen_addresses=127.0.0.1", f"port={port}"
    )
    try:
        keep = PostgresKeep(f"postgresql://postgres@127.0.0.1:{port}/postgres")
        await keep.open()
        connection = keep._writing._open
        idle, interval, count, timeout_ms = [
            int(await keep._loop.call(partial(connection.fetchval, f"SHOW tcp_{name}")))
            for name in ("keepalives_idle", "keepalives_interval", "keepalives_count", "user_timeout")
        ]  # fmt: skip
        assert idle + interval * count < 60
        assert timeout_ms < 60_000
        await keep.close()
    finally:
        await asyncio.to_thread(server.remove)
