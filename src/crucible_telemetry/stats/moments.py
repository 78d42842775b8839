"""Number, mean and variance: all that tests of means need of an arm, and what merges. PURE."""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.stats.arguments import Floats, NanPolicy, sample


class Moments(Struct, frozen=True):
    """Number of values, mean, and sample variance (n − 1 below); NaN where undefined."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: ArrayLike, *, nan: NanPolicy = "error") -> "Moments":
        """In two passes, the mean corrected: an offset of 1e9 costs no digits of the variance."""
        return cls._of(sample("values", values, nan).values)

    @classmethod
    def _of(cls, values: Floats) -> "Moments":
        n = len(values)
        if n == 0:
            return cls(0, math.nan, math.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            rough = float(np.mean(values))
            apart = values - rough
            left = float(apart.sum())
            squares = float(np.dot(apart, apart)) - left * left / n
        return cls(n, rough + left / n, squares / (n - 1) if n > 1 else math.nan)

    def merged(self, other: "Moments") -> "Moments":
        """Of both arms' values together (Chan, Golub & LeVeque, American Statistician 37 (1983) 242-247)."""
        if not (self.n and other.n):
            return self if self.n else other
        n, apart = self.n + other.n, other.mean - self.mean
        squares = self.squares + other.squares + apart * apart * self.n * other.n / n
        return Moments(n, self.mean + apart * other.n / n, squares / (n - 1))

    @property
    def squares(self) -> float:
        """The sum of squared deviations from the mean; 0 of a single value."""
        return self.variance * (self.n - 1) if self.n > 1 else 0.0

    @property
    def finite(self) -> bool:
        """Whether mean and variance are numbers a test can use."""
        return math.isfinite(self.mean) and math.isfinite(self.variance)


def moments_of(
    name: str, values: "ArrayLike | Moments", nan: NanPolicy
) -> tuple[Moments, tuple[str, ...]]:
    """The moments given, or those of an array, with the note of what was left out."""
    if isinstance(values, Moments):
        return values, ()
    kept = sample(name, values, nan)
    return Moments._of(kept.values), kept.notes


def moments_of_arms(
    control: "ArrayLike | Moments", treatment: "ArrayLike | Moments", nan: NanPolicy
) -> tuple[tuple[Moments, Moments], tuple[str, ...]]:
    """The moments of both arms, and the notes of what was left out."""
    first, second = moments_of("control", control, nan), moments_of("treatment", treatment, nan)
    return (first[0], second[0]), first[1] + second[1]
