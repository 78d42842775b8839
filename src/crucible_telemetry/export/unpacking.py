"""The parts of an archive → an experiment again. What is read is somebody else's: hashes, sizes and forms are checked.

Nothing of an archive is believed but that its blocks decode: no code is run, nothing is written by a name it
gives, what unpacks has limits, and rows are looked through without making objects of them.
"""

import hashlib
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
from anyio import to_thread

from crucible_telemetry.errors import StoreDamaged, StoreError, UnreadableFile
from crucible_telemetry.events.columns import DTYPES, Columns
from crucible_telemetry.events.event import GENERIC_SHAPE, Outcome
from crucible_telemetry.events.mailbox import log
from crucible_telemetry.events.shape import HEADER
from crucible_telemetry.export import manifest as contents
from crucible_telemetry.export.depots import Depot
from crucible_telemetry.export.manifest import Manifest, Part
from crucible_telemetry.runtime.headway import headway
from crucible_telemetry.stores.blocks import decoded
from crucible_telemetry.stores.damage import KINDS
from crucible_telemetry.stores.keeping import Word

T = TypeVar("T")
_GZIP: Final = 31
_GENERIC_ITEMS: Final = HEADER + 3
_MOST_NAMED: Final = 20
_shape: Final = tuple[str, list[str], list[str]]
_model: Final = tuple[str | None, str | None]
_TYPES: Final[dict[str, Any]] = {"shape": _shape, "model": _model, "error": str}
_items: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Archive:
    """An archive to read. What is damaged is gathered in `damaged`, and said by `check`."""

    def __init__(self, depot: Depot) -> None:
        self._depot, self.url = depot, depot.url
        self.damaged: list[str] = []
        self.manifest: Manifest
        self._sizes: list[int] = []

    async def open(self) -> Manifest:
        """Read and check the manifest; `UnreadableFile` when there is none, or it is no archive's."""
        data = await self._depot.get(contents.NAME, contents.MAX_MANIFEST_BYTES)
        if data is None:
            reason = (
                f"no archive is there: it has no {contents.NAME}, which is written last; what else lies"
                " there is of one that was cut off, and archiving to it again makes it whole"
            )
            raise UnreadableFile(self.url, None, reason)
        try:
            self.manifest = contents.read(data)
        except ValueError as error:
            raise UnreadableFile(self.url, None, str(error)) from error
        return self.manifest

    async def experiment(self) -> tuple[bytes, list[Word]]:
        """(record, words); `StoreDamaged` names all that is missing when they cannot be read."""
        (part,) = self.manifest.of("experiment")
        data = await self._data(part)
        if data is None:
            await self.verify(part for part in self.manifest.parts if part.kind != "experiment")
            self.check()
            raise AssertionError(part)
        record, words = self._parsed(part, lambda: _experiment(_unpacked(data)))
        self._sizes = [_GENERIC_ITEMS] + [
            HEADER + len(word.word[1]) + len(word.word[2]) for word in words if word.kind == "shape"
        ]
        return record, words

    async def trials(self) -> list[tuple[int, bytes]]:
        """(number, record) of all trials."""
        found: list[tuple[int, bytes]] = []
        for part in self.manifest.of("trials"):
            data = await self._data(part)
            if data is not None:
                found += self._parsed(part, partial(_trials, part, data))
        return found

    async def blocks(self) -> AsyncGenerator[Columns, None]:
        """The events in order, as far as they are whole; the others are in `damaged`."""
        for part in self.manifest.of("block"):
            data = await self._data(part)
            if data is not None and not self.damaged:
                yield await to_thread.run_sync(self._columns, part, data)
                headway("reading", (part.first + part.rows - 1) / max(self.manifest.events, 1))

    async def verify(self, parts: Any = None) -> None:
        """Read parts (default: the copies for people) for their hashes; of copies, damage is a warning."""
        chosen = list(parts or [p for p in self.manifest.parts if p.kind not in contents.NEEDED])
        for done, part in enumerate(chosen):
            headway("verifying", done / len(chosen))
            await self._data(part)

    def check(self) -> None:
        """`StoreDamaged` names what is missing, when something is."""
        if self.damaged:
            more = len(self.damaged) - _MOST_NAMED
            tail = f"; and {more} more" if more > 0 else ""
            raise StoreDamaged(self.url, "; ".join(self.damaged[:_MOST_NAMED]) + tail)

    async def _data(self, part: Part) -> bytes | None:
        """The file of a part, None when it is not there as it was."""
        try:
            data = await self._depot.get(part.path, contents.MAX_PACKED_BYTES)
        except UnreadableFile as error:
            data, reason = None, error.reason
        else:
            reason = "not there" if data is None else "not as it was written (SHA-256 differs)"
        if data is not None and hashlib.sha256(data).hexdigest() == part.sha256:
            return data
        told = f"{part.what}: {part.path}: {reason}"
        if part.kind in contents.NEEDED:
            self.damaged.append(told)
        else:
            log.warning("archive %s: the copy for people is damaged: %s", self.url, told)
        return None

    def _columns(self, part: Part, data: bytes) -> Columns:
        return self._parsed(part, lambda: _checked(part, decoded(_unpacked(data)), self._sizes))

    def _parsed(self, part: Part, work: Callable[[], T]) -> T:
        """What a part holds; `UnreadableFile` when it is what no archive of ours has."""
        try:
            return work()
        except RecursionError:
            reason = "nested too deep"
        except (ValueError, LookupError, TypeError, OverflowError, zlib.error, StoreError) as error:
            reason = getattr(error, "reason", None) or str(error)
        raise UnreadableFile(f"{self.url}/{part.path}", None, reason)


def _unpacked(data: bytes) -> bytes:
    """The content of a gzip file, within limits whatever it claims."""
    unpacker = zlib.decompressobj(_GZIP)
    found = unpacker.decompress(data, contents.MAX_UNPACKED_BYTES + 1)
    if len(found) > contents.MAX_UNPACKED_BYTES:
        raise ValueError(f"it unpacks to more than {contents.MAX_UNPACKED_BYTES:,} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is no whole gzip file")
    return found


def _experiment(data: bytes) -> tuple[bytes, list[Word]]:
    record, words = msgspec.msgpack.decode(data, type=tuple[bytes, list[Word]])
    last = dict.fromkeys(KINDS, 0)
    for word in words:
        last[word.kind] += 1
        if word.number != last[word.kind]:
            raise ValueError(f"its words of kind {word.kind} are not 1, 2, 3 …")
        msgspec.convert(word.word, _TYPES[word.kind])
    return record, words


def _trials(part: Part, data: bytes) -> list[tuple[int, bytes]]:
    found = msgspec.msgpack.decode(_unpacked(data), type=list[tuple[int, bytes]])
    if len(found) != part.rows:
        raise ValueError(f"{len(found)} trials, and {part.rows} are named")
    return found


def _checked(part: Part, columns: Columns, sizes: Sequence[int]) -> Columns:
    """Columns that are what the manifest says, and whose rows are those of their shapes."""
    if (columns.first_seq, len(columns)) != (part.first, part.rows):
        raise ValueError(
            f"it holds {len(columns)} events from {columns.first_seq} on: not {part.what}"
        )
    arrays = {name: getattr(columns, name) for name in DTYPES if getattr(columns, name) is not None}
    if any(array.shape != (part.rows,) for array in arrays.values()):
        raise ValueError("its columns are not of one length")
    offsets = columns.payload.offsets.astype(np.int64)
    if offsets[0] != 0 or (np.diff(offsets) < 1).any() or offsets[-1] != len(columns.payload.blob):
        raise ValueError("its rows are not whole")
    if columns.shape.max() >= len(sizes) or columns.outcome.max() > max(Outcome):
        raise ValueError("it has a shape or an outcome that nobody knows")
    _check_rows(columns, sizes)
    return columns


def _check_rows(columns: Columns, sizes: Sequence[int]) -> None:
    blob, offsets = columns.payload.blob, columns.payload.offsets.tolist()
    for at, shape in enumerate(columns.shape.tolist()):
        items = _items(blob[offsets[at] : offsets[at + 1]])
        if len(items) != sizes[shape]:
            raise ValueError(
                f"event {columns.first_seq + at} has {len(items)} items, not {sizes[shape]}"
            )
        if shape == GENERIC_SHAPE:
            msgspec.msgpack.decode(items[1], type=int)
