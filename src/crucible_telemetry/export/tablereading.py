"""Parquet and Arrow files that somebody hands us → rows by column, within limits of size.

The seal (`export.seals`) is verified as the file is read, and says which rows are damaged; of files without one,
Parquet's own checksums are. What pages and messages claim is looked at first (`export.pageheaders`), so that
memory stays at that of some pages. Columns hold plain values, or lists of texts; anything nested is refused.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crucible_telemetry.errors import UnreadableFile
from crucible_telemetry.export import pageheaders, seals
from crucible_telemetry.export.cells import json_value
from crucible_telemetry.export.columns import MAX_COLUMNS
from crucible_telemetry.export.opening import FREE_BYTES, MAX_RATIO
from crucible_telemetry.export.seals import Seal
from crucible_telemetry.runtime.headway import headway

Row = dict[str, Any]
MOST_ELEMENTS: Final = 200_000
"""Of the lists in a footer: columns times row groups."""
MAX_FOOTER_BYTES: Final = 32 * 2**20
PAGES_BYTES: Final = 80 * 2**20
"""Of one page of each column of a row group, together."""
_ROWS: Final = 512
_BATCH_BYTES: Final = 16 * 2**20
_HEADER_BYTES: Final = 64 * 2**10
_LISTED: Final = 2**22
_VALUE_BYTES: Final = 16
_ROW_BYTES: Final = 64
"""What a row counts at least towards what a file unpacks to."""
_ENCODINGS: Final = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 5: "DELTA_BINARY_PACKED",
                     6: "DELTA_LENGTH_BYTE_ARRAY", 8: "RLE_DICTIONARY", 9: "BYTE_STREAM_SPLIT"}  # fmt: skip
"""Page encodings whose values are no longer than what they are made of."""
KIND: Final = b"crucible.kind"


class TableFile:
    """A file of rows, opened; `seal` is None for one that another program wrote."""

    def __init__(self, path: Path, kind: str, file: IO[bytes]) -> None:
        self._path, self._kind, self._file = path, kind, file
        self._size = path.stat().st_size
        self._tail = len(seals.ENDS[kind]) + 4
        self._at = self._row = 0
        self._footer = self._footer_start()
        self._seal = self._sealed()

    def rows(self) -> Iterator[tuple[int, Row]]:
        """(number of the row, from 1; its values by column, those that are null left out)."""
        read = self._parquet if self._kind == "parquet" else self._arrow
        total = 0
        for batch in read():
            total += _logical_bytes(batch) + batch.num_rows * _ROW_BYTES
            self._check_ratio(total)
            yield from self._of_batch(batch)

    def _check_ratio(self, unpacked: int) -> None:
        if unpacked > FREE_BYTES and unpacked > MAX_RATIO * self._size:
            raise self._refused(
                f"it unpacks to more than {MAX_RATIO:,} times its size: no data does"
            )

    def _refused(self, reason: str, row: int | None = None) -> UnreadableFile:
        return UnreadableFile(str(self._path), row, reason)

    # -- what a file says of itself -----------------------------------------------------------

    def _bytes(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        return self._file.read(end - start)

    def _footer_start(self) -> int:
        tail = self._bytes(max(self._size - self._tail, 0), self._size)
        length = int.from_bytes(tail[:4], "little")
        start = self._size - self._tail - length
        if tail[4:] != seals.ENDS[self._kind] or start < 4:
            raise self._refused("it is cut off: its end is missing")
        if length > MAX_FOOTER_BYTES:
            raise self._refused(f"its footer has {length:,} bytes, more than {MAX_FOOTER_BYTES:,}")
        return start

    def _sealed(self) -> Seal | None:
        tail = self._bytes(self._footer - seals.TAIL, self._footer)
        if tail[4:] != seals.MAGIC:
            return None
        length = int.from_bytes(tail[:4], "little")
        start = self._footer - seals.TAIL - length
        if not start >= 0 or length > seals.MAX_SEAL_BYTES:
            raise self._refused("its seal is damaged")
        seal: Seal = self._parsed(
            partial(seals.read, self._bytes(start, self._footer - seals.TAIL))
        )
        if seals.digest(self._bytes(self._footer, self._size)) != seal.footer:
            raise self._refused("its footer is not as it was written (SHA-256 differs)")
        if not seal.stretches or seal.stretches[-1].end != start:
            raise self._refused("its seal is damaged")
        return seal

    def _parsed(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (ValueError, pa.ArrowException, OSError) as error:
            raise self._refused(" ".join(str(error).split())) from error

    def _check_mark(self, metadata: Any) -> None:
        if seals.MARK in (metadata or {}) and self._seal is None:
            raise self._refused("its seal is missing: the file was changed")

    def _check_to(self, number: int) -> None:
        """Verify the next stretch of the file, up to the `number`-th."""
        if self._seal is None:
            return
        if number >= len(self._seal.stretches):
            raise self._refused("it has other row groups than its seal")
        found = self._seal.stretches[number]
        if seals.digest(self._bytes(self._at, found.end)) != found.sha256:
            rows = f"rows {self._row + 1:,} to {self._row + found.rows:,}"
            what = rows if found.rows else f"bytes {self._at:,} to {found.end:,}"
            raise self._refused(f"{what} are not as they were written (SHA-256 differs)")
        self._at = found.end

    def _check_end(self, groups: int) -> None:
        self._check_to(groups)
        if self._seal is not None and len(self._seal.stretches) != groups + 1:
            raise self._refused("row groups are missing")

    # -- Parquet ------------------------------------------------------------------------------

    def _parquet(self) -> Iterator[Any]:
        footer = self._bytes(self._footer, self._size - self._tail)
        self._parsed(lambda: pageheaders.elements(footer, MOST_ELEMENTS))
        plain = self._parsed(partial(pq.ParquetFile, self._path, page_checksum_verification=True))
        self._check_mark(plain.metadata.metadata)
        self._check_ratio(plain.metadata.num_rows * _ROW_BYTES)
        with plain:
            self._check_columns(plain.schema_arrow)
            # Texts as dictionaries: what comes again takes no room again.
            texts = [f.name for f in plain.schema_arrow if f.type in (pa.string(), pa.binary())]
            file = pq.ParquetFile(
                self._path, metadata=plain.metadata, read_dictionary=texts, pre_buffer=False,
                buffer_size=2**20, page_checksum_verification=True,
            )  # fmt: skip
            with file:
                for group in range(file.num_row_groups):
                    self._check_to(group)
                    self._parsed(partial(self._check_pages, file, group))
                    yield from self._batches_of(file, group)
                    headway("reading", (group + 1) / file.num_row_groups)
                self._check_end(file.num_row_groups)

    def _batches_of(self, file: Any, group: int) -> Iterator[Any]:
        batches = file.iter_batches(_ROWS, row_groups=[group], use_threads=False)
        rows = 0
        while (batch := self._parsed(lambda: next(batches, None))) is not None:
            rows += batch.num_rows
            yield batch
        if rows != file.metadata.row_group(group).num_rows:
            raise self._refused(f"row group {group + 1} is not whole: {rows:,} rows")

    def _check_pages(self, file: Any, group: int) -> None:
        """ValueError for pages that ask for more room than there is."""
        needed, columns = 0, file.metadata.row_group(group)
        for number in range(columns.num_columns):
            nested = file.schema.column(number).max_repetition_level > 0
            needed += self._largest_page(columns.column(number), nested=nested)
            if needed > PAGES_BYTES:
                raise ValueError(
                    f"its pages unpack to more than {PAGES_BYTES:,} bytes at once: no file of events does"
                )

    def _largest_page(self, column: Any, *, nested: bool) -> int:
        start = column.data_page_offset
        if column.has_dictionary_page and column.dictionary_page_offset:
            start = min(start, column.dictionary_page_offset)
        end = start + column.total_compressed_size
        if not 0 < start <= end <= self._footer:
            raise ValueError(f"column {column.path_in_schema!r} lies outside of the file")
        largest = dictionary = 0
        while start < end:
            page = pageheaders.page(self._bytes(start, min(start + _HEADER_BYTES, end)))
            if page.encoding not in _ENCODINGS:
                raise ValueError(
                    f"column {column.path_in_schema!r} has an encoding that is not read here"
                )
            if nested and page.values > _LISTED:
                raise ValueError(f"column {column.path_in_schema!r} has lists without end")
            size = page.unpacked + (_VALUE_BYTES * page.values if page.is_dictionary else 0)
            dictionary += size if page.is_dictionary else 0
            largest = max(largest, 0 if page.is_dictionary else size)
            start += page.header + page.packed
        return largest + dictionary

    # -- Arrow --------------------------------------------------------------------------------

    def _arrow(self) -> Iterator[Any]:
        with pa.memory_map(str(self._path)) as source:
            source.seek(8)
            messages = pa.ipc.MessageReader.open_stream(source)
            schema = self._parsed(lambda: pa.ipc.read_schema(messages.read_next_message()))
            self._check_mark(schema.metadata)
            self._check_columns(schema)
            number = 0
            while (message := self._parsed(lambda: next(messages, None))) is not None:
                self._check_to(number)
                yield self._parsed(partial(_plain_batch, message, schema))
                number += 1
                headway("reading", source.tell() / self._size)
            self._check_end(number)

    # -- rows ---------------------------------------------------------------------------------

    def _check_columns(self, schema: Any) -> None:
        if len(schema) > 2 * MAX_COLUMNS:
            raise self._refused(f"{len(schema):,} columns are too many")
        if len(set(schema.names)) < len(schema):
            raise self._refused("a column comes twice")
        for field in schema:
            if not _is_read(field.type):
                raise self._refused(
                    f"column {field.name!r} holds {field.type}: no column of events does"
                )

    def _of_batch(self, batch: Any) -> Iterator[tuple[int, Row]]:
        """The rows of a batch, as many at a time as have room."""
        for start in range(0, batch.num_rows, _ROWS):
            yield from self._of_some(batch.slice(start, _ROWS))

    def _of_some(self, batch: Any) -> Iterator[tuple[int, Row]]:
        size, half = _logical_bytes(batch), batch.num_rows // 2
        if size > _BATCH_BYTES and half:
            yield from self._of_some(batch.slice(0, half))
            yield from self._of_some(batch.slice(half))
            return
        if size > FREE_BYTES:
            raise self._refused(f"a row of more than {FREE_BYTES:,} bytes", self._row + 1)
        names = batch.schema.names
        columns = [self._values(field, batch.column(i)) for i, field in enumerate(batch.schema)]
        for row in zip(*columns, strict=True):
            self._row += 1
            yield self._row, {n: v for n, v in zip(names, row, strict=True) if v is not None}

    def _values(self, field: Any, column: Any) -> list[Any]:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        values: list[Any] = self._parsed(column.to_pylist)
        if (field.metadata or {}).get(KIND) == b"json":
            try:
                return [None if value is None else json_value(value) for value in values]
            except (ValueError, RecursionError, TypeError) as error:
                raise self._refused(f"column {field.name!r}: {error}", self._row + 1) from error
        return values


def _plain_batch(message: Any, schema: Any) -> Any:
    if message.type != "record batch":
        raise ValueError(f"it has a {message.type} where its rows should be")
    if not pageheaders.is_plain_batch(message.metadata.to_pybytes()):
        raise ValueError("its batches are compressed, which is not read here")
    batch = pa.ipc.read_record_batch(message, schema)
    batch.validate(full=True)  # offsets too: somebody else wrote them
    return batch


def _is_text(of: Any) -> bool:
    return bool(pa.types.is_string(of) or pa.types.is_large_string(of))


def _is_read(of: Any) -> bool:
    """Whether values of an Arrow type may be those of an event."""
    if pa.types.is_list(of):
        return _is_text(of.value_type)
    if pa.types.is_dictionary(of):
        return _is_text(of.value_type)
    numbers = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    return _is_text(of) or pa.types.is_binary(of) or any(one(of) for one in numbers)


def _logical_bytes(batch: Any) -> int:
    """The size of all values, those that a dictionary holds once counted each time."""
    return sum(map(_size, batch.columns))


def _size(column: Any) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    return int(pc.sum(pc.binary_length(column.dictionary).take(column.indices)).as_py() or 0)
