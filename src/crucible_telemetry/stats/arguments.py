"""What users pass, checked where it is passed: arrays of numbers, missing values, pairs, clusters. PURE.

Missing values (NaN) are refused by name, or left out and counted with ``nan="omit"``. Infinities are
values: quantiles and ranks take them, means say that there is none.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypeGuard, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from crucible_telemetry.errors import ConfigurationError

NanPolicy = Literal["error", "omit"]
Floats = NDArray[np.float64]
_Kind = TypeVar("_Kind")


class Sample(Struct, frozen=True, eq=False):
    """One-dimensional values without NaN, and what was left out."""

    values: Floats
    notes: tuple[str, ...] = ()


class Pairs(Struct, frozen=True, eq=False):
    """Two arrays of one length without NaN, position by position, and what was left out."""

    control: Floats
    treatment: Floats
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> Floats:
        """Treatment minus control, pair by pair; NaN where both are the same infinity."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.treatment - self.control


class Clustered(Struct, frozen=True, eq=False):
    """Values and the cluster (item, user, document) each belongs to; equal labels are one cluster."""

    values: ArrayLike
    clusters: ArrayLike

    def rows(self, name: str, nan: NanPolicy) -> tuple[Floats, NDArray[Any], tuple[str, ...]]:
        """Values that are there, their labels, and the note of what was left out."""
        values = floats(f"{name}.values", self.values)
        labels = clusters_of(f"{name}.clusters", self.clusters, len(values))
        keep, notes = _present(f"{name}.values", nan, values)
        return (values, labels, notes) if keep is None else (values[keep], labels[keep], notes)


def floats(name: str, values: ArrayLike) -> Floats:
    """A one-dimensional array of float64, NaN where an array masks; ConfigurationError names the argument.

    Text and dates are no numbers, though NumPy would make some of them.
    """
    try:
        given = np.ma.filled(values.astype(np.float64), np.nan) if _masks(values) else values
        array = np.asarray(given)
        numbers = array.astype(np.float64, copy=False) if array.dtype.kind in "biufO" else None
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(name, f"is no array of numbers ({error})") from None
    if numbers is None:
        raise ConfigurationError(name, f"is no array of numbers (it holds {array.dtype})")
    if numbers.ndim != 1:
        raise ConfigurationError(name, f"has {numbers.ndim} dimensions, one is needed")
    return numbers


def _masks(values: ArrayLike) -> TypeGuard[np.ma.MaskedArray[Any, Any]]:
    return isinstance(values, np.ma.MaskedArray)


def sample(name: str, values: ArrayLike, nan: NanPolicy) -> Sample:
    """The values that are there."""
    array = floats(name, values)
    keep, notes = _present(name, nan, array)
    return Sample(array if keep is None else array[keep], notes)


def samples(
    control: ArrayLike, treatment: ArrayLike, nan: NanPolicy
) -> tuple[tuple[Floats, Floats], tuple[str, ...]]:
    """The values of both arms that are there, and the notes of what was left out."""
    first, second = sample("control", control, nan), sample("treatment", treatment, nan)
    return (first.values, second.values), first.notes + second.notes


def pairs(
    control: ArrayLike,
    treatment: ArrayLike,
    nan: NanPolicy,
    names: tuple[str, str] = ("control", "treatment"),
) -> Pairs:
    """Both arrays where both are there; ConfigurationError when their lengths differ."""
    arrays = floats(names[0], control), floats(names[1], treatment)
    same_length(names, arrays)
    keep, notes = _present(" or ".join(names), nan, *arrays)
    kept = arrays if keep is None else (arrays[0][keep], arrays[1][keep])
    return Pairs(*kept, notes)


def arms_of(arms: Mapping[str, ArrayLike], nan: NanPolicy, least: int = 2) -> dict[str, Sample]:
    """Every arm's values by name; ConfigurationError when there are fewer arms than `least`."""
    if not isinstance(arms, Mapping):
        raise ConfigurationError("arms", "a mapping from each arm's name to its values is needed")
    if len(arms) < least:
        raise ConfigurationError("arms", f"at least {least} are needed, there are {len(arms)}")
    return {name: sample(f"arms[{name!r}]", values, nan) for name, values in arms.items()}


def clusters_of(name: str, clusters: ArrayLike, length: int) -> NDArray[Any]:
    """A label a value: any dtype that sorts, no missing ones."""
    labels = np.asarray(clusters)
    if labels.shape != (length,):
        raise ConfigurationError(name, f"has shape {labels.shape}, ({length},) is needed")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ConfigurationError(name, "holds NaN: every value needs its cluster")
    return labels


def same_length(names: tuple[str, str], arrays: tuple[NDArray[Any], NDArray[Any]]) -> None:
    """ConfigurationError unless both hold equally many values."""
    if len(arrays[0]) != len(arrays[1]):
        raise ConfigurationError(
            names[1], f"has {len(arrays[1])} values, {names[0]} has {len(arrays[0])}: no pairs"
        )


def real(name: str, value: Any) -> float:
    """A number that is not NaN; ConfigurationError otherwise."""
    if not isinstance(value, Real) or math.isnan(value):
        raise ConfigurationError(name, f"{value!r} is no number")
    return float(value)


def whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number, `least` or more; ConfigurationError otherwise."""
    if not isinstance(value, Integral) or int(value) < least:
        raise ConfigurationError(name, f"{value!r} is no whole number from {least} on")
    return int(value)


def share(name: str, value: Any) -> float:
    """A number between 0 and 1, ends excluded; ConfigurationError otherwise."""
    if not 0 < real(name, value) < 1:
        raise ConfigurationError(name, f"{value} is not between 0 and 1")
    return float(value)


def wanted(name: str, given: Any, kind: type[_Kind]) -> _Kind:
    """What was given, if it is of this kind; ConfigurationError otherwise."""
    if not isinstance(given, kind):
        raise ConfigurationError(
            name, f"want ct.stats.{kind.__name__}(…), not {type(given).__name__}"
        )
    return given


def in_order(values: Floats) -> Floats:
    """The values sorted; those that are already are taken as they are (a look is far cheaper than a sort)."""
    sorted_: Floats = values if bool((values[1:] >= values[:-1]).all()) else np.sort(values)
    return sorted_


def _present(
    name: str, nan: NanPolicy, *arrays: Floats
) -> tuple[NDArray[np.bool_] | None, tuple[str, ...]]:
    """Where no array holds NaN (None: everywhere), and the note that says how many were left out."""
    if nan not in ("error", "omit"):
        raise ConfigurationError("nan", f"{nan!r} is none of error, omit")
    missing = np.isnan(arrays[0])
    for array in arrays[1:]:
        missing |= np.isnan(array)
    count = int(missing.sum())
    if not count:
        return None, ()
    if nan == "error":
        raise ConfigurationError(name, f'holds {count} NaN: nan="omit" leaves them out, and counts')
    return ~missing, (f"{name}: {count} of {len(missing)} left out (NaN)",)
