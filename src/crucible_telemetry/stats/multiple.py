"""Which arms differ: Tukey, Games–Howell, Dunnett, Hsu, each right for all its comparisons at once. PURE."""

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Literal

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
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> tuple[Result, ...]:
    """Every other arm against one control, under one variance (Dunnett, JASA 50 (1955) 1096-1121).

    p-values and limits hold for all comparisons together; integrated numerically, with nothing random.
    """
    means, ask = Means.of(arms, nan), Inference(confidence, alternative)
    _testable(means)
    if control not in means.names:
        raise ConfigurationError("control", f"{control!r} is none of {', '.join(means.names)}")
    at = means.names.index(control)
    design = _others(means, at), means.n[at], means.within_df
    both = alternative == "two-sided"
    law = ManyToOne(*design, two_sided=both)
    reach = critical_value(*design, confidence, two_sided=both)
    return tuple(
        _against(means, at, other, (law, reach), ask)
        for other in range(len(means.arms))
        if other != at
    )


def hsu_mcb(
    arms: SomeArms,
    *,
    best: Literal["largest", "smallest"] = "largest",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> tuple[Result, ...]:
    """Each arm minus the best of the others: Hsu's constrained intervals of multiple comparisons with the best.

    Of the largest, an interval that ends at 0 rules the arm out, one that begins at 0 picks it out; of the
    smallest, the other way round (Hsu, Multiple Comparisons, 1996, 4.1; one variance).
    """
    if best not in ("largest", "smallest"):
        raise ConfigurationError("best", f"{best!r} is none of largest, smallest")
    means, ask = Means.of(arms, nan), Inference(confidence)
    _testable(means)
    sign = 1.0 if best == "largest" else -1.0
    lower, upper = _bounds(means, sign, confidence)
    told: Told = {
        "test": "Hsu's comparison with the best",
        "method": f"constrained intervals, the {best} mean is best",
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


def _others(means: Means, control: int) -> tuple[int, ...]:
    return tuple(n for place, n in enumerate(means.n) if place != control)


def _against(
    means: Means, at: int, other: int, law_reach: tuple[ManyToOne, float], ask: Inference
) -> Result:
    law, reach = law_reach
    estimate = means.arms[other].mean - means.arms[at].mean
    error = math.sqrt(means.within_variance * (1 / means.n[at] + 1 / means.n[other]))
    statistic = estimate / error
    toward = {"two-sided": abs(statistic), "less": -statistic}.get(ask.alternative, statistic)
    return ask.result(
        test="Dunnett",
        method=f"against {means.names[at]!r}, adjusted for {len(means.arms) - 1} comparisons",
        estimand=DIFFERENCE,
        estimate=estimate,
        interval=ask.sides((estimate - reach * error, estimate + reach * error)),
        statistic=statistic,
        df=(means.within_df,),
        p_value=law.p_value(toward),
        arms=(means.names[at], means.names[other]),
        n=(means.n[at], means.n[other]),
        notes=means.notes,
    )


def _bounds(means: Means, sign: float, confidence: float) -> tuple[list[float], list[float]]:
    """Hsu's constrained limits of each arm minus the best of the others (largest after `sign`)."""
    places = range(len(means.arms))
    averages = [sign * arm.mean for arm in means.arms]
    reach = [
        critical_value(_others(means, i), means.n[i], means.within_df, confidence, two_sided=False)
        for i in places
    ]

    def error(i: int, j: int) -> float:
        return math.sqrt(means.within_variance * (1 / means.n[i] + 1 / means.n[j]))

    upper = [
        max(0.0, min(averages[i] - averages[j] + reach[i] * error(i, j) for j in places if j != i))
        for i in places
    ]
    still = [i for i in places if upper[i] > 0]
    lower = [
        min(
            (averages[i] - averages[j] - reach[j] * error(i, j) for j in still if j != i),
            default=0.0,
        )
        for i in places
    ]
    return [min(0.0, low) for low in lower], upper
