"""What the headers of Parquet pages and Arrow messages claim, read before anything is unpacked. PURE.

pyarrow takes whatever room a header asks for; a file of some kilobytes may ask for gigabytes. Formats: Thrift's
compact protocol (apache/thrift, "thrift-compact-protocol"), `parquet.thrift` (PageHeader), FlatBuffers'
"internals", Arrow's `Message.fbs`.
"""

import struct
from typing import Any, Final, NamedTuple

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _, _STRUCT = range(13)
_MOST_DEEP: Final = 16


class Page(NamedTuple):
    """One page: sizes of its content in bytes, and how many values of which encoding it holds."""

    is_dictionary: bool
    unpacked: int
    packed: int
    values: int
    encoding: int
    header: int
    """The size of its header."""


def page(data: bytes) -> Page:
    """The header at the beginning of these bytes; ValueError for what is none."""
    thrift = _Thrift(data)
    try:
        found = thrift.read(_STRUCT)
        inner = found.get(5) or found.get(7) or found.get(8) or {}
        encoding = inner.get(4 if 8 in found else 2, 0)
        sizes = int(found[2]), int(found[3]), int(inner.get(1, 0))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("a page has no header") from error
    if min(sizes) < 0:
        raise ValueError("a page has less than nothing in it")
    return Page(7 in found, *sizes, encoding, thrift.at)


def elements(data: bytes, most: int) -> None:
    """ValueError when the lists of a footer have more than so many elements: each becomes hundreds of bytes."""
    thrift = _Thrift(data, most)
    thrift.read(_STRUCT)


class _Thrift:
    """Values of the compact protocol, one after the other; of lists and texts only the size is looked at."""

    def __init__(self, data: bytes, most_elements: int = 0) -> None:
        self._data, self.at = data, 0
        self._deep, self._room = 0, most_elements

    def read(self, kind: int) -> Any:
        """A value of a kind; None for one that is no number."""
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            number = self._varint()
            return number >> 1 ^ -(number & 1)
        return self._struct() if kind == _STRUCT else self._skipped(kind)

    def _skipped(self, kind: int) -> None:
        if kind == _DOUBLE:
            self._skip(8)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind in (_LIST, _SET):
            self._list()
        else:
            raise ValueError("a header has a field of an unknown kind")

    def _list(self) -> None:
        head = self._byte()
        count, kind = head >> 4, head & 15
        count = self._varint() if count == 15 else count
        self._room -= count
        if self._room < 0:
            raise ValueError("it has more columns and row groups than any file of events")
        for _ in range(count):
            self._byte() if kind in (_TRUE, _FALSE) else self.read(kind)

    def _struct(self) -> dict[int, Any]:
        self._deep += 1
        if self._deep > _MOST_DEEP:
            raise ValueError("a header is nested too deep")
        found: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self.read(_I16)
            found[number] = self.read(head & 15)
        self._deep -= 1
        return found

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
            if shift > 63:
                raise ValueError("a header has a number of more than 64 bits")

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._data):
            raise ValueError("a header is cut off, or too long")


def is_plain_batch(message: bytes) -> bool:
    """Whether a record batch, by the metadata of its Arrow message, is not compressed."""
    try:
        (root,) = struct.unpack_from("<I", message)
        header = _field(message, root, 2)
        if header is None:
            return False
        batch = header + struct.unpack_from("<I", message, header)[0]
        return _field(message, batch, 3) is None
    except (struct.error, IndexError) as error:
        raise ValueError("a message has no header") from error


def _field(data: bytes, table: int, index: int) -> int | None:
    """Where a field of a FlatBuffers table is; None where it has its default."""
    (back,) = struct.unpack_from("<i", data, table)
    names = table - back
    (size,) = struct.unpack_from("<H", data, names)
    if 4 + 2 * index >= size:
        return None
    (offset,) = struct.unpack_from("<H", data, names + 4 + 2 * index)
    return table + offset if offset else None
