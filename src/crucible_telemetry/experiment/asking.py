"""Experiments as relations, and SQL over them: the part that needs DuckDB and pyarrow (extra ``[sql]``)."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.collect.spec import State
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.experiment.taking import table_of
from crucible_telemetry.export import relations
from crucible_telemetry.export.relations import EVENTS, EXPERIMENTS, TRIALS, event_batch
from crucible_telemetry.export.result import QueryResult
from crucible_telemetry.export.sql import Made, Parameters, Relation, answered
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.export.writing import Wishes


async def ask(
    experiments: Sequence[Questions],
    query: str,
    parameters: Parameters,
    memory_bytes: int,
) -> QueryResult:
    """The answer to a query over ``events``, ``trials`` and ``experiments`` as they are at this moment."""
    # The trials first: the events of one that has ended are all there.
    tables = [table_of(one, await one._joined_trials()) for one in experiments]
    walks = [await one._moment(Wishes()) for one in experiments]
    rows = [
        _told(one) | {"events": walk.last_seq, "trials": len(table.records)}
        for one, walk, table in zip(experiments, walks, tables, strict=True)
    ]
    trials = pa.Table.from_batches([relations.trial_batch(table) for table in tables], TRIALS)
    described = pa.Table.from_batches([relations.table_of(rows, EXPERIMENTS)])
    given = [
        Relation("events", EVENTS, partial(_events, walks)),
        Relation("trials", TRIALS, partial(_ready, trials)),
        Relation("experiments", EXPERIMENTS, partial(_ready, described)),
    ]
    return await answered(query, given, parameters, memory_bytes)


def _told(one: Questions) -> dict[str, Any]:
    """What is known of an experiment itself."""
    spec, life, now_ns = one.spec, one._life, monotonic_ns()
    return {
        "id": one.id, "name": spec.name, "state": one.state.value, "condition": spec.condition,
        "tags": spec.tags, "hypothesis": spec.hypothesis, "sample_size": spec.sample_size,
        "started_us": life.started_us, "ended_us": life.ended_us,
        "active_seconds": life.seconds(State.RUNNING, now_ns),
        "paused_seconds": life.seconds(State.PAUSED, now_ns), "metadata": dict(spec.metadata),
    }  # fmt: skip


async def _events(walks: Sequence[Walk], names: Sequence[str]) -> AsyncGenerator[Made, None]:
    for walk in walks:
        async for some in walk.parts():
            yield partial(event_batch, some, names)


async def _ready(table: pa.Table, names: Sequence[str]) -> AsyncGenerator[Made, None]:
    for batch in table.select(list(names)).to_batches():
        yield partial(_same, batch)


def _same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch
