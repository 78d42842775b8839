"""A walk over a store → the chunks of a file, in the format and with the columns somebody wishes for."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError, NotBuiltYet
from crucible_telemetry.export import jsonl
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.stores.base import Where


class Wishes(Struct, frozen=True, kw_only=True):
    """What of the events is to be written, and how; checked before anything is read."""

    where: Where | None = None


def wishes_of(where: Where | None, options: Mapping[str, Any]) -> Wishes:
    """The options of an export, checked; an unknown one is a `ConfigurationError`."""
    if not isinstance(where, Where | None):
        raise ConfigurationError("where", f"want ct.Where(...), not {where!r}")
    for option in options:
        if option not in Wishes.__struct_fields__:
            raise ConfigurationError(option, "unknown option of export")
    return Wishes(where=where, **options)


async def chunks_of(walk: Walk, kind: str, wishes: Wishes) -> AsyncGenerator[bytes, None]:
    """The file's content, some events a chunk."""
    if kind != "jsonl":
        raise NotBuiltYet("csv", "to come")
    async for some in walk.slices():
        yield jsonl.lines(some)
