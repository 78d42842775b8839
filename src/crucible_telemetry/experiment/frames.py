"""An experiment's events as data frames of other libraries: Arrow, pandas, Polars."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from anyio import to_thread

from crucible_telemetry.analysis.reading import Reading
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.export.writing import Wishes, gathered, wishes_of
from crucible_telemetry.stores.base import Where
from crucible_telemetry.stores.memory import MemoryStore

T = TypeVar("T")


class Frames:
    """The verbs that make data frames; the columns are those of `export`."""

    _reading: Reading

    async def _moment(self, wishes: Wishes) -> Walk:
        raise AttributeError("_moment")

    async def to_arrow(self, *, where: Where | None = None, **options: Any) -> Any:
        """The events that fit `where` as a `pyarrow.Table`; options as in `export`.

        A column holds one kind of values, as it is; where kinds are mixed, or are lists or larger integers, the
        values are JSON text (``crucible.kind`` in the metadata of a column's field says which).
        """
        return await self._arrow(wishes_of(where, options), aside=True)

    async def _arrow(self, wishes: Wishes, *, aside: bool) -> Any:
        """Not `aside`: without waiting for any thread."""
        walks = [await self._moment(wishes)]
        async with gathered(walks, wishes, aside=aside, in_memory=True) as table:
            return await to_thread.run_sync(table.arrow) if aside else table.arrow()

    async def to_pandas(self, *, where: Where | None = None, **options: Any) -> Any:
        """`to_arrow` as a `pandas.DataFrame`: integers and booleans that are missing somewhere stay what they are."""
        import pandas as pd  # noqa: PLC0415 - optional, and asked for now

        table = await self.to_arrow(where=where, **options)
        import pyarrow as pa  # noqa: PLC0415 - it is there now

        kinds = {
            pa.int64(): pd.Int64Dtype(),
            pa.uint64(): pd.UInt64Dtype(),
            pa.bool_(): pd.BooleanDtype(),
        }
        return table.to_pandas(types_mapper=kinds.get)

    async def to_polars(self, *, where: Where | None = None, **options: Any) -> Any:
        """`to_arrow` as a `polars.DataFrame`."""
        import polars as pl  # noqa: PLC0415 - optional, and asked for now

        return pl.from_arrow(await self.to_arrow(where=where, **options))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """The Arrow PyCapsule interface: hand the experiment itself to Polars, pandas, DuckDB or pyarrow.

        For events in memory, on the event loop; `ConfigurationError` where they have to be waited for.
        """
        if not isinstance(self._reading.source[0], MemoryStore):
            raise _waiting()
        return at_once(self._arrow(Wishes(), aside=False)).__arrow_c_stream__(requested_schema)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing but its turn."""
    try:
        while work.send(None) is None:
            pass
        work.throw(_waiting())  # another thread is at it just now
    except StopIteration as end:
        found: T = end.value
        return found
    raise _waiting()


def _waiting() -> ConfigurationError:
    return ConfigurationError(
        "__arrow_c_stream__", "its events are to be waited for: hand over `await exp.to_arrow()`"
    )
