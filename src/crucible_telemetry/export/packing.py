"""An experiment → the parts of an archive, each verified where it lies before anything counts on it.

Asked again, a packer writes what has come since: parts that are full stay, the last one is written anew. The
manifest comes last and in one step, so whoever is interrupted leaves the archive that was there before, or none.
"""

import hashlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
from anyio import to_thread
from anyio.lowlevel import checkpoint
from msgspec import Struct

from crucible_telemetry.clock import wall_us
from crucible_telemetry.collect.formats import check_format
from crucible_telemetry.errors import ConfigurationError, ExportError, StoreDamaged
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.export import manifest as contents
from crucible_telemetry.export.depots import Depot
from crucible_telemetry.export.files import squeezed
from crucible_telemetry.export.manifest import Manifest, Part, path_of
from crucible_telemetry.export.trials import TrialTable, trial_chunks
from crucible_telemetry.export.walk import Run
from crucible_telemetry.export.writing import Wishes, chunks_of
from crucible_telemetry.runtime.headway import headway
from crucible_telemetry.stores.base import Query, Store
from crucible_telemetry.stores.blocks import encoded
from crucible_telemetry.stores.segments import taken
from crucible_telemetry.stores.spelling import Spelling

PART_ROWS: Final = 65_536
PART_BYTES: Final = 8 * 2**20
"""Of rows in a part; an event that is larger is one alone."""
_TRIALS: Final = 16_384
_LEVEL: Final = 4
_GZIP: Final = 31
FORMATS: Final = ("parquet", "jsonl")


class Moment(Struct, frozen=True, kw_only=True):
    """What an experiment is at one moment, beside its events up to `upto_seq`.

    `trials(numbers)`: (number, record as bytes) of its own trials and of those with these numbers.
    """

    id: str
    name: str
    state: str
    complete: bool
    upto_seq: int
    record: bytes
    options: dict[str, Any]
    counts: dict[str, Any]
    environment: dict[str, Any]
    trials: Callable[[set[int]], Sequence[tuple[int, bytes]]]
    table: TrialTable


class Packer:
    """Packs one experiment into one depot; `kind`: what its events are for people, ``"parquet"`` or ``"jsonl"``."""

    def __init__(self, depot: Depot, store: Store, reader: Any, kind: str = "parquet") -> None:
        if kind not in FORMATS:
            raise ConfigurationError("format", f"want one of {', '.join(FORMATS)}, not {kind!r}")
        check_format(kind, None)
        self._depot, self._store, self._reader, self._kind = depot, store, reader, kind
        self._spelling = Spelling(reader, [])
        self._full: list[Part] = []
        self._full_seq = 0
        self._numbers: set[int] = set()
        self._written: set[str] = set()
        """Files of ours that lie there; when a packing is cut off, some of them are of no archive."""

    @property
    def url(self) -> str:
        """Where the archive lies."""
        return self._depot.url

    async def before(self, experiment_id: str) -> frozenset[str]:
        """The files of the archive that is there; `ExportError` when it is of another experiment."""
        data = await self._depot.get(contents.NAME, contents.MAX_MANIFEST_BYTES)
        if data is None:
            return frozenset()
        try:
            found = contents.read(data)
        except ValueError as error:
            raise ExportError(self.url, f"there is something already: {error}") from error
        if found.id != experiment_id:
            raise ExportError(
                self.url, f"the archive of {found.id!r} is there: choose another place"
            )
        return frozenset(part.path for part in found.parts)

    async def pack(self, moment: Moment) -> Manifest:
        """Write what has come, verify it, and put the new manifest in the place of the old one."""
        before = await self.before(moment.id)
        events = await self._events(moment.upto_seq)
        trials = sorted(moment.trials(self._numbers), key=itemgetter(0))
        parts = [
            *[await self._record(moment)],
            *[
                await self._trials(trials[at : at + _TRIALS])
                for at in range(0, len(trials), _TRIALS)
            ],
            *events,
            *[await self._table(moment.table)],
        ]
        manifest = _manifest(moment, parts, len(trials))
        await self._verified(contents.NAME, contents.packed(manifest))
        for path in (before | self._written) - {part.path for part in parts}:
            await self._depot.delete(path)
            self._written.discard(path)
        return manifest

    async def undo(self, kept: frozenset[str]) -> None:
        """Remove what was written for a manifest that did not come to be; files of the one before are `kept`."""
        for path in self._written - kept:
            await self._depot.delete(path)

    async def _events(self, upto_seq: int) -> list[Part]:
        query = Query(after_seq=self._full_seq, upto_seq=upto_seq)
        parts = list(self._full)
        async with aclosing(_runs(self._all(query, upto_seq))) as runs:
            async for run, full in runs:
                made = [await self._block(run), await self._copy(run)]
                parts += made
                headway("writing", run.last_seq / max(upto_seq, run.last_seq))
                self._numbers |= set(np.unique(run.trial).tolist()) - {0}
                if full:
                    self._full += made
                    self._full_seq = run.last_seq
        return parts

    async def _all(self, query: Query, upto_seq: int) -> AsyncIterator[Columns]:
        """The rows behind those in parts that are full, without a gap."""
        expected = self._full_seq + 1
        async for part in self._store.columns(query):
            self._check_follows(expected, part.first_seq)
            expected = part.last_seq + 1
            yield part
        self._check_follows(expected, upto_seq + 1)

    def _check_follows(self, expected: int, seq: int) -> None:
        """`StoreDamaged` when events were left out where they are read: an archive has all."""
        if seq != expected:
            missing = f"events {expected} to {seq - 1} are missing"
            raise StoreDamaged(self.url, f"no archive of what is not whole: {missing}")

    async def _block(self, run: Columns) -> Part:
        block = encoded(self._spelling.numbered(run))
        if len(block) > contents.MAX_UNPACKED_BYTES:
            size = f"{len(block):,} bytes, more than {contents.MAX_UNPACKED_BYTES:,}"
            raise ExportError(
                self.url, f"event {run.first_seq} is too large for an archive: {size}"
            )
        data = await to_thread.run_sync(_squeezed, block)
        return await self._part("block", "ctb.gz", data, run.first_seq, len(run))

    async def _copy(self, run: Columns) -> Part:
        chunks = chunks_of([Run(run, self._reader)], self._kind, Wishes())
        return await self._for_people("events", chunks, run.first_seq, len(run))

    async def _table(self, trials: TrialTable) -> Part:
        chunks = trial_chunks([trials], self._kind, Wishes())
        return await self._for_people("table", chunks, 0, len(trials.records))

    async def _for_people(
        self, kind: str, chunks: AsyncGenerator[bytes, None], first: int, rows: int
    ) -> Part:
        as_lines = self._kind == "jsonl"
        async with aclosing(squeezed(chunks, "gz" if as_lines else None)) as ready:
            data = b"".join([chunk async for chunk in ready])
        return await self._part(kind, "jsonl.gz" if as_lines else self._kind, data, first, rows)

    async def _record(self, moment: Moment) -> Part:
        data = msgspec.msgpack.encode((moment.record, self._spelling.news()))
        return await self._part("experiment", "msgpack.gz", _squeezed(data), 0, 0)

    async def _trials(self, trials: Sequence[tuple[int, bytes]]) -> Part:
        data = await to_thread.run_sync(lambda: _squeezed(msgspec.msgpack.encode(trials)))
        return await self._part("trials", "msgpack.gz", data, 0, len(trials))

    async def _part(self, kind: str, ending: str, data: bytes, first: int, rows: int) -> Part:
        if len(data) > contents.MAX_PACKED_BYTES:
            raise ExportError(self.url, f"a part of {kind} would have {len(data):,} bytes")
        sha256 = hashlib.sha256(data).hexdigest()
        path = path_of(kind, ending, sha256, first, rows)
        self._written.add(path)
        await self._verified(path, data)
        return Part(path=path, kind=kind, bytes=len(data), sha256=sha256, first=first, rows=rows)

    async def _verified(self, name: str, data: bytes) -> None:
        """Write a file, and read it again."""
        await self._depot.put(name, data)
        if await self._depot.get(name, len(data)) != data:
            raise StoreDamaged(self.url, f"{name}: what was just written is not there as it was")


def _manifest(moment: Moment, parts: Sequence[Part], trials: int) -> Manifest:
    return Manifest(
        id=moment.id,
        name=moment.name,
        state=moment.state,
        complete=moment.complete,
        events=moment.upto_seq,
        trials=trials,
        written_us=wall_us(),
        options=moment.options,
        counts=moment.counts,
        environment=moment.environment,
        parts=tuple(parts),
    )


def _squeezed(data: bytes) -> bytes:
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return squeeze.compress(data) + squeeze.flush()


async def _runs(parts: AsyncIterator[Columns]) -> AsyncGenerator[tuple[Columns, bool], None]:
    """(events of a part of the archive, whether it is full: no further event belongs to it)."""
    held: list[Columns] = []
    rows = size = 0
    async for part in parts:
        at = 0
        while at < len(part):
            end = _fitting(part, at, rows, size) if rows < PART_ROWS else at
            if end == at:
                yield Columns.joined(held), True
                held, rows, size = [], 0, 0
                continue
            piece = taken(part, np.arange(at, end))
            held.append(piece)
            rows, size, at = rows + len(piece), size + len(piece.payload.blob), end
        await checkpoint()
    if held:
        yield Columns.joined(held), rows >= PART_ROWS


def _fitting(columns: Columns, at: int, rows: int, size: int) -> int:
    """Up to which row, from `at` on, there is room beside what is held; the first of a part always has."""
    offsets = columns.payload.offsets.astype(np.int64)
    fits = int(np.searchsorted(offsets, offsets[at] + PART_BYTES - size, "right")) - 1
    end = min(fits, at + PART_ROWS - rows, len(columns))
    return max(end, at + (rows == 0))
