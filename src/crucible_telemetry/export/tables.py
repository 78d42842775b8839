"""Events as Arrow: what columns there are and what they hold, the batches they make, and files of them.

All slices are taken in first, for what a column holds is known at the last event; each is decoded once
(`export.pieces`). A group of rows becomes arrays and waits, beyond `WAITING_BYTES` in a file without a name, so memory
stays flat; then the groups are brought to the kinds that all have in common, and are the row groups of the file.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from anyio import to_thread

from crucible_telemetry.export.columns import EXACT, FIXED, Union
from crucible_telemetry.export.flat import types_of
from crucible_telemetry.export.kinds import DECLARED, Held
from crucible_telemetry.export.pieces import TYPES, Cutter, Piece, Rows, as_kind, piece_of
from crucible_telemetry.export.stored import TEXT, WORDS, stored, together
from crucible_telemetry.export.walk import Slice
from crucible_telemetry.garbage import uncollected

T = TypeVar("T")
GROUP_ROWS: Final = 65_536
GROUP_BYTES: Final = 32 * 2**20
"""Of events as they are stored, in one group."""
WAITING_BYTES: Final = 64 * 2**20
SLICE: Final = 2048
"""Events taken in at once: 1–2 ms."""
KIND: Final = b"crucible.kind"
"""Key of a column's metadata: its kind, see `export.kinds`."""
_CODED: Final = pa.dictionary(pa.int32(), TEXT)


class Group(NamedTuple):
    """Some thousand rows by column; what none of them has is left out."""

    rows: int
    columns: dict[str, Piece]


class Gathering:
    """Takes in slices, or rows that were made of them; `union` learns the names of all columns.

    `wanted`: the columns to make arrays of, None for all. `aside`: work on groups in threads.
    """

    def __init__(
        self,
        union: Union,
        wanted: Collection[str] | None = None,
        *,
        waiting_bytes: int = WAITING_BYTES,
        aside: bool = True,
    ) -> None:
        self._union, self._wanted = union, None if wanted is None else frozenset(wanted)
        self._fixed = (
            frozenset((*FIXED, EXACT)) if self._wanted is None else self._wanted.intersection(FIXED)
        )
        self._cutter = Cutter(self._wanted)
        self._waiting = Waiting(waiting_bytes)
        self._aside = aside
        self._held: dict[str, Held] = {}
        self._begin()

    def _begin(self) -> None:
        self._parts: list[Rows] = []
        self._slices: list[Slice] = []
        self._rows = self._bytes = 0

    async def add(self, some: Slice) -> None:
        """Take in a slice."""
        if self._slices and self._slices[-1].reader is not some.reader:
            await self.settle()
        self._take(some)
        await self._grew(len(some.rows), some.payload_bytes)

    @uncollected
    def _take(self, some: Slice) -> None:
        for part in self._cutter.cut(some, self._rows):
            self._union.add_names(part.names)
            self._parts.append(part)
        self._slices.append(some)
        self._union.events += len(some.rows)

    async def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in rows by column, as transformers make them."""
        names = dict.fromkeys(name for row in rows for name in row)
        self._union.made |= names
        wanted = [name for name in names if self._wanted is None or name in self._wanted]
        columns = {name: [row.get(name) for row in rows] for name in wanted}
        pieces = {name: piece_of(values, types_of(values)) for name, values in columns.items()}
        at = np.arange(self._rows, self._rows + len(rows))
        self._parts.append(Rows(at, [], pieces))
        await self._grew(len(rows), sum(piece.array.nbytes for piece in pieces.values()))

    async def _grew(self, rows: int, size: int) -> None:
        self._rows, self._bytes = self._rows + rows, self._bytes + size
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            await self.settle()

    async def settle(self) -> None:
        """What was taken in becomes a group."""
        if self._rows:
            work = partial(_group, self._slices, self._parts, self._rows, self._fixed)
            group = await self._run(work)
            if EXACT in group.columns:
                self._union.add_names([EXACT])
            for name, piece in group.columns.items():
                self._held[name] = self._held.get(name, Held()) | piece.held
            await self._run(partial(self._waiting.add, group))
            self._begin()

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work) if self._aside else work()

    async def table(self, names: Sequence[str]) -> "Table":
        """Everything as one table of these columns; fields of every event have the kinds they are declared to be."""
        await self.settle()
        kinds = {}
        for name in names:
            seen = self._held.get(name, Held())
            kinds[name] = DECLARED.get(name, "text") if seen == Held() else seen.final
        return Table(kinds, self._waiting)

    def close(self) -> None:
        """Let everything go."""
        self._waiting.close()


def _group(
    slices: Sequence[Slice], parts: Sequence[Rows], rows: int, fixed: frozenset[str]
) -> Group:
    """Rows as arrays in their order: what columns tell, and what was read."""
    found = {}
    if slices:
        places = [(one.columns, one.rows) for one in slices]
        seqs = np.concatenate([slices[0].reader.seqs(*place) for place in places])
        told = stored(slices[0].reader, together(places), seqs, fixed)
        found = {
            name: Piece(array, Held(DECLARED.get(name, "json"))) for name, array in told.items()
        }
    joining = _Joining(parts, rows)
    for name in dict.fromkeys(name for part in parts for name in part.pieces):
        piece = joining.joined(name)
        found[name] = _over(piece, found[name]) if name in found else piece
    return Group(rows, found)


def _over(piece: Piece, told: Piece) -> Piece:
    """Names and ids as rows carry them, else as the columns tell them."""
    array = told.array
    if not pa.types.is_dictionary(array.type):
        return Piece(pc.coalesce(piece.array.cast(array.type), array), told.held)
    return Piece(pc.coalesce(piece.array, array.dictionary_decode()).dictionary_encode(), told.held)


class _Joining:
    """Brings pieces of rows together in the order of their group."""

    def __init__(self, parts: Sequence[Rows], rows: int) -> None:
        self._parts, self._rows = parts, rows
        self._orders: dict[tuple[int, ...], Any] = {}
        self._made: dict[tuple[int, ...], Piece] = {}

    def joined(self, name: str) -> Piece:
        """A column of all rows; null in those that do not have it."""
        having = tuple(i for i, part in enumerate(self._parts) if name in part.pieces)
        pieces = [self._parts[i].pieces[name] for i in having]
        same = tuple(map(id, pieces))
        if same not in self._made:
            self._made[same] = self._join(having, pieces)
        return self._made[same]

    def _join(self, having: tuple[int, ...], pieces: Sequence[Piece]) -> Piece:
        held = Held()
        for piece in pieces:
            held |= piece.held
        arrays = [as_kind(array, one.kind, held.kind) for array, one in pieces]
        order = self._order(having)
        array = pa.concat_arrays(arrays)
        return Piece(array if order is None else array.take(order), held)

    def _order(self, having: tuple[int, ...]) -> Any | None:
        """Where each row's value is among those of the parts that have any; None when it is there already."""
        if having not in self._orders:
            at = np.concatenate([self._parts[i].at for i in having])
            places = np.full(self._rows, -1)
            places[at] = np.arange(len(at))
            sorted_ = len(at) == self._rows and bool((at == np.arange(len(at))).all())
            self._orders[having] = None if sorted_ else pa.array(places, mask=places < 0)
        return self._orders[having]


class Waiting:
    """Groups that wait until all have come: so many bytes of them in memory, the others in a file without a name."""

    def __init__(self, most_bytes: int) -> None:
        self._room = most_bytes
        self._groups: list[Group | tuple[int, dict[str, Held]]] = []
        self._file: Any = None

    def add(self, group: Group) -> None:
        """Take one more."""
        self._room -= sum(piece.array.nbytes for piece in group.columns.values())
        self._groups.append(group if self._room >= 0 or not group.columns else self._put(group))

    def _put(self, group: Group) -> tuple[int, dict[str, Held]]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="crucible-")  # noqa: SIM115 - until `close`
        start = self._file.seek(0, 2)
        arrays = [piece.array for piece in group.columns.values()]
        batch = pa.record_batch(arrays, names=list(group.columns))
        with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), batch.schema) as writer:
            writer.write_batch(batch)
        return start, {name: piece.held for name, piece in group.columns.items()}

    def __iter__(self) -> Iterator[Group]:
        """All of them, in order, once: each is let go."""
        for at, group in enumerate(self._groups):
            self._groups[at] = Group(0, {})
            yield group if isinstance(group, Group) else self._got(*group)

    def _got(self, start: int, held: dict[str, Held]) -> Group:
        self._file.seek(start)
        batch = pa.ipc.open_stream(pa.PythonFile(self._file, "r")).read_next_batch()
        columns = zip(batch.columns, held.values(), strict=True)
        return Group(batch.num_rows, dict(zip(held, (Piece(*one) for one in columns), strict=True)))

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()


class Table:
    """Groups that all have come: batches of one schema."""

    def __init__(self, kinds: Mapping[str, str], groups: Waiting) -> None:
        self._kinds, self._groups = dict(kinds), groups
        self._absent: dict[Any, Any] = {}
        self.schema = pa.schema(
            [
                pa.field(name, TYPES[kind], metadata={KIND: kind.encode()})
                for name, kind in kinds.items()
            ]
        )
        self.coded = pa.schema(
            [
                pa.field(name, _CODED if name in WORDS and kind == "text" else TYPES[kind])
                for name, kind in kinds.items()
            ]
        )
        """The same with the texts that are the same in many events as dictionaries."""

    def arrow(self) -> Any:
        """Everything as a `pyarrow.Table`."""
        return pa.Table.from_batches(self.batches(self.schema), self.schema)

    def batches(self, schema: Any) -> Iterator[Any]:
        """All rows, once, as record batches of `schema` or `coded`."""
        for rows, columns in self._groups:
            arrays = [
                self._array(columns.get(field.name), field.name, field.type, rows)
                for field in schema
            ]
            yield pa.record_batch(arrays, schema=schema)

    def _array(self, piece: Piece | None, name: str, of: Any, rows: int) -> Any:
        if piece is None:
            return self._nulls(rows, of)
        array = piece.array
        if pa.types.is_dictionary(array.type):
            return array if of == _CODED else array.dictionary_decode()
        array = as_kind(array, piece.held.kind, self._kinds[name])
        return array.dictionary_encode() if of == _CODED else array

    def _nulls(self, rows: int, of: Any) -> Any:
        """Nulls of a type: a piece of an array that is made once."""
        known = self._absent.get(of)
        if known is None or len(known) < rows:
            known = self._absent[of] = pa.nulls(rows, of)
        return known.slice(0, rows)
