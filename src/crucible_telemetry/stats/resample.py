"""Resampling: the bootstrap and the permutation test, by SciPy, repeatable from a seed. PURE."""

import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import (
    Clustered,
    Floats,
    NanPolicy,
    pairs,
    sample,
    samples,
    whole,
)
from crucible_telemetry.stats.clusters import Cells
from crucible_telemetry.stats.extra import scipy_stats
from crucible_telemetry.stats.inference import Inference, with_notes
from crucible_telemetry.stats.means import DIFFERENCE, paired_t, welch_t
from crucible_telemetry.stats.result import Alternative, Result, Told

_BATCH_VALUES = 10**7
"""Values resampled at once: 80 MB, whatever the number of resamples."""
_BCA_MOST = 50_000
"""Values of an arm that BCa is run on: its jackknife takes the square of them in steps."""

Statistic = Callable[..., Any]


class Bootstrap(Struct, frozen=True, kw_only=True):
    """Intervals by resampling units: one sample, two arms, pairs, clusters.

    `method` is ``"BCa"`` (Efron, JASA 82 (1987) 171-185; n² steps for its jackknife) or
    ``"percentile"``; `statistic` takes an array and an `axis`. It gives intervals, not p-values: those
    are `Permutation`'s. The same seed gives the same limits.
    """

    method: Literal["BCa", "percentile"] = "BCa"
    resamples: int = 9_999
    seed: int = 0
    confidence: float = 0.95
    alternative: Alternative = "two-sided"
    statistic: Statistic = np.mean

    def __post_init__(self) -> None:
        whole("resamples", self.resamples, least=1)
        whole("seed", self.seed)

    def one(self, values: ArrayLike, *, nan: NanPolicy = "error") -> Result:
        """The statistic of one sample."""
        kept = sample("values", values, nan)
        return self._run((kept.values,), self.statistic, kept.notes, self._name)

    def difference(
        self, control: ArrayLike, treatment: ArrayLike, *, nan: NanPolicy = "error"
    ) -> Result:
        """The difference of the arms' statistics; each arm resampled on its own."""
        arms, notes = samples(control, treatment, nan)

        def apart(first: Floats, second: Floats, axis: int = -1) -> Any:
            return self.statistic(second, axis=axis) - self.statistic(first, axis=axis)

        estimand = f"difference of {self._name}, treatment − control"
        return self._run(arms, apart, notes, estimand)

    def paired(
        self, control: ArrayLike, treatment: ArrayLike, *, nan: NanPolicy = "error"
    ) -> Result:
        """The statistic of treatment − control over pairs, the pairs resampled."""
        both = pairs(control, treatment, nan)
        estimand = f"{self._name} of differences of pairs, treatment − control"
        return self._run((both.differences,), self.statistic, both.notes, estimand)

    def clustered(self, sampled: Clustered, *, nan: NanPolicy = "error") -> Result:
        """The mean of values in clusters, whole clusters resampled."""
        cells = Cells.of(nan, values=sampled)
        units = (np.arange(cells.sums.shape[1]),)
        return self._run(units, cells.mean, cells.notes, "mean")

    def clustered_difference(
        self, control: Clustered, treatment: Clustered, *, nan: NanPolicy = "error"
    ) -> Result:
        """The difference of means with whole clusters resampled, those in both arms as one."""
        cells = Cells.of(nan, control=control, treatment=treatment)
        if cells.crossed:
            units: tuple[NDArray[Any], ...] = (np.arange(cells.sums.shape[1]),)
        else:
            units = tuple(np.flatnonzero(cells.sizes[arm]) for arm in (0, 1))

        def apart(*drawn: NDArray[Any], axis: int = -1) -> Any:
            return cells.mean(drawn[-1], axis=axis, arm=1) - cells.mean(drawn[0], axis=axis)

        return self._run(units, apart, cells.notes, DIFFERENCE)

    @property
    def _name(self) -> str:
        return getattr(self.statistic, "__name__", "statistic")

    def _run(
        self,
        data: tuple[NDArray[Any], ...],
        statistic: Statistic,
        notes: tuple[str, ...],
        estimand: str,
    ) -> Result:
        ask = Inference(self.confidence, self.alternative)
        told: Told = {
            "test": f"bootstrap ({self.method})",
            "method": f"{self.resamples} resamples, seed {self.seed}",
            "estimand": estimand,
            "n": tuple(map(len, data)),
        }
        reason = _unresampled(data)
        if reason:
            return ask.undecided(reason, notes, estimate=math.nan, **told)
        estimate = float(statistic(*data, axis=-1))
        limits = self._limits(data, statistic)
        if any(map(math.isnan, limits)):
            reason = "the resamples do not vary, or a statistic is not finite"
            return ask.undecided(reason, notes, estimate=estimate, **told)
        same = ("the resamples hardly vary: both limits are one value",)
        notes = notes + same if limits[0] == limits[1] else notes
        return ask.result(estimate=estimate, interval=limits, notes=notes, **told)

    def _limits(self, data: tuple[NDArray[Any], ...], statistic: Statistic) -> tuple[float, float]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what is degenerate is NaN, and told as such
            interval = bootstrap_limits(self, data, statistic)
        return float(interval.low), float(interval.high)


def bootstrap_limits(plan: Bootstrap, data: tuple[NDArray[Any], ...], statistic: Statistic) -> Any:
    """SciPy's interval of `statistic` over the last axis; leading axes are samples of their own."""
    if plan.method not in ("BCa", "percentile"):
        raise ConfigurationError("method", f"{plan.method!r} is none of BCa, percentile")
    largest = max(part.size for part in data)
    longest = max(part.shape[-1] for part in data)
    if plan.method == "BCa" and longest > _BCA_MOST:
        reason = (
            f"BCa takes the square of {longest:,} values in steps (up to {_BCA_MOST:,} are taken)"
        )
        raise ConfigurationError("method", f"{reason}: 'percentile' does not")
    done = scipy_stats().bootstrap(
        data,
        statistic,
        n_resamples=plan.resamples,
        batch=max(1, _BATCH_VALUES // largest),
        vectorized=True,
        axis=-1,
        confidence_level=plan.confidence,
        alternative=plan.alternative,
        method=plan.method,
        rng=np.random.default_rng(plan.seed),
    )
    return done.confidence_interval


class Permutation(Struct, frozen=True, kw_only=True):
    """Permutation tests of the difference of means, exact where all permutations fit in `resamples`.

    Otherwise the p-value is (b + 1) / (m + 1) of m random ones (Phipson & Smyth, Statistical
    Applications in Genetics and Molecular Biology 9 (2010) 39): never 0, never too small. The interval
    beside it is Student's: a permutation test has none without a model of the shift.
    """

    resamples: int = 9_999
    seed: int = 0
    confidence: float = 0.95
    alternative: Alternative = "two-sided"

    def __post_init__(self) -> None:
        whole("resamples", self.resamples, least=1)
        whole("seed", self.seed)

    def difference(
        self, control: ArrayLike, treatment: ArrayLike, *, nan: NanPolicy = "error"
    ) -> Result:
        """Labels of the arms exchanged: the null hypothesis is one distribution."""
        values, notes = samples(control, treatment, nan)
        beside = welch_t(*values, confidence=self.confidence, alternative=self.alternative)

        def apart(second: Floats, first: Floats, axis: int = -1) -> Any:
            return second.mean(axis=axis) - first.mean(axis=axis)

        data = (values[1], values[0])
        found = self._run(beside, data, apart, "independent", "permutation test")
        return with_notes(found, *notes)

    def paired(
        self, control: ArrayLike, treatment: ArrayLike, *, nan: NanPolicy = "error"
    ) -> Result:
        """Arms exchanged within pairs: signs of the differences flipped."""
        both = pairs(control, treatment, nan)
        beside = paired_t(
            both.control,
            both.treatment,
            confidence=self.confidence,
            alternative=self.alternative,
        )
        found = self._run(
            beside, (both.differences,), np.mean, "samples", "paired permutation test"
        )
        return with_notes(found, *both.notes)

    def _run(
        self,
        beside: Result,
        data: tuple[Floats, ...],
        statistic: Statistic,
        kind: str,
        test: str,
    ) -> Result:
        ask = Inference(self.confidence, self.alternative)
        told: Told = {
            "test": test,
            "method": f"up to {self.resamples} permutations, seed {self.seed}; {beside.test} interval",
            "estimand": beside.estimand,
            "estimate": beside.estimate,
            "interval": beside.interval,
            "n": beside.n,
            "effect_size": beside.effect_size,
        }
        if _unresampled(data):
            return ask.undecided(_unresampled(data), **told)
        done = scipy_stats().permutation_test(
            data,
            statistic,
            permutation_type=kind,
            vectorized=True,
            n_resamples=self.resamples,
            batch=max(1, _BATCH_VALUES // sum(map(len, data))),
            alternative=self.alternative,
            axis=-1,
            rng=np.random.default_rng(self.seed),
        )
        p_value = float(done.pvalue)
        return ask.result(statistic=beside.estimate, p_value=p_value, notes=beside.notes, **told)


def _unresampled(data: tuple[NDArray[Any], ...]) -> str:
    if min(map(len, data)) < 2:
        return f"needs two units in each arm, has {' and '.join(str(len(part)) for part in data)}"
    if not all(np.isfinite(part).all() for part in data):
        return "a value is not finite"
    return ""
