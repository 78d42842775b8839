"""One moment of a store in order of time, in bounded parts: what every writer reads.

The first look takes the times alone, a bounded stretch of seqs at a time, and keeps one in sixty-four of
them: they cut time into stretches of a few thousand events. Then each stretch is asked for, sorted and
decoded a slice at a time. So memory does not grow with events (but for those samples, an eighth of a
byte each), whatever order they came in.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
from anyio.lowlevel import checkpoint
from msgspec.structs import replace
from numpy.typing import NDArray

from crucible_telemetry.collect.read_back import Words
from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.events.event import Event
from crucible_telemetry.events.shape import Row
from crucible_telemetry.stores.base import Query, Store, Where
from crucible_telemetry.stores.where import INT64_MAX

STRETCH: Final = 8192
"""Events asked for at once."""
SLICE: Final = 512
"""Events decoded and written between two looks at the loop: 2–4 ms."""
SLICE_BYTES: Final = 2**20
SAMPLE: Final = 64
MAX_JOINED_BYTES: Final = 64 * 2**20

Ints = NDArray[np.int64]
Fields = dict[str, Iterable[Any]]


class Decoder(Words, Protocol):
    """What makes rows events, and tells whose they are: the part of an `ExperimentReader` that a walk needs."""

    experiment_id: str
    spec: ExperimentSpec

    def seqs(self, columns: Columns, at: NDArray[np.intp]) -> NDArray[np.int64]:
        """The seqs of rows."""
        ...

    def events(self, columns: Columns, indices: Sequence[int]) -> list[Event]:
        """The rows at these positions, in the order asked for."""
        ...

    def told(self, columns: Columns, at: NDArray[np.intp]) -> tuple[list[Row], Fields]:
        """The same as decoded rows, and as fields by name: a value a row, or one for ever."""
        ...


class Slices(Protocol):
    """What is written: events a slice at a time."""

    share: float | None
    """How much of the walk at work is done, 0 … 1; None where that is somebody else's to tell."""

    def slices(self, most_rows: int) -> "AsyncGenerator[Slice, None]":
        """All of them; may be walked several times."""
        ...


class Slice:
    """Some rows of one part, next to each other in order of time."""

    def __init__(self, columns: Columns, rows: NDArray[np.intp], reader: Decoder) -> None:
        self.columns, self.rows, self.reader = columns, rows, reader

    @cached_property
    def events(self) -> list[Event]:
        """The rows as events, decoded when first asked for."""
        return self.reader.events(self.columns, self.rows.tolist())

    def of_shape(self, shape: int) -> "tuple[NDArray[np.intp], Slice]":
        """Its rows of one shape, and where they are in it."""
        at = np.flatnonzero(self.columns.shape[self.rows] == shape)
        return at, Slice(self.columns, self.rows[at], self.reader)

    def told(self) -> tuple[list[Row], Fields]:
        """Its rows decoded, and the fields of their events by name: no event is made."""
        return self.reader.told(self.columns, self.rows)

    def release(self) -> None:
        """Let the decoded events go."""
        self.__dict__.pop("events", None)

    @property
    def payload_bytes(self) -> int:
        """The size of its rows as they are stored."""
        offsets = self.columns.payload.offsets
        return int((offsets[self.rows + 1] - offsets[self.rows]).sum(dtype=np.int64))

    @property
    def payload(self) -> list[bytes]:
        """The rows as they are stored."""
        return self.columns.payload.some(self.rows)


class Walk:
    """The events of a store that fit `where`, as they are at this moment; may be walked several times.

    `check` is called after each wait and raises when the data was given up meanwhile, which would
    read as the end.
    """

    def __init__(
        self, store: Store, reader: Decoder, where: Where | None, check: Callable[[], None]
    ) -> None:
        self._store, self._reader, self._check = store, reader, check
        self.last_seq = store.last_seq
        """Of the moment."""
        self._query = Query(where=where, upto_seq=self.last_seq)
        self._stretches: list[Query] | None = None
        self.share: float | None = 0.0

    async def parts(self) -> AsyncGenerator[Slice, None]:
        """All of them as the store has them, in order of seq: sooner there, for who needs no order of time."""
        async for part in self._store.columns(self._query):
            self._check()
            if len(part):
                yield Slice(part, np.arange(len(part)), self._reader)

    async def slices(self, most_rows: int = SLICE) -> AsyncGenerator[Slice, None]:
        """All of them, in order of (time, seq); the loop gets its turn after each slice."""
        if self._stretches is None:
            self._stretches = await self._survey()
        for done, stretch in enumerate(self._stretches):
            self.share = done / len(self._stretches)
            parts = [part async for part in self._store.columns(stretch)]
            await checkpoint()
            for part, rows in _in_order(parts):
                for some in _bounded(part, rows, most_rows):
                    yield Slice(part, some, self._reader)
                    await checkpoint()
                    self._check()

    async def _survey(self) -> list[Query]:
        """The stretches of time to ask for, one after the other."""
        samples = [np.zeros(0, np.int64)]
        for query in self._by_seq(self._query):
            times = [part.timestamp_us async for part in self._store.columns(query)]
            await checkpoint()
            self._check()
            samples.append(np.sort(np.concatenate([samples[0][:0], *times]))[::SAMPLE])
        times_us = np.sort(np.concatenate(samples))
        return list(self._cut(times_us)) if len(times_us) else []

    def _cut(self, times_us: Ints) -> Iterator[Query]:
        cuts = times_us[:: STRETCH // SAMPLE]
        starts, counts = np.unique(cuts, return_counts=True)
        low = -INT64_MAX
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            if low < start:
                yield replace(self._query, since_us=low, until_us=start - 1)
            low = start
            if count > 1:  # of one time there may be any number: these are parted by seq
                alone = replace(self._query, since_us=start, until_us=start)
                yield from self._by_seq(alone)
                low = start + 1
        yield replace(self._query, since_us=low, until_us=INT64_MAX)

    def _by_seq(self, query: Query) -> Iterator[Query]:
        last = query.upto_seq or 0
        for after in range(0, last, STRETCH):
            yield replace(query, after_seq=after, upto_seq=min(after + STRETCH, last))


class Run:
    """Some columns as they are, in order of seq: a walk for who has them in hand."""

    share: float | None = None

    def __init__(self, columns: Columns, reader: Decoder) -> None:
        self._columns, self._reader = columns, reader

    async def slices(self, most_rows: int = SLICE) -> AsyncGenerator[Slice, None]:
        """See `Walk.slices`."""
        for rows in _bounded(self._columns, np.arange(len(self._columns)), most_rows):
            yield Slice(self._columns, rows, self._reader)
            await checkpoint()


def _in_order(parts: list[Columns]) -> Iterator[tuple[Columns, NDArray[np.intp]]]:
    """The rows of all parts by (time, seq), as runs that lie in one part each."""
    if not parts:
        return
    # Stable, and parts come in order of seq: rows of one time stay in that order.
    order = np.argsort(np.concatenate([part.timestamp_us for part in parts]), kind="stable")
    home = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order]
    edges = np.flatnonzero(home[1:] != home[:-1]) + 1
    if len(edges) >= len(parts) and _payload_bytes(parts) <= MAX_JOINED_BYTES:
        yield _joined(parts), order
        return
    row = np.concatenate([np.arange(len(part)) for part in parts])[order]
    firsts = home[np.concatenate([[0], edges])].tolist()
    for first, rows in zip(firsts, np.split(row, edges), strict=True):
        yield parts[first], rows


def _payload_bytes(parts: list[Columns]) -> int:
    return sum(len(part.payload.blob) for part in parts)


def _joined(parts: list[Columns]) -> Columns:
    """Parts that lie among each other, as one; a row at a time costs twenty times as much."""
    joined = Columns.joined(parts)
    joined.gapped = np.concatenate([part.seqs(np.arange(len(part))) for part in parts])
    return joined


def _bounded(part: Columns, rows: NDArray[np.intp], most_rows: int) -> Iterator[NDArray[np.intp]]:
    """Runs of at most this many rows, and about `SLICE_BYTES`."""
    offsets = part.payload.offsets.astype(np.int64)
    sizes = np.cumsum(offsets[rows + 1] - offsets[rows])
    at = 0
    while at < len(rows):
        before = int(sizes[at - 1]) if at else 0
        fits = int(np.searchsorted(sizes, before + SLICE_BYTES, "right"))
        end = max(min(at + most_rows, fits), at + 1)
        yield rows[at:end]
        at = end
