"""SQL over experiments: here its extra is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.export.packages import ASKING, ready
from crucible_telemetry.export.result import QueryResult

MEMORY_BYTES: Final = 2**30


async def query_experiments(
    experiments: Sequence[Questions],
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> QueryResult:
    """See `Lab.sql`; `ConfigurationError` names the extra where it is missing."""
    asking = await ready(ASKING, "sql", "sql")
    found: QueryResult = await asking.ask(experiments, query, parameters, memory_bytes)
    return found
