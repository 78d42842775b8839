"""Station 3, keep: the port every store implements, and the stores.

What is needed to write a store of one's own is importable from here; `base` says what each verb owes.

`Store`, `StoreReader`: the port, and what explains rows · `Columns`: rows as they come · `Query`, `Where`,
`matches`, `Position`, `Page`: how one asks, what is answered · `MemoryStore`: a store to begin from ·
`following`, `taken`: the rows that are new, the rows at some positions · `encode`, `decode`, `digest`: rows as
bytes, for any process · `StoreUnavailable`, `StoreRefused`, `StoreDamaged`, `SequenceGap`, `LabClosed`, `QueryError`:
what a store raises · `StoreHealth`: what `Experiment.health` says of one.
"""

from typing import TYPE_CHECKING, Any

from crucible_telemetry.errors import (
    LabClosed,
    QueryError,
    SequenceGap,
    StoreDamaged,
    StoreRefused,
    StoreUnavailable,
    no_attribute,
)

if TYPE_CHECKING:
    from crucible_telemetry.events.columns import Columns
    from crucible_telemetry.stores.base import Page, Position, Query, Store, StoreHealth, matches
    from crucible_telemetry.stores.blocks import digest
    from crucible_telemetry.stores.memory import MemoryStore
    from crucible_telemetry.stores.portable import StoreReader, decode, encode
    from crucible_telemetry.stores.segments import taken
    from crucible_telemetry.stores.walked import following
    from crucible_telemetry.stores.where import Where

_HOMES = {
    "Columns": "events.columns",
    "MemoryStore": "stores.memory",
    "digest": "stores.blocks",
    "taken": "stores.segments",
    "following": "stores.walked",
    **dict.fromkeys(("StoreReader", "decode", "encode"), "stores.portable"),
    **dict.fromkeys(
        ("Page", "Position", "Query", "Store", "StoreHealth", "Where", "matches"), "stores.base"
    ),
}

__all__ = [
    "Columns", "LabClosed", "MemoryStore", "Page", "Position", "Query", "QueryError", "SequenceGap", "Store", "StoreDamaged",
    "StoreHealth", "StoreReader", "StoreRefused", "StoreUnavailable", "Where", "decode", "digest", "encode",
    "following", "matches", "taken",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: who imports one module does not import all."""
    if name not in _HOMES:
        raise no_attribute(f"module {__name__!r}", name, {})
    import importlib  # noqa: PLC0415 - needed here only

    home = importlib.import_module(f"crucible_telemetry.{_HOMES[name]}")
    globals()[name] = found = getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
