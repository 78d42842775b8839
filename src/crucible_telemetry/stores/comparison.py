"""Comparisons of a filter: what a value at a path is held against. PURE."""

import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct
from msgspec.structs import force_setattr

from crucible_telemetry.errors import QueryError


class Comparison(Struct, frozen=True):
    """What a measured or annotated value is held against; a type that cannot be compared fits nothing."""

    value: Any
    test: ClassVar[Callable[[Any, Any], Any]] = operator.eq

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float, str)):
            raise QueryError(kind, f"want a number or a text to compare with, not {self.value!r}")
        if isinstance(self.value, float) and math.isnan(self.value):
            raise QueryError(kind, "NaN compares with nothing")

    def holds(self, found: object) -> bool:
        """Whether a value that was found fits."""
        try:
            return bool(type(self).test(found, self.value))
        except TypeError:
            return False


class Gt(Comparison, frozen=True):
    """Greater than `value`."""

    test = operator.gt


class Ge(Comparison, frozen=True):
    """Greater than `value`, or equal."""

    test = operator.ge


class Lt(Comparison, frozen=True):
    """Less than `value`."""

    test = operator.lt


class Le(Comparison, frozen=True):
    """Less than `value`, or equal."""

    test = operator.le


class Ne(Comparison, frozen=True):
    """Present, and not equal to `value`."""

    test = operator.ne

    def __post_init__(self) -> None:
        """Anything may be unequal."""


class OneOf(Comparison, frozen=True):
    """Equal to one of the values of a list, tuple or set."""

    def __post_init__(self) -> None:
        if not isinstance(self.value, (list, tuple, set, frozenset)):
            raise QueryError("OneOf", f"want a list of values, not {self.value!r}")
        force_setattr(self, "value", tuple(self.value))

    def holds(self, found: object) -> bool:
        """Whether the value is in the list."""
        return found in self.value
