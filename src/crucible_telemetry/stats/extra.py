"""SciPy and statsmodels, imported when first needed: both are extras and take seconds to load. PURE."""

import importlib
from types import ModuleType

from crucible_telemetry.errors import install


def special() -> ModuleType:
    """``scipy.special``: distributions as plain functions; loads in a fraction of ``scipy.stats``."""
    return _load("scipy.special")


def scipy_stats() -> ModuleType:
    """``scipy.stats``."""
    return _load("scipy.stats")


def optimize() -> ModuleType:
    """``scipy.optimize``."""
    return _load("scipy.optimize")


def interpolate() -> ModuleType:
    """``scipy.interpolate``."""
    return _load("scipy.interpolate")


def statsmodels(module: str) -> ModuleType:
    """A module of statsmodels by its name inside the package."""
    return _load(f"statsmodels.{module}")


def pandas() -> ModuleType:
    """``pandas``, which comes with statsmodels."""
    return _load("pandas")


def _load(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        package = module.partition(".")[0]
        raise ModuleNotFoundError(
            f"crucible_telemetry.stats needs {package}: {install('stats')}",
            name=package,
        ) from missing
