"""Parquet and Arrow files of tables, a group of rows at a time, written in threads.

Parquet pages carry checksums (CRC-32), for other readers; all of a file is sealed (`export.seals`). Columns
whose values hardly come again are written without a dictionary; texts that come as dictionaries are written as
they are, and are plain texts to who reads the file.
"""

import base64
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from anyio import CancelScope, to_thread

from crucible_telemetry.export.seals import MARK, Sealing
from crucible_telemetry.export.tables import Table

COMPRESSION: Final = "zstd"
_SAMPLE: Final = 1024
_RISING: Final = frozenset({"seq", "timestamp_us"})
_DELTA: Final = "DELTA_BINARY_PACKED"


async def file_of(kind: str, table: Table) -> AsyncGenerator[bytes, None]:
    """The bytes of a ``"parquet"`` or ``"arrow"`` file of a table."""
    chunks, one = _chunks(kind, table), threading.Lock()

    def made() -> bytes | None:
        with one:
            return next(chunks, None)

    def ended() -> None:
        with one:  # after Ctrl-C a thread goes on that nobody waits for
            chunks.close()

    try:
        while (chunk := await to_thread.run_sync(made)) is not None:
            yield chunk
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(ended)


def _chunks(kind: str, table: Table) -> Generator[bytes, None, None]:
    sink, sealing = _Sink(), Sealing(kind)
    batches = table.batches(table.coded if kind == "parquet" else table.schema)
    batch = next(batches, None)
    writer = _writer(kind, table, batch, sink)
    try:
        while batch is not None:
            writer.write_batch(batch)
            yield sealing.stretch(sink.taken(), batch.num_rows)
            batch = next(batches, None)
    finally:
        writer.close()
    yield sealing.end(sink.taken())


def _writer(kind: str, table: Table, first: Any, sink: "_Sink") -> Any:
    file = pa.PythonFile(sink, "w")
    marked = table.schema.with_metadata({MARK: b"sha256"})
    if kind == "arrow":
        return pa.ipc.new_file(file, marked)
    repeating = [] if first is None else _repeating(first)
    writer = pq.ParquetWriter(
        file,
        table.coded,
        compression=COMPRESSION,
        write_page_checksum=True,
        store_schema=False,
        use_dictionary=repeating,
        column_encoding=dict.fromkeys(_RISING & set(table.coded.names) - set(repeating), _DELTA),
    )
    # Arrow's own schema of the file, from which pyarrow takes types and kinds: that without dictionaries.
    schema = base64.b64encode(marked.serialize().to_pybytes()).decode()
    writer.add_key_value_metadata({"ARROW:schema": schema, MARK.decode(): "sha256"})
    return writer


def _repeating(batch: Any) -> list[str]:
    """Columns worth a dictionary, by their first values."""
    return [
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if pa.types.is_dictionary(column.type) or _comes_again(column.slice(0, _SAMPLE))
    ]


def _comes_again(column: Any) -> bool:
    if pa.types.is_list(column.type):
        column = column.flatten()
    return bool(2 * len(column.unique()) <= len(column))


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
