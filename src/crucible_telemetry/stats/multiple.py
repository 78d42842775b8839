"""Which arms differ: Tukey, Games–Howell, Dunnett, Hsu, each right for all its comparisons at once. PURE."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Literal

from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import NanPolicy
from crucible_telemetry.stats.arms import Means
from crucible_telemetry.stats.effects import untestable
from crucible_telemetry.stats.extra import scipy_stats
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.many_to_one import ManyToOne, critical_value
from crucible_telemetry.stats.means import DIFFERENCE, welch_df
from crucible_telemetry.stats.moments import Moments
from crucible_telemetry.stats.result import Alternative, Result, Told

SomeArms = Mapping[str, ArrayLike | Moments]
Variances = Literal["equal", "unequal"]


class Spread(Struct, frozen=True):
    """Errors of differences of the arms' means, and how those with one control correlate."""

    means: Means
    equal: bool

    @classmethod
    def of(cls, means: Means, variances: Variances) -> "Spread":
        """ConfigurationError names what is wrong."""
        if variances not in ("equal", "unequal"):
            raise ConfigurationError("variances", f"{variances!r} is none of equal, unequal")
        _testable(means)
        return cls(means, variances == "equal")

    @property
    def words(self) -> str:
        """What is assumed of the variances."""
        return "one variance" if self.equal else "variances may differ"

    def error(self, i: int, j: int) -> tuple[float, float]:
        """Standard error of the difference of two means, and its degrees of freedom."""
        shares = self._share(i) + self._share(j)
        pooled = self.equal or not shares
        df = (
            float(self.means.within_df)
            if pooled
            else welch_df(*(self.means.arms[k] for k in (i, j)))
        )
        return math.sqrt(shares), df

    def shared(self, control: int) -> tuple[float, ...]:
        """The λ of `ManyToOne`, one for each other arm."""
        own = self._share(control)
        others = [self._share(k) for k in range(len(self.means.arms)) if k != control]
        return tuple(sorted(math.sqrt(own / (own + other)) if own else 0.0 for other in others))

    def _share(self, i: int) -> float:
        """The variance of an arm's mean."""
        arm = self.means.arms[i]
        return (self.means.within_variance if self.equal else arm.variance) / arm.n


def tukey_hsd(
    arms: SomeArms, *, confidence: float = 0.95, nan: NanPolicy = "error"
) -> tuple[Result, ...]:
    """All pairs under one variance (Tukey–Kramer): the later arm minus the earlier, adjusted for all."""
    means, ask = Means.of(arms, nan), Inference(confidence)
    _testable(means)
    variance, df = means.within_variance, means.within_df

    def error(i: int, j: int) -> tuple[float, float]:
        return math.sqrt(variance * (1 / means.n[i] + 1 / means.n[j]) / 2), df

    return tuple(_pairs(means, "Tukey HSD", error, ask))


def games_howell(
    arms: SomeArms, *, confidence: float = 0.95, nan: NanPolicy = "error"
) -> tuple[Result, ...]:
    """All pairs of arms whose variances differ (Games & Howell, Journal of Educational Statistics 1 (1976) 113-125)."""
    means, ask = Means.of(arms, nan), Inference(confidence)
    _testable(means)

    def error(i: int, j: int) -> tuple[float, float]:
        one, other = means.arms[i], means.arms[j]
        spread = one.variance / one.n + other.variance / other.n
        return math.sqrt(spread / 2), welch_df(one, other) if spread else math.nan

    return tuple(_pairs(means, "Games–Howell", error, ask))


def dunnett(
    arms: SomeArms,
    *,
    control: str,
    variances: Variances = "equal",
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> tuple[Result, ...]:
    """Every other arm against one control (Dunnett, JASA 50 (1955) 1096-1121).

    p-values and limits hold for all comparisons together; integrated numerically, with nothing random.
    ``variances="unequal"``: each comparison with its own error and Satterthwaite's df, correlations estimated
    (Hasler & Hothorn, Biometrical Journal 50 (2008) 793-800).
    """
    spread, ask = Spread.of(Means.of(arms, nan), variances), Inference(confidence, alternative)
    means = spread.means
    if control not in means.names:
        raise ConfigurationError("control", f"{control!r} is none of {', '.join(means.names)}")
    at = means.names.index(control)
    return tuple(
        _against(spread, at, other, ask) for other in range(len(means.arms)) if other != at
    )


def hsu_mcb(
    arms: SomeArms,
    *,
    best: Literal["largest", "smallest"] = "largest",
    variances: Variances = "equal",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> tuple[Result, ...]:
    """Each arm minus the best of the others: Hsu's constrained intervals of multiple comparisons with the best.

    Of the largest, an interval that ends at 0 rules the arm out, one that begins at 0 picks it out; of the
    smallest, the other way round (Hsu, Multiple Comparisons, 1996, 4.1). `variances`: as in `dunnett`.
    """
    if best not in ("largest", "smallest"):
        raise ConfigurationError("best", f"{best!r} is none of largest, smallest")
    spread, ask = Spread.of(Means.of(arms, nan), variances), Inference(confidence)
    means = spread.means
    sign = 1.0 if best == "largest" else -1.0
    lower, upper = _bounds(spread, sign, confidence)
    told: Told = {
        "test": "Hsu's comparison with the best",
        "method": f"constrained intervals, the {best} mean is best, {spread.words}",
        "estimand": f"mean minus the {best} of the others",
    }
    found = []
    for i, name in enumerate(means.names):
        others = [sign * arm.mean for j, arm in enumerate(means.arms) if j != i]
        apart = sign * (sign * means.arms[i].mean - max(others))
        limits = tuple(sorted((sign * lower[i] + 0.0, sign * upper[i] + 0.0)))  # no −0
        found.append(
            ask.result(
                estimate=apart,
                interval=limits,
                arms=(name,),
                n=(means.n[i],),
                notes=means.notes,
                **told,
            )
        )
    return tuple(found)


def _testable(means: Means) -> None:
    reason = untestable(*means.arms)
    if reason:
        raise ConfigurationError("arms", reason)


def _pairs(means: Means, test: str, error: Any, ask: Inference) -> Iterator[Result]:
    """The studentised range over all pairs of `len(arms)` means; `error` is that of one mean."""
    law, k = scipy_stats().studentized_range, len(means.arms)
    critical: dict[float, float] = {}
    for i, j in combinations(range(k), 2):
        told: Told = {
            "test": test,
            "method": f"studentised range over {k} arms, adjusted for all pairs",
            "estimand": DIFFERENCE,
            "estimate": means.arms[j].mean - means.arms[i].mean,
            "arms": (means.names[i], means.names[j]),
            "n": (means.n[i], means.n[j]),
        }
        unit, df = error(i, j)
        if unit == 0:
            yield ask.undecided("neither arm varies", means.notes, **told)
            continue
        if df not in critical:
            critical[df] = float(law.ppf(ask.confidence, k, df))
        statistic, reach = told["estimate"] / unit, critical[df] * unit
        yield ask.result(
            statistic=statistic,
            df=(df,),
            p_value=float(law.sf(abs(statistic), k, df)),
            interval=(told["estimate"] - reach, told["estimate"] + reach),
            notes=means.notes,
            **told,
        )


def _against(spread: Spread, at: int, other: int, ask: Inference) -> Result:
    means, both = spread.means, ask.alternative == "two-sided"
    estimate = means.arms[other].mean - means.arms[at].mean
    told: Told = {
        "test": "Dunnett",
        "method": f"against {means.names[at]!r}, adjusted for {len(means.arms) - 1} comparisons, {spread.words}",
        "estimand": DIFFERENCE,
        "estimate": estimate,
        "arms": (means.names[at], means.names[other]),
        "n": (means.n[at], means.n[other]),
    }
    error, df = spread.error(at, other)
    if error == 0:
        return ask.undecided("neither arm varies", means.notes, **told)
    statistic, shared = estimate / error, spread.shared(at)
    toward = {"two-sided": abs(statistic), "less": -statistic}.get(ask.alternative, statistic)
    reach = critical_value(shared, df, ask.confidence, two_sided=both) * error
    return ask.result(
        interval=ask.sides((estimate - reach, estimate + reach)),
        statistic=statistic,
        df=(df,),
        p_value=ManyToOne(shared, df, two_sided=both).p_value(toward),
        notes=means.notes,
        **told,
    )


def _bounds(spread: Spread, sign: float, confidence: float) -> tuple[list[float], list[float]]:
    """Hsu's constrained limits of each arm minus the best of the others (largest after `sign`)."""
    places = range(len(spread.means.arms))
    averages = [sign * arm.mean for arm in spread.means.arms]

    def reach(control: int, other: int) -> float:
        error, df = spread.error(control, other)
        if error == 0:
            return 0.0
        shared = spread.shared(control)
        return error * critical_value(shared, df, confidence, two_sided=False)

    upper = [
        max(0.0, min(averages[i] - averages[j] + reach(i, j) for j in places if j != i))
        for i in places
    ]
    still = [i for i in places if upper[i] > 0]
    lower = [
        min((averages[i] - averages[j] - reach(j, i) for j in still if j != i), default=0.0)
        for i in places
    ]
    return [min(0.0, low) for low in lower], upper
