"""The experiments of a PostgreSQL keep as they are read when it is opened, all but their events."""

from collections import defaultdict
from typing import Any

import msgspec

from crucible_telemetry.stores.blocks import BlockInfo
from crucible_telemetry.stores.keeping import KeptExperiment, Tip, Word
from crucible_telemetry.stores.postgres.writing import HELD
from crucible_telemetry.stores.seals import unsealed


async def all_kept(connection: Any, experiment_id: str | None = None) -> list[KeptExperiment]:
    """One or all, in the order they were started: four queries, however many experiments."""
    found = await connection.fetch(
        f"SELECT x.number, x.id, x.record, x.tip, {HELD} AS held FROM experiments x"  # noqa: S608 - our own names
        " WHERE x.record IS NOT NULL AND ($1::text IS NULL OR x.id = $1) ORDER BY x.number",
        experiment_id,
    )
    ids = {one["number"]: one["id"] for one in found}
    words, trials = await _words(connection, ids), await _trials(connection, ids)
    blocks = await _blocks(connection, ids)
    return [
        _kept(one, words[one["number"]], trials[one["number"]], blocks[one["number"]])
        for one in found
    ]


def _kept(
    one: Any, words: list[Word], trials: list[tuple[int, bytes]], blocks: list[BlockInfo]
) -> KeptExperiment:
    record = unsealed(one["record"], "record", one["id"])
    tip = unsealed(one["tip"], "tip", one["id"])
    damaged = {
        "its record is damaged: options, states and counts are not known": record is None,
        "how far it goes is not known: its tip is damaged": tip is None and one["tip"] is not None,
    }
    return KeptExperiment(
        id=one["id"],
        record=record or b"",
        words=words,
        trials=trials,
        blocks=blocks,
        held=one["held"],
        tip=None if tip is None else msgspec.msgpack.decode(tip, type=Tip),
        flaws=tuple(flaw for flaw, there in damaged.items() if there),
    )


async def _words(connection: Any, ids: dict[int, str]) -> dict[int, list[Word]]:
    query = "SELECT experiment, kind, number, word FROM words WHERE experiment = ANY($1) ORDER BY 1, 2, 3"
    words = defaultdict(list)
    for number, kind, at, data in await connection.fetch(query, list(ids)):
        word = unsealed(data, "word", ids[number], kind, at)
        if word is not None:
            words[number].append(Word(kind, at, msgspec.msgpack.decode(word)))
    return words


async def _trials(connection: Any, ids: dict[int, str]) -> dict[int, list[tuple[int, bytes]]]:
    query = "SELECT experiment, number, record FROM trials WHERE experiment = ANY($1) ORDER BY 1, 2"
    trials = defaultdict(list)
    for number, at, data in await connection.fetch(query, list(ids)):
        record = unsealed(data, "trial", ids[number], at)
        if record is not None:
            trials[number].append((at, record))
    return trials


async def _blocks(connection: Any, ids: dict[int, str]) -> dict[int, list[BlockInfo]]:
    query = (
        "SELECT experiment, first_seq, rows, min_us, max_us, digest FROM segments"
        " WHERE experiment = ANY($1) ORDER BY 1, 2"
    )
    blocks = defaultdict(list)
    for number, first, count, low, high, data in await connection.fetch(query, list(ids)):
        mark = unsealed(data, "block", ids[number], first, count, low, high)
        if mark is not None:
            block = BlockInfo(first_seq=first, rows=count, min_us=low, max_us=high, digest=mark)
            blocks[number].append(block)
    return blocks
