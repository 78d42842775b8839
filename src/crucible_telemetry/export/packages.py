"""Parts of the house that stand on optional packages, imported when they are first asked for.

Importing pyarrow, DuckDB or obstore takes from a tenth of a second to some seconds, so a thread does it. What
Python's lock is held for longest is the system's loader at work on one large library; called through ctypes, which
lets go of the lock, it has done that work before `import` asks for it.
"""

import ctypes
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from crucible_telemetry.errors import ConfigurationError, install

TABLES: Final = "crucible_telemetry.export.tables"
READING: Final = "crucible_telemetry.export.tablereading"
FILES: Final = "crucible_telemetry.export.tablefiles"
ASKING: Final = "crucible_telemetry.experiment.asking"
_LIBRARIES: Final = {
    "parquet": {"pyarrow": "libarrow.so.*"},
    "sql": {"pyarrow": "libarrow.so.*", "_duckdb": "_duckdb*.so"},
    "s3": {"obstore": "_obstore*.so"},
}
"""The largest library of each package by extra: one file, beside the package's others."""


def part(module: str, option: str, extra: str) -> Any:
    """A module of ours; `ConfigurationError` of `option` names the package and the extra that are missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            option,
            f"needs the package {missing.name}: {install(extra)}",
        ) from None


async def ready(module: str, option: str = "format", extra: str = "parquet") -> Any:
    """`part`, in a thread where it is not there yet."""
    if module in sys.modules:
        return part(module, option, extra)
    await to_thread.run_sync(map_in, extra)
    return await to_thread.run_sync(part, module, option, extra)


def map_in(extra: str) -> None:
    """Have the large libraries of an extra's packages loaded, without holding Python's lock; Linux only."""
    if sys.platform != "linux":
        return
    load = ctypes.CDLL(None).dlopen
    load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    for package, pattern in _LIBRARIES[extra].items():
        for library in _found(package, pattern):
            load(os.fsencode(library), os.RTLD_LAZY)


def _found(package: str, pattern: str) -> list[Path]:
    """The library, where the package is there and not imported yet."""
    if package in sys.modules:
        return []
    with suppress(ImportError, ValueError):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            return list(Path(spec.origin).parent.glob(pattern))[:1]
    return []
