"""Events as Arrow: record batches made of columns, and the Parquet and Arrow files they fill.

A slice of events becomes a batch a column at a time, no event is made. Batches are gathered into row groups
(`GROUP_ROWS`, `GROUP_BYTES`), which a thread compresses and writes, so memory stays flat and the loop goes on.
Parquet pages carry checksums (CRC-32), which `export.parquet` verifies when it reads.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from anyio import to_thread

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.columns import RANK_SHIFT, RANKS
from crucible_telemetry.export.cells import json_text
from crucible_telemetry.export.columns import FLAGS, OF_EVENT, RANK
from crucible_telemetry.export.flat import BOXES, flat_columns
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.export.words import utf8

GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = 32 * 2**20
COMPRESSION: Final = "zstd"
KIND: Final = b"crucible.kind"
"""Key of a column's metadata: its kind, see `export.kinds`."""
_NONE: Final = repeat(None)
_SAME_ROWS: Final = 4096
_MOST_SAME: Final = 256
_OWN: Final = frozenset((*OF_EVENT, *BOXES))


def arrow() -> Any:
    """The pyarrow package; `ConfigurationError` names the extra that is missing."""
    try:
        import pyarrow as package  # noqa: PLC0415 - optional, and asked for now
    except ImportError:
        raise ConfigurationError(
            "format",
            "Arrow and Parquet need the package pyarrow: pip install 'crucible-telemetry[parquet]'",
        ) from None
    return package


class Batches:
    """Makes record batches of slices, with these columns of these kinds (see `export.kinds`)."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._pa = pa = arrow()
        self._types = {
            "bool": pa.bool_(), "int": pa.int64(), "uint": pa.uint64(), "float": pa.float64(),
            "text": pa.string(), "bytes": pa.binary(), "texts": pa.list_(pa.string()), "json": pa.string(),
        }  # fmt: skip
        self._kinds = dict(kinds)
        self._same: dict[tuple[str, str], Any] = {}
        self._own = [name for name in kinds if name in _OWN]
        self._flags = {name: bit for name, bit in FLAGS.items() if name in kinds}
        self._others = frozenset(kinds) - _OWN - set(FLAGS) - {RANK}
        self.schema = pa.schema(
            [
                pa.field(name, self._types[kind], metadata={KIND: kind.encode()})
                for name, kind in kinds.items()
            ]
        )

    def batch(self, some: Slice) -> Any:
        """The events of a slice as a record batch: those of each shape as columns, brought together in order."""
        shapes = np.unique(some.columns.shape[some.rows]).tolist()
        groups = [some.of_shape(shape) for shape in shapes]
        found = [self._values(shape, part) for shape, (_, part) in zip(shapes, groups, strict=True)]
        back = np.argsort(np.concatenate([at for at, _ in groups])) if len(groups) > 1 else None
        counts = [len(at) for at, _ in groups]
        arrays = {
            name: self._joined(name, [one.get(name, _NONE) for one in found], counts, back)
            for name in dict.fromkeys(name for one in found for name in one)
        }
        return self._batch(arrays | self._counted(some.columns.flags[some.rows]), len(some.rows))

    def _values(self, shape: int, some: Slice) -> dict[str, Iterable[Any]]:
        """The values of rows of one shape by column: one for each row, or one for ever."""
        rows, given = some.told()
        found = {name: given[name] for name in self._own}
        if self._others:
            read = flat_columns(shape, rows)
            found |= {name: values for name, values in read if name in self._others}
        return found

    def _joined(
        self, name: str, pieces: list[Iterable[Any]], counts: list[int], back: Any | None
    ) -> Any:
        """The values of all shapes as one array, in the order of the slice."""
        shared = [repr(piece) for piece in pieces if isinstance(piece, repeat)]
        if len(shared) == len(pieces) and len(set(shared)) == 1:
            return self._repeated(name, pieces[0], sum(counts))
        arrays = [
            self._array(name, piece, count) for piece, count in zip(pieces, counts, strict=True)
        ]
        return arrays[0] if back is None else self._pa.concat_arrays(arrays).take(back)

    def _type(self, name: str) -> Any:
        return self._types[self._kinds[name]]

    def of_rows(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Rows by column, as transformers make them, as a record batch."""
        found = {name: [row.get(name) for row in rows] for name in self._kinds}
        arrays = {name: self._array(name, values, len(rows)) for name, values in found.items()}
        return self._batch(arrays, len(rows))

    def _batch(self, arrays: Mapping[str, Any], count: int) -> Any:
        columns = [
            arrays[name] if name in arrays else self._pa.nulls(count, self._types[kind])
            for name, kind in self._kinds.items()
        ]
        return self._pa.record_batch(columns, schema=self.schema)

    def _counted(self, flags: Any) -> dict[str, Any]:
        """What the events count as; null where it does not hold, as in the other formats."""
        found = {}
        for name, bit in self._flags.items():
            holds = (flags & bit) != 0
            found[name] = self._pa.array(holds, mask=~holds)
        if RANK in self._kinds:
            ranks = ((flags & RANKS) >> RANK_SHIFT).astype(np.int64)
            found[RANK] = self._pa.array(ranks, mask=ranks == 0)
        return found

    def _array(self, name: str, values: Iterable[Any], count: int) -> Any:
        kind = self._kinds[name]
        to = self._types[kind]
        if isinstance(values, repeat):
            return self._repeated(name, values, count)
        listed = values if isinstance(values, list | tuple) else list(values)
        if kind == "json":
            listed = [None if value is None else json_text(value) for value in listed]
        try:
            return self._pa.array(listed, to)
        except UnicodeEncodeError:  # names, tags and items are as users gave them
            return self._pa.array([None if v is None else utf8(v) for v in listed], to)
        except (OverflowError, self._pa.ArrowInvalid):
            # `repeat` or `attempt` as a huge integer: it stands in metadata.repeat as it was.
            return self._pa.array([v if v is None or abs(v) < 2**63 else None for v in listed], to)

    def _repeated(self, name: str, values: Iterable[Any], count: int) -> Any:
        """One value for all rows: a piece of an array that is made once."""
        key = (name, repr(values))
        known = self._same.get(key)
        if known is None or len(known) < count:
            if len(self._same) >= _MOST_SAME:
                self._same.clear()
            known = self._same[key] = self._one(name, next(iter(values)), max(count, _SAME_ROWS))
        return known.slice(0, count)

    def _one(self, name: str, value: Any, count: int) -> Any:
        if value is None:
            return self._pa.nulls(count, self._type(name))
        if self._kinds[name] == "json":
            value = json_text(value)
        if isinstance(value, str):
            value = utf8(value)
        if isinstance(value, tuple):
            value = [utf8(one) for one in value]
        return self._pa.repeat(self._pa.scalar(value, self._type(name)), count)


async def file_of(
    kind: str, schema: Any, batches: AsyncIterator[Any]
) -> AsyncGenerator[bytes, None]:
    """The bytes of a ``"parquet"`` or ``"arrow"`` file of these batches."""
    sink = _Sink()
    writer = _writer(kind, schema, sink)
    try:
        async for table in _groups(schema, batches):
            await to_thread.run_sync(_write, writer, table)
            yield sink.taken()
    finally:
        writer.close()
    yield sink.taken()


def _write(writer: Any, table: Any) -> None:
    writer.write_table(table.combine_chunks())


async def _groups(schema: Any, batches: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """Batches as tables that are large enough for a row group."""
    held: list[Any] = []
    rows = size = 0
    async for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield arrow().Table.from_batches(held, schema)
            held, rows, size = [], 0, 0
    if held:
        yield arrow().Table.from_batches(held, schema)


def _writer(kind: str, schema: Any, sink: "_Sink") -> Any:
    pa = arrow()
    if kind == "arrow":
        return pa.ipc.new_file(pa.PythonFile(sink, "w"), schema)
    import pyarrow.parquet as pq  # noqa: PLC0415 - optional, and asked for now

    return pq.ParquetWriter(
        pa.PythonFile(sink, "w"), schema, compression=COMPRESSION, write_page_checksum=True
    )


class _Sink:
    """A file to write to that hands out what was written."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._at = 0

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """There is nothing to close."""

    def taken(self) -> bytes:
        found, self._pieces = b"".join(self._pieces), []
        return found
