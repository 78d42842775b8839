"""Where the stores of a stateful test keep their events, and how they are dropped and opened again."""

import itertools

import msgspec
import servers
from make import PlainReader, plain_shapes
from own_stores import LogStore, PlainStore

from crucible_telemetry.errors import StoreUnavailable
from crucible_telemetry.stores.keeping import KeptExperiment
from crucible_telemetry.stores.kept import KeptStore
from crucible_telemetry.stores.memory import MemoryStore
from crucible_telemetry.stores.postgres.keep import PostgresKeep
from crucible_telemetry.stores.sqlite import SqliteKeep
from crucible_telemetry.stores.writer import Writer

RECORD = msgspec.msgpack.encode({"name": "e", "state": "running", "started_us": 1})


class Memory:
    """Nothing lasts, nothing fails."""

    lasting = False

    def __init__(self, segment_rows, folder):
        self.segment_rows, self.shift, self.folder = segment_rows, 0, folder
        self._shifts = itertools.count(3)

    async def open(self):
        return MemoryStore(PlainReader(), self.segment_rows)

    async def drop(self):
        """Nothing to let go of."""


class Plain(Memory):
    async def open(self):
        return PlainStore("e", PlainReader())


class Log(Memory):
    """The example's log; each opening is as in another process, whose numbers differ."""

    lasting = True

    async def open(self):
        self.shift = next(self._shifts)
        self.store = LogStore(self.folder / "e.log", "e", PlainReader(self.shift))
        return self.store

    def fail(self, when):
        """The next write fails: before, in the middle (a torn frame), or when all is written."""
        write = self.store._write

        def failing(blocks):
            self.store._write = write
            if when == "after":
                write(blocks)
            elif when == "within":
                with (self.folder / "e.log").open("ab") as log:
                    log.write(b"\0\xff" * 20)
            raise OSError(28, "No space left on device")

        self.store._write = failing


class InAKeep(Memory):
    """A store of a durable lab; each opening is as in another process."""

    lasting = True

    def new_keep(self):
        return SqliteKeep(self.folder / "runs.db")

    async def open(self):
        self.keep, self.shift = self.new_keep(), next(self._shifts)
        found = await self.keep.open()
        nothing = KeptExperiment(id="e", record=b"", words=[], trials=[], blocks=[])
        writer = Writer(self.keep)
        kept = found[0] if found else nothing
        shapes = plain_shapes(self.shift)
        reader = PlainReader(self.shift)
        store = KeptStore(kept, reader, self.keep, writer, self.segment_rows, shapes)
        store.news = News()
        if found:
            await store.claim(RECORD)  # as a lab does before it goes on
        await store.resume()
        return store

    async def drop(self):
        await self.keep.close()

    def fail(self, when):
        """The next write fails: before, or when all is written and nobody hears of it."""
        write = self.keep.write

        async def failing(change):
            self.keep.write = write
            if when == "after":
                await write(change)
            raise StoreUnavailable("disk", "full")

        self.keep.write = failing


class InPostgres(InAKeep):
    def __init__(self, segment_rows, folder):
        super().__init__(segment_rows, folder)
        self._url = servers.postgres().url()

    def new_keep(self):
        return PostgresKeep(self._url)


class News:
    """What is kept beside events: always the same."""

    waits = False

    def look(self):
        """Nothing changes."""

    def __call__(self, _numbers, _upto_seq):
        return RECORD, ()

    def written(self):
        """Nothing changes."""
