"""Parts of the house that stand on optional packages, imported when they are first asked for.

Importing pyarrow or DuckDB takes a good part of a second, so a thread does it.
"""

import sys
from importlib import import_module
from typing import Any, Final

from anyio import to_thread

from crucible_telemetry.errors import ConfigurationError

TABLES: Final = "crucible_telemetry.export.tables"
READING: Final = "crucible_telemetry.export.tablereading"
FILES: Final = "crucible_telemetry.export.tablefiles"


def part(module: str, option: str, extra: str) -> Any:
    """A module of ours; `ConfigurationError` of `option` names the package and the extra that are missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            option,
            f"needs the package {missing.name}: pip install 'crucible-telemetry[{extra}]'",
        ) from None


async def ready(module: str, option: str = "format", extra: str = "parquet") -> Any:
    """`part`, in a thread where it is not there yet."""
    if module in sys.modules:
        return part(module, option, extra)
    return await to_thread.run_sync(part, module, option, extra)
