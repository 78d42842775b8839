"""Rates: intervals of one proportion and of a difference, exact tests, tables. PURE.

An arm is ``(successes, n)``; differences and odds ratios are treatment against control.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import real
from crucible_telemetry.stats.extra import scipy_stats
from crucible_telemetry.stats.inference import Inference, disagreeing
from crucible_telemetry.stats.noncentral import chi2_limits
from crucible_telemetry.stats.result import UNBOUNDED, Alternative, Effect, Interval, Result, Told
from crucible_telemetry.wilson import wilson_limits

Rate = tuple[int, int]

PROPORTION: Interval = (0.0, 1.0)
_FEW = 5
DIFFERENCE_OF_RATES = "difference of rates, treatment − control"


def wilson(
    rate: Rate, *, alternative: Alternative = "two-sided", confidence: float = 0.95
) -> Result:
    """Wilson's score interval (JASA 22 (1927) 209-212): close to nominal from few trials on."""
    successes, n = rate_of("rate", rate)
    ask = Inference(confidence, alternative)
    told: Told = {"test": "Wilson interval", "method": "score", "estimand": "rate", "n": (n,)}
    if n == 0:
        return ask.undecided("no trials", estimate=math.nan, **told | {"interval": PROPORTION})
    limits = ask.sides(wilson_limits(successes, n, ask.critical()), PROPORTION)
    return ask.result(estimate=successes / n, interval=limits, **told)


def clopper_pearson(
    rate: Rate, *, alternative: Alternative = "two-sided", confidence: float = 0.95
) -> Result:
    """Clopper and Pearson's exact interval (Biometrika 26 (1934) 404-413): never under nominal."""
    return _binomial(rate, None, Inference(confidence, alternative))


def binomial_test(
    rate: Rate,
    *,
    claim: float,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """One rate against a claim ("above 99 %"), exact; the interval is Clopper and Pearson's."""
    if not 0 <= real("claim", claim) <= 1:
        raise ConfigurationError("claim", f"{claim} is not between 0 and 1")
    return _binomial(rate, claim, Inference(confidence, alternative))


def newcombe(
    control: Rate,
    treatment: Rate,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """The difference of two independent rates: Newcombe's hybrid score interval, the score test beside it.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998) 873-890. The statistic is the pooled z, whose
    square is Pearson's χ²; the effect is the log odds ratio with Woolf's interval.
    """
    arms = rates_of(control, treatment)
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "Newcombe difference",
        "method": "hybrid score interval (Newcombe's method 10), p-value of the score test",
        "estimand": DIFFERENCE_OF_RATES,
        "n": (arms[0][1], arms[1][1]),
    }
    if not min(told["n"]):
        return ask.undecided(
            "an arm has no trials", estimate=math.nan, interval=(-1.0, 1.0), **told
        )
    low, high = newcombe_limits(*arms[0], *arms[1], ask.critical())
    statistic, notes = _pooled_z(*arms)
    found = ask.result(
        estimate=arms[1][0] / arms[1][1] - arms[0][0] / arms[0][1],
        interval=ask.sides((float(low), float(high)), (-1.0, 1.0)),
        statistic=statistic,
        p_value=1.0 if notes else ask.p_value(statistic),
        effect_size=None if notes else _woolf(*arms, ask),
        notes=notes or _few_expected(*arms),
        **told,
    )
    return disagreeing(found)


def fisher_exact(
    control: Rate,
    treatment: Rate,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """Fisher's exact test; the conditional odds ratio with its exact interval."""
    table, ask = _table(control, treatment), Inference(confidence, alternative)
    p_value = scipy_stats().fisher_exact(table, alternative=alternative).pvalue
    told: Told = {"test": "Fisher's exact test", "method": "conditional on the margins"}
    return _odds(table, "conditional", ask, float(p_value), told)


def odds_ratio(
    control: Rate,
    treatment: Rate,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """The sample odds ratio with Woolf's interval; without one (infinite) where a cell is empty."""
    table = _table(control, treatment)
    told: Told = {"test": "odds ratio", "method": "Woolf's logit interval"}
    return _odds(table, "sample", Inference(confidence, alternative), math.nan, told)


def chi_square(table: ArrayLike, *, confidence: float = 0.95) -> Result:
    """Pearson's χ² of a table of counts (rows: arms), without continuity correction; Cramér's V.

    The interval of V turns the noncentral χ² (large samples); expected counts below 5 are told.
    """
    counts, ask = _counts(table), Inference(confidence)
    n, df = int(counts.sum()), (counts.shape[0] - 1) * (counts.shape[1] - 1)
    told: Told = {
        "test": "chi-square",
        "method": "Pearson, no continuity correction",
        "estimand": "Cramér's V",
        "n": tuple(int(row) for row in counts.sum(axis=1)),
    }
    if not (counts.sum(axis=0).all() and counts.sum(axis=1).all()):
        return ask.undecided(
            "a row or column is empty", estimate=math.nan, interval=PROPORTION, **told
        )
    done = scipy_stats().chi2_contingency(counts, correction=False)
    largest = n * (min(counts.shape) - 1)
    limits = chi2_limits(float(done.statistic), df, ask)
    few = int((done.expected_freq < 5).sum())
    return ask.result(
        statistic=float(done.statistic),
        df=(float(df),),
        p_value=float(done.pvalue),
        estimate=math.sqrt(done.statistic / largest),
        interval=(math.sqrt(limits[0] / largest), min(1.0, math.sqrt(limits[1] / largest))),
        notes=(f"{few} expected counts are below 5",) if few else (),
        **told,
    )


def newcombe_limits(
    control_successes: Any, control_n: Any, treatment_successes: Any, treatment_n: Any, z: float
) -> tuple[Any, Any]:
    """Newcombe's limits of treatment − control at ± `z`; takes arrays too."""
    control, treatment = control_successes / control_n, treatment_successes / treatment_n
    c_low, c_high = wilson_limits(control_successes, control_n, z)
    t_low, t_high = wilson_limits(treatment_successes, treatment_n, z)
    apart = treatment - control
    return (
        apart - np.hypot(treatment - t_low, c_high - control),
        apart + np.hypot(t_high - treatment, control - c_low),
    )


def rate_of(name: str, rate: Rate) -> Rate:
    """Two whole numbers, 0 ≤ successes ≤ n; ConfigurationError names the argument."""
    wrong = ConfigurationError(name, f"{rate!r} is no (successes, n) with 0 ≤ successes ≤ n")
    try:
        successes, n = (int(count) for count in rate)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if (successes, n) != tuple(rate) or not 0 <= successes <= n:
        raise wrong
    return successes, n


def rates_of(control: Rate, treatment: Rate) -> tuple[Rate, Rate]:
    """Both arms, checked."""
    return rate_of("control", control), rate_of("treatment", treatment)


def _few_expected(control: Rate, treatment: Rate) -> tuple[str, ...]:
    """Unequal arms that expect few of the rarer outcome reject nearly twice as often as they say."""
    pooled = (control[0] + treatment[0]) / (control[1] + treatment[1])
    expected = min(pooled, 1 - pooled) * min(control[1], treatment[1])
    if expected >= _FEW:
        return ()
    note = f"an arm expects {expected:.1f} of the rarer outcome: below {_FEW} the score test is rough, see fisher_exact"
    return (note,)


def _pooled_z(control: Rate, treatment: Rate) -> tuple[float, tuple[str, ...]]:
    pooled = (control[0] + treatment[0]) / (control[1] + treatment[1])
    variance = pooled * (1 - pooled) * (1 / control[1] + 1 / treatment[1])
    if variance == 0:
        return 0.0, ("all outcomes are the same",)
    apart = treatment[0] / treatment[1] - control[0] / control[1]
    return apart / math.sqrt(variance), ()


def _woolf(control: Rate, treatment: Rate, ask: Inference) -> Effect:
    """The log odds ratio, whose error an empty cell leaves without bounds (Woolf, Annals of Human Genetics 19 (1955) 251-253)."""
    cells = (
        treatment[0], control[1] - control[0], treatment[1] - treatment[0], control[0]
    )  # fmt: skip
    estimate = _log(cells[0] * cells[1]) - _log(cells[2] * cells[3])
    if not all(cells):
        return Effect("log odds ratio", estimate, UNBOUNDED)
    error = math.sqrt(sum(1 / cell for cell in cells))
    return Effect("log odds ratio", estimate, ask.interval(estimate, error))


def _binomial(rate: Rate, claim: float | None, ask: Inference) -> Result:
    successes, n = rate_of("rate", rate)
    told: Told = {
        "test": "Clopper–Pearson interval" if claim is None else "binomial test",
        "method": "exact" if claim is None else f"exact, against a claim of {claim:g}",
        "estimand": "rate",
        "n": (n,),
    }
    if n == 0:
        return ask.undecided("no trials", estimate=math.nan, **told | {"interval": PROPORTION})
    done = scipy_stats().binomtest(
        successes, n, 0.5 if claim is None else claim, alternative=ask.alternative
    )
    low, high = done.proportion_ci(ask.confidence, method="exact")
    return ask.result(
        estimate=successes / n,
        interval=(float(low), float(high)),
        p_value=math.nan if claim is None else float(done.pvalue),
        **told,
    )


def _table(control: Rate, treatment: Rate) -> Any:
    rows = [[successes, n - successes] for successes, n in rates_of(control, treatment)]
    return np.array(rows[::-1])


def _counts(table: ArrayLike) -> Any:
    counts = np.asarray(table)
    if counts.ndim != 2 or min(counts.shape) < 2 or counts.dtype.kind not in "iu":
        raise ConfigurationError(
            "table", "two or more rows and columns of whole numbers are needed"
        )
    if (counts < 0).any():
        raise ConfigurationError("table", "holds a negative count")
    return counts


def _odds(table: Any, kind: str, ask: Inference, p_value: float, told: Told) -> Result:
    told |= {"estimand": "odds ratio, treatment / control"}
    n = int(table[1].sum()), int(table[0].sum())
    nothing: Interval = (0.0, math.inf)
    if not (table.sum(axis=0).all() and table.sum(axis=1).all()):
        reason = "no odds: an arm is empty, or all outcomes are the same"
        return ask.undecided(reason, estimate=math.nan, interval=nothing, n=n, **told)
    with np.errstate(divide="ignore", invalid="ignore"):  # of an empty cell
        done = scipy_stats().contingency.odds_ratio(table, kind=kind)
        low, high = done.confidence_interval(ask.confidence, alternative=ask.alternative)
    estimate, limits = float(done.statistic), (float(low), float(high))
    limits = nothing if any(map(math.isnan, limits)) else limits
    notes = () if table.all() else ("a cell is empty: the odds ratio lies at its border",)
    effect = Effect("log odds ratio", _log(estimate), (_log(limits[0]), _log(limits[1])))
    return ask.result(
        estimate=estimate,
        interval=limits,
        p_value=p_value,
        effect_size=effect,
        n=n,
        notes=notes,
        **told,
    )


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
