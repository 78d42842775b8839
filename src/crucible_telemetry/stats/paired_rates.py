"""Rates of pairs: the same items succeed or fail in both arms. PURE."""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import same_length, whole
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.inference import Inference, disagreeing
from crucible_telemetry.stats.rates import DIFFERENCE_OF_RATES
from crucible_telemetry.stats.result import Alternative, Effect, Interval, Result, Told
from crucible_telemetry.wilson import wilson_limits


class PairedRates(Struct, frozen=True, kw_only=True):
    """How many pairs succeeded where: in both arms, in one of them only, in neither."""

    both: int
    control_only: int
    treatment_only: int
    neither: int

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            whole(name, getattr(self, name))

    @classmethod
    def of(cls, control: ArrayLike, treatment: ArrayLike) -> "PairedRates":
        """From outcomes (True, False, 1, 0), item by item."""
        arms = _outcomes("control", control), _outcomes("treatment", treatment)
        same_length(("control", "treatment"), arms)
        first, second = arms
        return cls(
            both=int((first & second).sum()),
            control_only=int((first & ~second).sum()),
            treatment_only=int((~first & second).sum()),
            neither=int((~first & ~second).sum()),
        )

    @property
    def n(self) -> int:
        """All pairs."""
        return self.both + self.control_only + self.treatment_only + self.neither


def newcombe_paired(
    pairs: PairedRates, *, alternative: Alternative = "two-sided", confidence: float = 0.95
) -> Result:
    """The difference of two paired rates: method 10 of Newcombe, Statistics in Medicine 17 (1998) 2635-2650."""
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "Newcombe paired difference",
        "method": "hybrid score interval (method 10)",
    }
    return _difference(pairs, ask, told)


def mcnemar(
    pairs: PairedRates,
    *,
    exact: bool = False,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
) -> Result:
    """McNemar's test: mid-p, or the exact conditional one; the interval is `newcombe_paired`'s.

    The mid-p value is close to nominal where the exact one is too careful (Fagerland, Lydersen & Laake,
    BMC Medical Research Methodology 13 (2013) 91). The statistic counts pairs won by the treatment alone; the
    effect is the log of the odds of that among pairs that differ, with Clopper and Pearson's limits.
    """
    ask = Inference(confidence, alternative)
    told: Told = {
        "test": "McNemar",
        "method": f"{'exact' if exact else 'mid-p'}, interval by Newcombe's method 10",
        "statistic": float(pairs.treatment_only),
        "p_value": _binomial_p(pairs, alternative, mid=0.0 if exact else 0.5),
    }
    return _difference(pairs, ask, told)


def _difference(pairs: PairedRates, ask: Inference, told: Told) -> Result:
    told |= {"estimand": DIFFERENCE_OF_RATES, "n": (pairs.n, pairs.n)}
    same = pairs.control_only + pairs.treatment_only == 0
    if pairs.n == 0:
        told |= {"statistic": math.nan, "p_value": math.nan, "interval": (-1.0, 1.0)}
        return ask.undecided("no pairs", estimate=math.nan, **told)
    found = ask.result(
        estimate=(pairs.treatment_only - pairs.control_only) / pairs.n,
        interval=ask.sides(_limits(pairs, ask.critical()), (-1.0, 1.0)),
        effect_size=None if same else _odds(pairs, ask),
        notes=("no pair differs",) if same else (),
        **told,
    )
    return disagreeing(found)


def _odds(pairs: PairedRates, ask: Inference) -> Effect:
    """The log odds ratio within pairs: of the share that the treatment wins of pairs that differ."""
    won, lost, tail = pairs.treatment_only, pairs.control_only, ask.tail
    inverse = special().betaincinv
    low = float(inverse(won, lost + 1, tail)) if won else 0.0
    high = float(inverse(won + 1, lost, 1 - tail)) if lost else 1.0
    estimate = _logit(won / (won + lost))
    return Effect("log odds ratio within pairs", estimate, ask.sides((_logit(low), _logit(high))))


def _logit(share: float) -> float:
    if share in (0.0, 1.0):
        return math.inf if share else -math.inf
    return math.log(share / (1 - share))


def _limits(pairs: PairedRates, z: float) -> Interval:
    n = pairs.n
    wins = pairs.both + pairs.control_only, pairs.both + pairs.treatment_only
    (c_low, c_high), (t_low, t_high) = (wilson_limits(won, n, z) for won in wins)
    control, treatment = wins[0] / n, wins[1] / n
    apart, together = treatment - control, _phi(pairs)
    return (
        apart - _joint(treatment - t_low, c_high - control, together),
        apart + _joint(t_high - treatment, control - c_low, together),
    )


def _joint(one: float, other: float, together: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * together * one * other + other * other))


def _phi(pairs: PairedRates) -> float:
    """The correlation of the outcomes; a positive one is corrected for continuity, as Newcombe has it."""
    won = pairs.both + pairs.control_only, pairs.both + pairs.treatment_only
    margins = won[0] * (pairs.n - won[0]) * won[1] * (pairs.n - won[1])
    if margins == 0:
        return 0.0
    excess = pairs.both * pairs.neither - pairs.control_only * pairs.treatment_only
    return (max(excess - pairs.n / 2, 0) if excess > 0 else excess) / math.sqrt(margins)


def _binomial_p(pairs: PairedRates, alternative: Alternative, mid: float) -> float:
    """Of the pairs that differ, by fair coins; `mid` of the observed count's own probability is left out."""
    won, n = pairs.treatment_only, pairs.control_only + pairs.treatment_only
    if n == 0:
        return 1.0
    tails = [_at_most(count, n) - mid * _exactly(count, n) for count in (won, n - won)]
    if alternative == "two-sided":
        return min(1.0, 2 * min(tails)) if 2 * won != n else 1 - mid * _exactly(won, n)
    return tails[0] if alternative == "less" else tails[1]


def _at_most(count: int, n: int) -> float:
    return float(special().bdtr(count, n, 0.5))


def _exactly(count: int, n: int) -> float:
    log = special().gammaln
    choose = log(n + 1) - log(count + 1) - log(n - count + 1)
    return math.exp(float(choose) - n * math.log(2))


def _outcomes(name: str, values: ArrayLike) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    outcomes = np.asarray(values)
    if outcomes.ndim != 1 or not np.isin(outcomes, (0, 1)).all():
        raise ConfigurationError(name, "one outcome a pair is needed, True or False")
    return outcomes.astype(np.bool_)
