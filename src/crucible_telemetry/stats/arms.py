"""Several arms at once: analysis of variance, on values and on ranks. PURE.

`arms` maps names to values (or, for means, to `Moments`). Effects are shares of variance; their intervals
turn the noncentral F, or for ranks the noncentral χ² that holds in large samples near no effect.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Floats, NanPolicy, arms_of, floats
from crucible_telemetry.stats.effects import pooled_variance, untestable
from crucible_telemetry.stats.extra import scipy_stats, special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.moments import Moments
from crucible_telemetry.stats.noncentral import chi2_limits, f_limits
from crucible_telemetry.stats.result import Effect, Interval, Result, Told

Arms = Mapping[str, ArrayLike]
_SHARE: Interval = (0.0, 1.0)


class Means(Struct, frozen=True):
    """The arms' moments by name, about a value they have in common: tests of differences need no more."""

    names: tuple[str, ...]
    arms: tuple[Moments, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, arms: "Mapping[str, ArrayLike | Moments]", nan: NanPolicy) -> "Means":
        """Arrays are centred before their means are rounded, so an offset of 1e12 costs no digits."""
        some = arms.values() if isinstance(arms, Mapping) else ()
        if some and all(isinstance(arm, Moments) for arm in some):
            moments = tuple(arm for arm in some if isinstance(arm, Moments))
            return cls(tuple(arms), moments)
        kept = arms_of(arms, nan)  # type: ignore[arg-type]
        everything = np.concatenate([arm.values for arm in kept.values()])
        centre = everything[0] if len(everything) and math.isfinite(everything[0]) else 0.0
        with np.errstate(
            over="ignore"
        ):  # what leaves the float range has no finite mean, and is told so
            moments = tuple(Moments._of(arm.values - centre) for arm in kept.values())
        return cls(
            tuple(kept),
            moments,
            tuple(note for arm in kept.values() for note in arm.notes),
        )

    @property
    def n(self) -> tuple[int, ...]:
        """Values of each arm."""
        return tuple(arm.n for arm in self.arms)

    @property
    def within_df(self) -> int:
        """Degrees of freedom within arms."""
        return sum(self.n) - len(self.arms)

    @property
    def within_variance(self) -> float:
        """The pooled variance."""
        return pooled_variance(*self.arms)

    @property
    def told(self) -> dict[str, Any]:
        """What every result of these arms says."""
        return {"arms": self.names, "n": self.n}


def one_way_anova(
    arms: "Mapping[str, ArrayLike | Moments]",
    *,
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """One-way analysis of variance under one variance; eta², with omega² as the less biased effect.

    Both estimate the same share of variance between arms, so they have one interval.
    """
    means, ask = Means.of(arms, nan), Inference(confidence)
    told: Told = _anova_words("one-way ANOVA", "one variance", means)
    reason = _no_variance(means)
    if reason:
        return ask.undecided(reason, means.notes, estimate=math.nan, interval=_SHARE, **told)
    grand = sum(arm.n * arm.mean for arm in means.arms) / sum(means.n)
    between = sum(arm.n * (arm.mean - grand) ** 2 for arm in means.arms)
    df = (len(means.arms) - 1, means.within_df)
    variance = means.within_variance
    total = between + variance * df[1]
    statistic = between / df[0] / variance
    interval = _share_limits(statistic, df, sum(means.n), ask)
    omega = (between - df[0] * variance) / (total + variance)
    return ask.result(
        statistic=statistic,
        df=df,
        p_value=float(special().fdtrc(*df, statistic)),
        estimate=between / total,
        interval=interval,
        effect_size=Effect("omega²", omega, interval),
        notes=means.notes,
        **told,
    )


def welch_anova(
    arms: "Mapping[str, ArrayLike | Moments]",
    *,
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """Welch's analysis of variance: means of arms whose variances differ (Biometrika 38 (1951) 330-336).

    The estimate is ω² from Welch's F, its interval from the noncentral F: both approximate.
    """
    means, ask = Means.of(arms, nan), Inference(confidence)
    told: Told = _anova_words("Welch ANOVA", "variances may differ", means) | {
        "estimand": "share of variance between arms (omega², from Welch's F)"
    }
    reason = _no_variance(means) or _one_constant(means)
    if reason:
        return ask.undecided(reason, means.notes, estimate=math.nan, interval=_SHARE, **told)
    statistic, df = _welch_f(means.arms)
    interval = _share_limits(statistic, df, sum(means.n), ask)
    spread = df[0] * (statistic - 1)
    return ask.result(
        statistic=statistic,
        df=df,
        p_value=float(special().fdtrc(*df, statistic)),
        estimate=spread / (spread + sum(means.n)),
        interval=interval,
        notes=means.notes,
        **told,
    )


def kruskal_wallis(arms: Arms, *, confidence: float = 0.95, nan: NanPolicy = "error") -> Result:
    """Kruskal and Wallis' analysis of variance of ranks; ε² = H / (N − 1). Infinities are ranked."""
    kept, ask = arms_of(arms, nan), Inference(confidence)
    sizes = tuple(len(arm.values) for arm in kept.values())
    notes = tuple(note for arm in kept.values() for note in arm.notes)
    told: Told = {
        "test": "Kruskal–Wallis",
        "method": "ranks, corrected for ties, χ² distribution",
        "estimand": "share of the ranks' variance between arms (epsilon²)",
        "arms": tuple(kept),
        "n": sizes,
    }
    ranks = scipy_stats().rankdata(np.concatenate([arm.values for arm in kept.values()]))
    reason = "an arm has no values" if not min(sizes) else ""
    if reason or np.ptp(ranks) == 0:
        reason = reason or "all values are equal"
        return ask.undecided(reason, notes, estimate=math.nan, interval=_SHARE, **told)
    done = scipy_stats().kruskal(*np.split(ranks, np.cumsum(sizes)[:-1]))
    return _of_ranks(done, len(sizes) - 1, sum(sizes) - 1, ask, told | {"notes": notes})


def friedman(arms: Arms, *, confidence: float = 0.95, nan: NanPolicy = "error") -> Result:
    """Friedman's test of three or more arms over the same items, in order; Kendall's W."""
    table, notes = _blocks(arms, nan)
    ask, blocks = Inference(confidence), table.shape[1]
    told: Told = {
        "test": "Friedman",
        "method": "ranks within items, corrected for ties, χ² distribution",
        "estimand": "agreement of the items on the arms' order (Kendall's W)",
        "arms": tuple(arms),
        "n": (blocks,) * len(arms),
    }
    ranks = scipy_stats().rankdata(table, axis=0)
    if blocks < 2 or np.ptp(ranks) == 0:
        reason = f"needs two items, has {blocks}" if blocks < 2 else "no item orders the arms"
        return ask.undecided(reason, notes, estimate=math.nan, interval=_SHARE, **told)
    done = scipy_stats().friedmanchisquare(*ranks)
    df = len(arms) - 1
    return _of_ranks(done, df, blocks * df, ask, told | {"notes": notes})


def _blocks(arms: Arms, nan: NanPolicy) -> tuple[Floats, tuple[str, ...]]:
    arms_of(arms, "omit", least=3)
    columns = [floats(f"arms[{name!r}]", values) for name, values in arms.items()]
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(str(len(column)) for column in columns)
        raise ConfigurationError("arms", f"have {sizes} values: the same items are needed in each")
    table = np.array(columns)
    missing: NDArray[np.bool_] = np.isnan(table).max(axis=0)
    if missing.any() and nan == "error":
        arms_of(arms, nan)  # raises, and names the arm
    count = int(missing.sum())
    notes = (f"{count} items of {len(missing)} left out (NaN)",) if count else ()
    return table[:, ~missing], notes


def _of_ranks(done: Any, df: int, largest: int, ask: Inference, told: Told) -> Result:
    statistic = float(done.statistic)
    low, high = chi2_limits(statistic, df, ask)
    return ask.result(
        statistic=statistic,
        df=(df,),
        p_value=float(done.pvalue),
        estimate=statistic / largest,
        interval=(min(1.0, low / largest), min(1.0, high / largest)),
        **told,
    )


def _anova_words(test: str, method: str, means: Means) -> dict[str, Any]:
    estimand = "share of variance between arms (eta²)"
    return {"test": test, "method": method, "estimand": estimand, **means.told}


def _no_variance(means: Means) -> str:
    reason = untestable(*means.arms) or ""
    return "no arm varies" if "varies" in reason else reason


def _one_constant(means: Means) -> str:
    constant = [name for name, arm in zip(means.names, means.arms, strict=True) if not arm.variance]
    return f"{', '.join(constant)} does not vary: its weight is infinite" if constant else ""


def _welch_f(arms: tuple[Moments, ...]) -> tuple[float, tuple[float, float]]:
    weights = np.array([arm.n / arm.variance for arm in arms])
    averages, k = np.array([arm.mean for arm in arms]), len(arms)
    total = weights.sum()
    between = float(weights @ (averages - weights @ averages / total) ** 2) / (k - 1)
    below = np.array([arm.n - 1 for arm in arms])
    lack = float(((1 - weights / total) ** 2 / below).sum())
    return between / (1 + 2 * (k - 2) * lack / (k**2 - 1)), (k - 1, (k**2 - 1) / (3 * lack))


def _share_limits(statistic: float, df: tuple[float, float], n: float, ask: Inference) -> Interval:
    """λ / (λ + N) at the limits of the noncentrality λ."""
    low, high = f_limits(statistic, df, ask)
    return low / (low + n), high / (high + n)
