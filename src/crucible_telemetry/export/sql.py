"""SQL over relations that are made as they are read: DuckDB in a thread, shut off from files and settings.

DuckDB asks a relation for the columns (and the simple conditions) that a query needs; only these are made.
Batches come from the event loop, one at a time, while the query runs, so that neither all events nor all
rows of a block need be in memory. What a query may do is read: other statements are refused, and the
connection has no access to files, extensions, Python's variables or its own settings.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
import duckdb
import pyarrow as pa
import pyarrow.dataset
from anyio import from_thread

from crucible_telemetry.errors import QueryError
from crucible_telemetry.export.result import QueryResult
from crucible_telemetry.runtime.loops import Signal

BATCH_ROWS: Final = 65_536
_AGAIN_S: Final = 0.05
Parameters = Sequence[Any] | Mapping[str, Any] | None
Made = Callable[[], pa.RecordBatch]
"""Makes a batch, in the query's thread."""
Batches = Callable[[Sequence[str]], AsyncGenerator[Made, None]]
"""Chosen columns of a relation, a batch at a time; called for each time a query reads it."""

_CLOSED: Final = {
    "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
    "allow_community_extensions": "false", "python_enable_replacements": "false", "temp_directory": "",
}  # fmt: skip
_LOCKED: Final = "SET enable_external_access = false; SET lock_configuration = true"


class Relation:
    """A name, its columns, and where its rows come from."""

    def __init__(self, name: str, schema: pa.Schema, batches: Batches) -> None:
        self.name, self.schema, self.batches = name, schema, batches


async def answered(
    query: str,
    relations: Sequence[Relation],
    parameters: Parameters,
    memory_bytes: int,
) -> QueryResult:
    """The answer to one query; `QueryError` for what is none, is wrong, or needs more than `memory_bytes`.

    Cancelled, the query is interrupted.
    """
    async with from_thread.BlockingPortal() as portal:
        running = _Running(portal, relations, memory_bytes)
        try:
            work = partial(running.outcome, query, parameters)
            outcome = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            with anyio.CancelScope(shield=True):
                await running.end()
    if isinstance(outcome, Exception):
        raise outcome  # out here: inside, it would come as a group of one
    return QueryResult(outcome)


class _Running:
    """One query on a connection of its own."""

    def __init__(
        self, portal: from_thread.BlockingPortal, relations: Sequence[Relation], memory_bytes: int
    ) -> None:
        self._portal, self._relations, self._memory_bytes = portal, relations, memory_bytes
        self._opened: list[AsyncGenerator[Made, None]] = []
        self._trouble: Exception | None = None
        self._ended = Signal()
        self._begun = self._given_up = False
        limits = {"memory_limit": f"{memory_bytes}B"}
        self._connection = duckdb.connect(":memory:", config={**_CLOSED, **limits})

    async def end(self) -> None:
        """Wait until the thread has let go, whatever it is at."""
        self._given_up = True
        while self._begun and not self._ended.is_set:
            self._connection.interrupt()  # again and again: it may not have begun when we first said so
            with anyio.move_on_after(_AGAIN_S):
                await self._ended.wait()
        self._connection.close()  # here, since nobody may interrupt one that is closed
        for batches in self._opened:
            await batches.aclose()

    # -- in the thread --------------------------------------------------------------------------

    def outcome(self, query: str, parameters: Parameters) -> pa.Table | Exception:
        """The whole answer, or why there is none."""
        self._begun = True  # in this order, as `end` has them the other way round
        try:
            return pa.table({}) if self._given_up else self._table(query, parameters)
        except (duckdb.Error, pa.ArrowException) as error:
            # Of what went wrong in a relation, DuckDB hands on the text only.
            return self._trouble or QueryError("sql", _said(error))
        except Exception as error:  # noqa: BLE001 - raised where it was asked for
            return error
        finally:
            self._ended.set()

    def _table(self, query: str, parameters: Parameters) -> pa.Table:
        connection = self._connection
        for relation in self._relations:
            connection.register(
                relation.name, _Lazy(relation.schema, partial(self._read, relation))
            )
        connection.execute(_LOCKED)
        check_query(query)
        answer = connection.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS)
        batches, size = [], 0
        for batch in answer:
            batches.append(batch)
            size += batch.nbytes
            if size > self._memory_bytes:
                raise QueryError(
                    "sql",
                    f"the answer is larger than {self._memory_bytes:,} bytes: aggregate, or export",
                )
        return pa.Table.from_batches(batches, answer.schema)

    def _read(self, relation: Relation, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The batches of a relation, each fetched from the loop when it is asked for."""
        batches = relation.batches(names)
        self._opened.append(batches)
        try:
            while (make := self._portal.call(_next, batches)) is not None:
                yield make()
        except Exception as error:
            self._trouble = self._trouble or error
            raise


class _Lazy(pyarrow.dataset.InMemoryDataset):  # type: ignore[misc]
    """What DuckDB takes for a dataset: it asks `scanner` for the columns that a query needs."""

    def __init__(self, schema: pa.Schema, read: Callable[[Sequence[str]], Iterator[Any]]) -> None:
        super().__init__(schema.empty_table())
        self._read = read

    def scanner(
        self,
        columns: Sequence[str] | None = None,
        filter: Any = None,  # noqa: A002 - pyarrow's word
        **_: Any,
    ) -> "_Scan":
        """What is asked for when the query runs."""
        names = self.schema.names if columns is None else list(columns)
        return _Scan(self.schema, names, filter, self._read)


class _Scan:
    """One reading of a relation: of these columns, where the condition holds."""

    def __init__(
        self,
        schema: pa.Schema,
        names: Sequence[str],
        condition: Any,
        read: Callable[[Sequence[str]], Iterator[Any]],
    ) -> None:
        self._schema, self._names, self._condition, self._read = schema, names, condition, read

    def to_reader(self) -> pa.RecordBatchReader:
        """The stream that DuckDB pulls."""
        schema = pa.schema([self._schema.field(name) for name in self._names])
        return pa.RecordBatchReader.from_batches(schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._condition is None:
            yield from self._read(self._names)
            return
        # A condition tells its columns in its text only; one too many does no harm.
        text = str(self._condition)
        needed = [n for n in self._schema.names if n in self._names or n in text]
        for batch in self._read(needed):
            yield batch.filter(self._condition).select(list(self._names))


async def _next(batches: AsyncGenerator[Made, None]) -> Made | None:
    return await anext(batches, None)


def check_query(query: str) -> None:
    """`QueryError` unless it is one statement that reads."""
    statements = duckdb.extract_statements(query)
    if len(statements) != 1:
        raise QueryError("sql", f"want one query, not {len(statements)} statements")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        raise QueryError("sql", f"only queries that read: SELECT, FROM, DESCRIBE, not {kind.name}")


def _said(error: Exception) -> str:
    """DuckDB's message in one line, without the copy of the query behind it."""
    return " ".join(str(error).partition("\nLINE ")[0].split())
