"""Before the run: power, sample size and minimum detectable effect, exact. PURE.

Repeats of an item are averaged; of r repeats with intra-class correlation ρ the mean has (1 + (r − 1) ρ) / r
times the variance of one (Kish's design effect over r), so that items, not calls, carry the sample size.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import real, share, whole
from crucible_telemetry.stats.extra import optimize, scipy_stats
from crucible_telemetry.stats.inference import Inference, t_quantile
from crucible_telemetry.stats.noncentral import t_below_shifted
from crucible_telemetry.stats.result import Alternative

_MOST = 2**40


class _Design(Struct, frozen=True, kw_only=True):
    """What every design says: the question, the arms' sizes, and repeats with their correlation."""

    alternative: Alternative = "two-sided"
    confidence: float = 0.95
    ratio: float = 1.0
    repeats: int = 1
    icc: float | None = None

    def __post_init__(self) -> None:
        Inference(self.confidence, self.alternative)
        _checked(self.repeats, self.icc, self.ratio)

    @property
    def _ask(self) -> Inference:
        return Inference(self.confidence, self.alternative)

    @property
    def _variance_factor(self) -> float:
        return design_effect(self.repeats, self.icc or 0.0) / self.repeats


class MeansDesign(_Design, frozen=True, kw_only=True):
    """A t test to come: of two arms, of pairs, or of one sample against a claim.

    `effect_size` is a difference in standard deviations of one value (pairs: of one difference), `n` the
    number of items of the control (pairs: of pairs), the treatment having ``ratio * n``. With `repeats`,
    `icc` is needed: the share of that variance which lies between items.
    """

    kind: Literal["independent", "paired", "one-sample"] = "independent"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("independent", "paired", "one-sample"):
            raise ConfigurationError(
                "kind", f"{self.kind!r} is none of independent, paired, one-sample"
            )

    def power(self, effect_size: float, n: int) -> float:
        """The chance of p < 1 − confidence, from the noncentral t; 0 with too few items for a test."""
        whole("n", n)
        if self.kind == "independent":
            other = math.ceil(self.ratio * n)
            df, weight = n + other - 2, n * other / (n + other)
        else:
            df, weight = n - 1, float(n)
        if n < 2 or df < 1:
            return 0.0
        shift = effect_size * math.sqrt(weight / self._variance_factor)
        return _t_power(shift, df, self._ask)

    def sample_size(self, effect_size: float, power: float = 0.8) -> int:
        """The smallest `n` whose power is at least `power`."""
        share("power", power)
        signs = {"less": -1, "greater": 1}.get(self.alternative)
        if effect_size == 0 or (signs and effect_size * signs < 0):
            raise ConfigurationError("effect_size", f"{effect_size} is not what is looked for")
        return _smallest(lambda n: self.power(effect_size, n) >= power)

    def minimum_detectable_effect(self, n: int, power: float = 0.8) -> float:
        """The smallest effect found with chance `power`; negative when looked for below."""
        share("power", power)
        if n < 2:
            raise ConfigurationError("n", f"{n} items allow no test")
        sign = -1 if self.alternative == "less" else 1
        high = 1.0
        while self.power(sign * high, n) < power:
            high *= 2
        found = optimize().brentq(lambda d: self.power(sign * d, n) - power, 0.0, high, xtol=1e-12)
        return sign * float(found)


class RatesDesign(_Design, frozen=True, kw_only=True):
    """A score test (Pearson's χ² with its sign) of two independent rates to come.

    Power is summed over the outcomes that reject: exact, and so not quite smooth in `n`. With `repeats` and
    `icc` it is that of the effective number of trials, ``n * repeats / (1 + (repeats − 1) icc)``.
    """

    def power(self, control_rate: float, treatment_rate: float, n: int) -> float:
        """The chance of p < 1 − confidence with `n` items in the control."""
        for name, rate in (("control_rate", control_rate), ("treatment_rate", treatment_rate)):
            if not 0 <= real(name, rate) <= 1:
                raise ConfigurationError(name, f"{rate} is not between 0 and 1")
        factor = self._variance_factor
        whole("n", n)
        sizes = math.floor(n / factor + 1e-9), math.floor(math.ceil(self.ratio * n) / factor + 1e-9)
        if min(sizes) < 1:
            return 0.0
        return _score_power((control_rate, treatment_rate), sizes, self._ask)

    def sample_size(self, control_rate: float, treatment_rate: float, power: float = 0.8) -> int:
        """The smallest `n` from which on ten in a row have at least `power`."""
        share("power", power)
        apart = treatment_rate - control_rate
        if apart == 0 or apart * {"less": -1, "greater": 1}.get(self.alternative, apart) < 0:
            raise ConfigurationError(
                "treatment_rate", f"{treatment_rate} is not what is looked for"
            )

        def enough(n: int) -> bool:
            return self.power(control_rate, treatment_rate, n) >= power

        n = _smallest(enough)
        while n > 1 and any(enough(fewer) for fewer in range(max(1, n - 10), n)):
            n = next(fewer for fewer in range(max(1, n - 10), n) if enough(fewer))
        while True:
            short = [more for more in range(n, n + 10) if not enough(more)]
            if not short:
                return n
            n = short[-1] + 1

    def minimum_detectable_effect(self, control_rate: float, n: int, power: float = 0.8) -> float:
        """The smallest difference found with chance `power`, upwards unless looked for below; NaN: none is."""
        share("power", power)
        sign = -1 if self.alternative == "less" else 1
        most = control_rate if sign < 0 else 1 - control_rate

        def excess(apart: float) -> float:
            return self.power(control_rate, control_rate + sign * apart, n) - power

        if excess(most) < 0:
            return math.nan
        return sign * float(optimize().brentq(excess, 0.0, most, xtol=1e-9))


def design_effect(repeats: int, icc: float) -> float:
    """Kish's: how many times more values are needed when `repeats` of each item correlate by `icc`."""
    _checked(repeats, icc, 1.0)
    return 1 + (repeats - 1) * icc


def _checked(repeats: int, icc: float | None, ratio: float) -> None:
    whole("repeats", repeats, least=1)
    if repeats > 1 and icc is None:
        raise ConfigurationError("icc", "repeats need the correlation within items (0 to 1)")
    if icc is not None and not 0 <= icc <= 1:
        raise ConfigurationError("icc", f"{icc} is not between 0 and 1")
    if not 0 < ratio < math.inf:
        raise ConfigurationError("ratio", f"{ratio} is not above 0")


def _t_power(shift: float, df: float, ask: Inference) -> float:
    critical = t_quantile(1 - ask.tail, df)
    up, down = (t_below_shifted(-critical, df, moved) for moved in (-shift, shift))
    # The upper tail is the mirrored lower one, where small probabilities keep their digits.
    chances = {"greater": up, "less": down}
    return float(min(1.0, chances.get(ask.alternative, up + down)))


def _score_power(rates: tuple[float, float], sizes: tuple[int, int], ask: Inference) -> float:
    (places, masses), (other_places, other_masses) = (
        _likely(rate, size) for rate, size in zip(rates, sizes, strict=True)
    )
    control, treatment = places[:, None] / sizes[0], other_places / sizes[1]
    pooled = (places[:, None] + other_places) / sum(sizes)
    error = np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    z = np.divide(treatment - control, error, where=error > 0, out=np.zeros_like(error))
    reach = ask.critical()
    rejects = {"greater": z > reach, "less": z < -reach}.get(ask.alternative, np.abs(z) > reach)
    return float(masses @ rejects @ other_masses)


def _likely(
    rate: float, n: int
) -> tuple[
    "np.ndarray[tuple[int], np.dtype[np.float64]]", "np.ndarray[tuple[int], np.dtype[np.float64]]"
]:
    """All counts but those with less than 1e-12 of the probability together."""
    law = scipy_stats().binom
    low, high = (law.ppf(tail, n, rate) for tail in (5e-13, 1 - 5e-13))
    places = np.arange(max(low, 0), high + 1)
    return places, law.pmf(places, n, rate)


def _smallest(enough: Callable[[int], bool]) -> int:
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST:
            raise ConfigurationError("power", f"more than {_MOST} items are needed")
    low = high // 2 if high > 2 else 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
