"""Log-rank tests: whether arms succeed at the same pace, some of their times censored; two arms or more. PURE."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Floats, NanPolicy, clusters_of, wanted
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.result import Alternative, Effect, Result, Told
from crucible_telemetry.stats.survival import ASSUMPTION, Censored, counted

Times = tuple[Floats, NDArray[np.bool_]]


def log_rank(
    control: Censored,
    treatment: Censored,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The log-rank test; the hazard ratio by Peto's one step, above 1 when the treatment succeeds sooner.

    Peto & Peto, JRSS A 135 (1972) 185-207. ``"greater"``: the treatment succeeds sooner.
    """
    ask = Inference(confidence, alternative)
    arms = tuple(
        wanted(name, arm, Censored).rows(name, nan)
        for name, arm in (("control", control), ("treatment", treatment))
    )
    notes = (*arms[0][2], *arms[1][2], ASSUMPTION)
    told: Told = {
        "test": "log-rank",
        "method": "hypergeometric variance, Peto's one-step hazard ratio",
        "estimand": "hazard ratio of success, treatment / control",
        "n": (len(arms[0][0]), len(arms[1][0])),
    }
    race = _Race.of([arm[:2] for arm in arms])
    excess, variance = float(race.excess[1]), float(race.covariance[1, 1])
    if variance == 0:
        reason = "no success while both arms were at risk"
        return ask.undecided(
            reason, notes, estimate=math.nan, **told | {"interval": (0.0, math.inf)}
        )
    log_ratio, error = excess / variance, 1 / math.sqrt(variance)
    low, high = ask.interval(log_ratio, error)
    return ask.result(
        statistic=excess / math.sqrt(variance),
        p_value=ask.p_value(excess / math.sqrt(variance)),
        estimate=math.exp(log_ratio),
        interval=(math.exp(low), math.exp(high)),
        effect_size=Effect("log hazard ratio", log_ratio, (low, high)),
        notes=notes,
        **told,
    )


def log_rank_arms(
    arms: Mapping[str, Censored],
    *,
    clusters: Mapping[str, ArrayLike] | None = None,
    nan: NanPolicy = "error",
) -> Result:
    """The log-rank test of two arms or more: whether any differs in its times to success.

    With independent units the hypergeometric covariance and χ² (Kalbfleisch & Prentice, 2002, 1.4). With
    `clusters`, labels of each arm's units (items; equal ones in two arms are one), the covariance is summed
    over clusters from each unit's influence, Σ ∫ (own arm − arms' share at risk) dM (Lin & Wei, JASA 84 (1989)
    1074-1078), and the statistic is Hotelling's T² of them, a degree of freedom less for each arm: at 5 % it
    rejects 3 to 6 % from twenty clusters an arm on, with ten 1 (shared by the arms) to 7 % (apart).
    """
    if not isinstance(arms, Mapping) or len(arms) < 2:
        raise ConfigurationError("arms", "a mapping of two or more names to times is needed")
    checked = [
        wanted(f"arms[{name!r}]", arm, Censored).rows(f"arms[{name!r}]", nan)
        for name, arm in arms.items()
    ]
    race = _Race.of([one[:2] for one in checked])
    labels = None if clusters is None else _labels(arms, clusters, checked)
    sizes = race.n if labels is None else [len(np.unique(label)) for label in labels]
    told: Told = {
        "test": "log-rank of several arms",
        "method": "hypergeometric covariance, χ²" if labels is None
        else "covariance over clusters (Lin–Wei), Hotelling's F",
        "estimand": "whether the arms' times to success differ",
        "estimate": math.nan,
        "interval": (math.nan, math.nan),
        "n": tuple(sizes),
        "arms": tuple(arms),
    }  # fmt: skip
    notes = (*(note for one in checked for note in one[2]), ASSUMPTION)
    found = race.chi_square() if labels is None else race.clustered(labels)
    if found is None:
        reason = "no success while all arms were at risk, or too few clusters"
        return Inference().undecided(reason, notes, **told)
    statistic, df, p_value = found
    return Inference().result(statistic=statistic, df=df, p_value=p_value, notes=notes, **told)


def _labels(
    arms: Mapping[str, Censored],
    clusters: Mapping[str, ArrayLike],
    checked: Sequence[tuple[Floats, NDArray[np.bool_], tuple[str, ...]]],
) -> list[NDArray[np.intp]]:
    """Each arm's clusters as numbers."""
    if set(clusters) != set(arms):
        raise ConfigurationError("clusters", f"want labels of {', '.join(arms)}, of each")
    if any(one[2] for one in checked):
        raise ConfigurationError("nan", "times that are left out have no place among clusters")
    found = [
        clusters_of(f"clusters[{name!r}]", clusters[name], len(one[0]))
        for name, one in zip(arms, checked, strict=True)
    ]
    _, numbers = np.unique(np.concatenate(found), return_inverse=True)
    return np.split(numbers, np.cumsum([len(one) for one in found])[:-1])


class _Race(Struct, frozen=True, eq=False):
    """All arms over the times of successes: at risk and succeeded, a row an arm and a column a time."""

    arms: Sequence[Times]
    at: Floats
    risk: Floats
    events: Floats

    @classmethod
    def of(cls, arms: Sequence[Times]) -> "_Race":
        at = np.unique(np.concatenate([times[observed] for times, observed in arms]))
        rows = [counted(times, observed, at) for times, observed in arms]
        return cls(arms, at, np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))

    @property
    def n(self) -> list[int]:
        """Units of each arm."""
        return [len(times) for times, _ in self.arms]

    @property
    def share(self) -> Floats:
        """Each arm's share of those at risk."""
        share: Floats = self.risk / self.risk.sum(axis=0)
        return share

    @property
    def excess(self) -> Floats:
        """Each arm's successes beyond those expected."""
        excess: Floats = (self.events - self.share * self.events.sum(axis=0)).sum(axis=1)
        return excess

    @property
    def covariance(self) -> Floats:
        """Of the excesses, hypergeometric at each time."""
        risk, events = self.risk.sum(axis=0), self.events.sum(axis=0)
        weight = events * (risk - events) / np.maximum(risk - 1, 1)
        share = self.share
        covariance: Floats = np.diag(share @ weight) - (share * weight) @ share.T
        return covariance

    def chi_square(self) -> tuple[float, tuple[float, ...], float] | None:
        """Statistic, degrees of freedom and p; None where they are not defined."""
        statistic = _squared(self.excess, self.covariance)
        df = len(self.arms) - 1
        if statistic is None:
            return None
        return statistic, (df,), float(special().chdtrc(df, statistic))

    def clustered(
        self, labels: Sequence[NDArray[np.intp]]
    ) -> tuple[float, tuple[float, ...], float] | None:
        """The same from sums over clusters."""
        moved = np.concatenate([self._influence(place) for place in range(len(self.arms))], axis=1)
        numbers = np.concatenate(labels)
        sums = np.array([np.bincount(numbers, weights=row) for row in moved])
        q, left = len(self.arms) - 1, sums.shape[1] - len(self.arms)
        if left < q:
            return None
        apart = sums - sums.mean(axis=1, keepdims=True)
        statistic = _squared(self.excess, apart @ apart.T * sums.shape[1] / left)
        if statistic is None:
            return None
        f, below = statistic * (left - q + 1) / (q * left), left - q + 1
        return f, (q, below), float(special().fdtrc(q, below, f))

    def _influence(self, arm: int) -> Floats:
        """What each unit of an arm adds to the excesses (rows: arms), its expected part taken off."""
        times, observed = self.arms[arm]
        hazard = self.events.sum(axis=0) / self.risk.sum(axis=0)
        own = np.zeros((len(self.arms), 1))
        own[arm] = 1.0
        apart = own - self.share
        start = np.zeros((len(self.arms), 1))
        expected = np.concatenate([start, np.cumsum(apart * hazard, axis=1)], axis=1)
        passed = np.searchsorted(self.at, times, "right")
        succeeded = np.concatenate([start, apart], axis=1)[:, passed] * observed
        influence: Floats = succeeded - expected[:, passed]
        return influence


def _squared(excess: Floats, covariance: Floats) -> float | None:
    """The excesses' square in units of their covariance, over all arms but the first, which the others determine."""
    rest = covariance[1:, 1:]
    if np.linalg.matrix_rank(rest, hermitian=True) < len(rest):
        return None
    return float(excess[1:] @ np.linalg.solve(rest, excess[1:]))
