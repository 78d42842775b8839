"""One change as one transaction: a few statements, however many experiments and events it has."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
from msgspec import Struct

from crucible_telemetry.errors import StoreRefused, StoreTaken
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores.blocks import BlockInfo, encoded, info_of
from crucible_telemetry.stores.keeping import Change, ExperimentChange, RecordHead, Rollup, Word
from crucible_telemetry.stores.postgres import rows
from crucible_telemetry.stores.postgres.schema import CHUNK_US, MOST_CHUNKS
from crucible_telemetry.stores.postgres.server import LOCKED, LONG_S
from crucible_telemetry.stores.seals import sealed
from crucible_telemetry.stores.segments import taken

HELD: Final = f"(x.state IN ('running', 'paused') AND {LOCKED.format(key='x.writer')})"
"""Whether a lab that lives writes the experiment x, an SQL expression."""


class TrialHead(Struct, frozen=True):
    """What of a trial stands in columns of its own."""

    item: str
    repeat: int = 0
    attempt: int = 0
    outcome: str | None = None


class Place(Struct, frozen=True):
    """An experiment in the tables: its number, and the last seq that is there."""

    number: int
    last_seq: int


async def write(
    connection: Any, change: Change, lock: int, url: str, *, chunked: bool
) -> list[list[BlockInfo]]:
    """See `Keep.write`; within a transaction. `lock`: of the keep that writes; `chunked`: to a hypertable."""
    places = await _places(connection, [one.id for one in change], lock, url)
    await _write_small(connection, change, places)
    fresh = [
        (places[one.id].number, rest)
        for one in change
        for part in one.parts
        if (rest := _behind(part, places[one.id].last_seq)) is not None
    ]
    near, strewn = rows.near(fresh, CHUNK_US, MOST_CHUNKS) if chunked else (fresh, [])
    await _copied(connection, "event_rows", near)
    await _copied(connection, "strewn_rows", strewn)
    return await _write_segments(connection, change, places)


async def _places(connection: Any, ids: list[str], lock: int, url: str) -> dict[str, Place]:
    """Where these experiments are; those that are new get a place. `StoreTaken`: another lab writes one, or has
    gone on with it: that it has ended there too makes what it wrote no less true.
    """  # noqa: D205 - the summary is one sentence
    for one in ids:
        if "\0" in one:
            raise StoreRefused(url, f"experiment {one!r} has a NUL in its id")
    await connection.execute(
        "INSERT INTO experiments (id, writer) SELECT id, $2 FROM unnest($1::text[]) id"
        " WHERE NOT EXISTS (SELECT FROM experiments x WHERE x.id = id.id) ON CONFLICT DO NOTHING",
        ids,
        lock,
    )
    found = await connection.fetch(
        """SELECT x.id, x.number, x.writer,
          coalesce((SELECT s.first_seq + s.rows - 1 FROM segments s WHERE s.experiment = x.number
                    ORDER BY s.first_seq DESC LIMIT 1), 0) AS last_seq
        FROM experiments x WHERE x.id = ANY($1) FOR UPDATE OF x""",
        ids,
    )
    for one in found:
        if one["writer"] != lock:
            raise StoreTaken(url, one["id"])
    return {one["id"]: Place(one["number"], one["last_seq"]) for one in found}


class Claim(Struct, frozen=True):
    """To write an experiment from now on: the record that is put in the place of the one known."""

    id: str
    before: bytes
    record: bytes


async def claimed(connection: Any, claim: Claim, lock: int) -> bool:
    """Whether another lab holds an experiment; if none does, and its record is still `before`, it is ours."""
    held = await connection.fetchval(
        f"SELECT x.writer <> $2 AND {HELD} FROM experiments x WHERE x.id = $1 FOR UPDATE",  # noqa: S608 - our own names
        claim.id,
        lock,
    )
    if not held:
        await connection.execute(
            "UPDATE experiments SET writer = $2, state = $4, record = $5 WHERE id = $1 AND record = $3",
            claim.id,
            lock,
            sealed(claim.before, "record", claim.id),
            msgspec.msgpack.decode(claim.record, type=RecordHead).state,
            sealed(claim.record, "record", claim.id),
        )
    return bool(held)


async def _write_small(connection: Any, change: Change, places: Mapping[str, Place]) -> None:
    """Records, words, trials and roll-ups: a statement each, for all experiments."""
    numbered = [(places[one.id].number, one) for one in change]
    await _many(
        connection,
        "UPDATE experiments SET name = $2, state = $3, started_us = $4, record = $5 WHERE number = $1",
        (_record(number, one) for number, one in numbered if one.record is not None),
    )
    await _many(
        connection,
        "UPDATE experiments SET tip = $2 WHERE number = $1",
        (_tip(number, one) for number, one in numbered if one.tip is not None),
    )
    await _many(
        connection,
        "INSERT INTO words VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (experiment, kind, number)"
        " DO UPDATE SET word = excluded.word, provider = excluded.provider, name = excluded.name",
        (_word(number, one.id, word) for number, one in numbered for word in one.words),
    )
    await _many(
        connection,
        "INSERT INTO trials VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (experiment, number) DO UPDATE"
        " SET record = excluded.record, item = excluded.item, repeat = excluded.repeat,"
        " attempt = excluded.attempt, outcome = excluded.outcome",
        (_trial(number, one.id, *trial) for number, one in numbered for trial in one.trials),
    )
    voided = [number for number, one in numbered if one.forget_rollups]
    if voided:
        await connection.execute("DELETE FROM rollups WHERE experiment = ANY($1)", voided)
    await _many(
        connection,
        "INSERT INTO rollups VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (experiment, level_s, start_us) DO UPDATE SET cells = excluded.cells",
        (_rollup(number, one.id, of) for number, one in numbered for of in one.rollups),
    )


async def _many(connection: Any, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
    listed = list(values)
    if listed:
        await connection.executemany(statement, listed)


def _pack(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def _record(number: int, one: ExperimentChange) -> tuple[Any, ...]:
    assert one.record is not None  # noqa: S101 - asked for those that have one
    head = msgspec.msgpack.decode(one.record, type=RecordHead)
    return (
        number,
        rows.text(head.name),
        head.state,
        head.started_us,
        sealed(one.record, "record", one.id),
    )


def _tip(number: int, one: ExperimentChange) -> tuple[Any, ...]:
    return number, sealed(_pack(one.tip), "tip", one.id)


def _word(number: int, one: str, word: Word) -> tuple[Any, ...]:
    kept = sealed(_pack(word.word), "word", one, word.kind, word.number)
    return number, word.kind, word.number, kept, *rows.word_text(word.kind, word.word)


def _rollup(number: int, one: str, of: Rollup) -> tuple[Any, ...]:
    kept = sealed(of.cells, "rollup", one, of.level_s, of.start_us)
    return number, of.level_s, of.start_us, kept


def _trial(number: int, one: str, trial: int, record: bytes) -> tuple[Any, ...]:
    kept = sealed(record, "trial", one, trial)
    try:
        _, head = msgspec.msgpack.decode(record, type=tuple[bool, TrialHead])
    except msgspec.MsgspecError:  # of a later version: what it holds is none of ours
        return number, trial, kept, None, None, None, None
    shown = rows.text(head.item), rows.bigint(head.repeat), rows.bigint(head.attempt), head.outcome
    return number, trial, kept, *shown


def _behind(part: Columns, last_seq: int) -> Columns | None:
    """The rows that are not there yet: those of a commit whose answer was lost are."""
    skip = max(last_seq + 1 - part.first_seq, 0)
    if skip >= len(part):
        return None
    return taken(part, np.arange(skip, len(part))) if skip else part


async def _copied(connection: Any, table: str, parts: list[tuple[int, Columns]]) -> None:
    if parts:
        await connection.copy_to_table(
            table,
            source=_streamed(parts),
            columns=rows.ROW_COLUMNS,
            format="binary",
            timeout=LONG_S,
        )


async def _streamed(parts: list[tuple[int, Columns]]) -> Any:
    for piece in rows.copy_stream(parts):
        yield piece


async def _write_segments(
    connection: Any, change: Change, places: Mapping[str, Place]
) -> list[list[BlockInfo]]:
    """Counts and digests of the parts, in the place of those that they cover."""
    infos = [[_info(part) for part in one.parts] for one in change]
    numbered = [
        (places[one.id].number, one.id, info)
        for one, blocks in zip(change, infos, strict=True)
        for info in blocks
    ]
    await _many(
        connection,
        "DELETE FROM segments WHERE experiment = $1 AND first_seq BETWEEN $2 AND $3",
        ((number, info.first_seq, info.last_seq) for number, _, info in numbered),
    )
    await _many(
        connection,
        "INSERT INTO segments VALUES ($1, $2, $3, $4, $5, $6)",
        (
            (number, *_entry(info), sealed(info.digest, "block", one, *_entry(info)))
            for number, one, info in numbered
        ),
    )
    return infos


def _entry(info: BlockInfo) -> tuple[int, int, int, int]:
    return info.first_seq, info.rows, info.min_us, info.max_us


def _info(part: Columns) -> BlockInfo:
    lean = rows.lean(part)
    return info_of(lean, encoded(lean))
