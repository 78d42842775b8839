"""The tables of a SQLite keep: their rows, written and read again, each sealed (`seals.py`)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import apsw
import msgspec

from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores.blocks import BlockInfo, encoded, info_of
from crucible_telemetry.stores.keeping import (
    ExperimentChange,
    KeptExperiment,
    Mark,
    RecordHead,
    Tip,
    Word,
)
from crucible_telemetry.stores.seals import sealed, unsealed

_INDEXED: Final = ("INDEXED BY blocks_by_seq", "NOT INDEXED")
"""How the entries of blocks are read: from their index, and where that is damaged from the table."""


# -- writing ------------------------------------------------------------------------------------


def write_record(connection: apsw.Connection, one: str, record: bytes) -> None:
    """A record, of a new experiment or in the place of the one before."""
    head = msgspec.msgpack.decode(record, type=RecordHead)
    connection.execute(
        "INSERT INTO experiments (id, name, state, started_us, record) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET state = excluded.state, record = excluded.record",
        (one, head.name, head.state, head.started_us, sealed(record, "record", one)),
    )


def is_anothers(connection: apsw.Connection, one: str, record: bytes) -> bool:
    """Whether the record that is there is of another lab than this one: it has gone on with the experiment."""
    there: Any = connection.execute("SELECT record FROM experiments WHERE id = ?", (one,)).get
    before = unsealed(there, "record", one)
    return before is not None and _owner(before) != _owner(record)


def _owner(record: bytes) -> str:
    return msgspec.msgpack.decode(record, type=RecordHead).owner.lab


def replace_record(connection: apsw.Connection, one: str, before: bytes, record: bytes) -> None:
    """A record in the place of `before`, if that is what is there."""
    state = msgspec.msgpack.decode(record, type=RecordHead).state
    connection.execute(
        "UPDATE experiments SET state = ?, record = ? WHERE id = ? AND record = ?",
        (state, sealed(record, "record", one), one, sealed(before, "record", one)),
    )


def write_small(connection: apsw.Connection, one: ExperimentChange) -> None:
    """What a change has beside events."""
    pack = msgspec.msgpack.encode
    if one.record is not None:
        write_record(connection, one.id, one.record)
    if one.tip is not None:
        tip = sealed(pack(one.tip), "tip", one.id)
        connection.execute("UPDATE experiments SET tip = ? WHERE id = ?", (tip, one.id))
    connection.executemany(
        "INSERT OR REPLACE INTO words VALUES (?, ?, ?, ?)",
        [
            (one.id, w.kind, w.number, sealed(pack(w.word), "word", one.id, w.kind, w.number))
            for w in one.words
        ],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO trials VALUES (?, ?, ?)",
        [
            (one.id, number, sealed(record, "trial", one.id, number))
            for number, record in one.trials
        ],
    )
    if one.forget_rollups:
        connection.execute("DELETE FROM rollups WHERE experiment = ?", (one.id,))
    connection.executemany(
        "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?)",
        [
            (
                one.id,
                r.level_s,
                r.start_us,
                sealed(r.cells, "rollup", one.id, r.level_s, r.start_us),
            )
            for r in one.rollups
        ],
    )


def write_block(connection: apsw.Connection, one: str, columns: Columns) -> BlockInfo:
    """Events in the place of the blocks that they cover."""
    block = encoded(columns)
    info = info_of(columns, block)
    entry = (one, info.first_seq, info.rows, info.min_us, info.max_us)
    connection.execute(
        "DELETE FROM blocks WHERE experiment = ? AND first_seq BETWEEN ? AND ?",
        (one, info.first_seq, info.last_seq),
    )
    connection.execute(
        "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*entry, sealed(info.digest, "block", *entry), block),
    )
    return info


def numbers_of(connection: apsw.Connection, ids: Iterable[str]) -> dict[str, int]:
    """The rows of experiments, by id."""
    found = {}
    for one in ids:
        number = connection.execute("SELECT number FROM experiments WHERE id = ?", (one,)).get
        if number is not None:
            found[one] = int(number)
    return found


# -- reading ------------------------------------------------------------------------------------


def all_kept(connection: apsw.Connection, marks: Mapping[str, Mark]) -> list[KeptExperiment]:
    """The experiments in the order they were started."""
    # As bytes: an id that is no text any more hides no other.
    query = "SELECT CAST(id AS BLOB), record, tip FROM experiments NOT INDEXED ORDER BY number"
    rows: list[Any] = connection.execute(query).fetchall()
    found = {(one or b"").decode("utf-8", "surrogateescape"): rest for one, *rest in rows}
    return [_kept(connection, one, marks.get(one), *rest) for one, rest in found.items()]


def kept_one(connection: apsw.Connection, one: str, mark: Mark | None) -> KeptExperiment:
    """One experiment, as it is now."""
    query = "SELECT record, tip FROM experiments WHERE id = ?"
    record, tip = connection.execute(query, (one,)).fetchone() or (None, None)
    return _kept(connection, one, mark, record, tip)


def whole(connection: apsw.Connection) -> str | None:
    """What SQLite finds wrong with the table of experiments, which is small; None: nothing."""
    found = connection.execute("PRAGMA integrity_check(experiments)").fetchall()
    return None if found == [("ok",)] else "; ".join(str(row[0]) for row in found)


def _kept(
    connection: apsw.Connection, one: str, mark: Mark | None, record: object, tip: object
) -> KeptExperiment:
    """What can be read of an experiment, and in words what cannot."""
    flaws: list[str] = []
    there, end = unsealed(record, "record", one), _tip(flaws, tip, one)
    if there is None:
        flaws.append("its record is damaged: options, states and counts are not known")
    words = {(word.kind, word.number): word for word in _words(connection, one, flaws)}
    return KeptExperiment(
        id=one,
        record=there or b"",
        words=[words[key] for key in sorted(words)],
        trials=sorted(dict(_trials(connection, one, flaws)).items()),
        blocks=_blocks(connection, one, flaws),
        tip=end,
        mark=mark,
        flaws=tuple(flaws),
    )


@contextmanager
def _noted(flaws: list[str], what: str) -> Iterator[None]:
    """What SQLite cannot read is noted, and what it has read before is used."""
    try:
        yield
    except (apsw.CorruptError, UnicodeDecodeError) as error:
        flaws.append(f"{what} cannot be read: {error}")


def _tip(flaws: list[str], data: object, one: str) -> Tip | None:
    value = unsealed(data, "tip", one)
    if value is not None:
        return msgspec.msgpack.decode(value, type=Tip)
    if data is not None:
        flaws.append("how far it goes is not known: its tip is damaged")
    return None


def _words(connection: apsw.Connection, one: str, flaws: list[str]) -> Iterator[Word]:
    query = "SELECT kind, number, word FROM words WHERE experiment = ? ORDER BY kind, number"
    for kind, number, data in _read(connection, query, one, flaws, "its words"):
        value = unsealed(data, "word", one, kind, number)
        if value is not None:
            yield Word(kind, number, msgspec.msgpack.decode(value))


def _trials(connection: apsw.Connection, one: str, flaws: list[str]) -> Iterator[tuple[int, bytes]]:
    query = "SELECT number, record FROM trials WHERE experiment = ? ORDER BY number"
    for number, data in _read(connection, query, one, flaws, "its trials"):
        value = unsealed(data, "trial", one, number)
        if value is not None:
            yield number, value


def _blocks(connection: apsw.Connection, one: str, flaws: list[str]) -> list[BlockInfo]:
    found: dict[int, BlockInfo] = {}
    for how in _INDEXED:
        before = len(flaws)
        query = (
            f"SELECT first_seq, rows, min_us, max_us, digest FROM blocks {how} WHERE experiment = ?"  # noqa: S608 - our own words
        )
        for first, rows, low, high, data in _read(connection, query, one, flaws, "its blocks"):
            mark = unsealed(data, "block", one, first, rows, low, high)
            if mark is not None:
                info = BlockInfo(first_seq=first, rows=rows, min_us=low, max_us=high, digest=mark)
                found.setdefault(first, info)
        if len(flaws) == before:
            break
    return [found[first] for first in sorted(found)]


def _read(
    connection: apsw.Connection, query: str, one: str, flaws: list[str], what: str
) -> Iterator[Any]:
    get: Callable[..., Any] = connection.execute
    with _noted(flaws, what):
        yield from get(query, (one,))
