"""Station 3, keep: the port every store implements, and the stores.

What is needed to write a store of one's own is importable from here; `base` says what each verb owes.
"""

from typing import TYPE_CHECKING, Any

from crucible_telemetry.errors import no_attribute

if TYPE_CHECKING:
    from crucible_telemetry.stores.base import Page, Position, Query, Store, StoreHealth, Where

_HOMES = {
    **dict.fromkeys(("Page", "Position", "Query", "Store", "StoreHealth", "Where"), "base"),
}

__all__ = ["Page", "Position", "Query", "Store", "StoreHealth", "Where"]


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for: who imports one module does not import all."""
    if name not in _HOMES:
        raise no_attribute(f"module {__name__!r}", name, {})
    import importlib  # noqa: PLC0415 - needed here only

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
