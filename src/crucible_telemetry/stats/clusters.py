"""Means of clustered values (repeats of items, calls of users): CR2 errors, Bell–McCaffrey df. PURE.

The arms' indicators are orthogonal, so the bias-reduced linearisation of Bell & McCaffrey (Survey
Methodology 28 (2002) 169-181) has a closed form: with n_g of N values of an arm in cluster g, a cluster's
sum of residuals counts (1 − n_g/N)^-½ times. Degrees of freedom as in Imbens & Kolesár (Review of
Economics and Statistics 98 (2016) 701-712), under the working model of independent errors.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import Clustered, Floats, NanPolicy, real, wanted
from crucible_telemetry.stats.extra import special
from crucible_telemetry.stats.inference import Inference, from_t
from crucible_telemetry.stats.means import DIFFERENCE
from crucible_telemetry.stats.result import Alternative, Result, Told

_METHOD = "cluster-robust CR2, Bell–McCaffrey degrees of freedom"


class Cells(Struct, frozen=True, eq=False):
    """Sums and sizes, a row for each arm and a column for each cluster; sums are about `centre`."""

    sums: Floats
    sizes: Floats
    centre: float
    notes: tuple[str, ...]

    @classmethod
    def of(cls, nan: NanPolicy, **arms: Clustered) -> "Cells":
        """The arms by name; equal labels in two arms are one cluster."""
        rows = [wanted(name, sampled, Clustered).rows(name, nan) for name, sampled in arms.items()]
        labels, index = np.unique(np.concatenate([row[1] for row in rows]), return_inverse=True)
        ends = np.cumsum([len(row[0]) for row in rows])[:-1]
        places, width = np.split(index, ends), len(labels)
        values = np.concatenate([row[0] for row in rows])
        with np.errstate(all="ignore"):  # of opposite infinities
            centre = float(np.mean(values)) if len(values) else math.nan
        centre = centre if math.isfinite(centre) else 0.0
        sums = [
            np.bincount(place, weights=row[0] - centre, minlength=width)
            for row, place in zip(rows, places, strict=True)
        ]
        sizes = [np.bincount(place, minlength=width) for place in places]
        notes = tuple(note for row in rows for note in row[2])
        return cls(np.array(sums), np.array(sizes, dtype=np.float64), centre, notes)

    @property
    def crossed(self) -> bool:
        """Whether some cluster has values in more than one arm."""
        return bool(((self.sizes > 0).sum(axis=0) > 1).any())

    @property
    def counts(self) -> tuple[int, ...]:
        """Clusters of each arm."""
        return tuple(int(count) for count in (self.sizes > 0).sum(axis=1))

    def mean(self, drawn: NDArray[Any], axis: int = -1, arm: int = 0) -> Any:
        """An arm's mean over the clusters drawn, by their places; NaN when none has a value of it."""
        places = drawn.astype(np.intp)
        sums, sizes = self.sums[arm][places].sum(axis), self.sizes[arm][places].sum(axis)
        return self.centre + sums / sizes


def cr2_mean(
    sampled: Clustered,
    *,
    claim: float = 0.0,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The mean of all values, its error from the clusters; tested against `claim`."""
    cells = Cells.of(nan, values=sampled)
    told: Told = {"test": "CR2 mean", "estimand": "mean", "null": real("claim", claim)}
    return _tested(cells, np.array([1.0]), Inference(confidence, alternative), told)


def cr2_difference(
    control: Clustered,
    treatment: Clustered,
    *,
    alternative: Alternative = "two-sided",
    confidence: float = 0.95,
    nan: NanPolicy = "error",
) -> Result:
    """The difference of means; clusters may lie in one arm or in both (then they are compared within).

    With the same number of values in every cluster and arm it is the paired t on cluster means.
    """
    cells = Cells.of(nan, control=control, treatment=treatment)
    told: Told = {"test": "CR2 difference", "estimand": DIFFERENCE}
    return _tested(cells, np.array([-1.0, 1.0]), Inference(confidence, alternative), told)


def cr2_wald(
    arms: Mapping[str, Clustered], *, confidence: float = 0.95, nan: NanPolicy = "error"
) -> Result:
    """Whether the means of two arms or more differ, clusters in one arm or in several.

    Wald's statistic on the CR2 covariance, as Hotelling's T² with the degrees of freedom of Tipton &
    Pustejovsky (Journal of Educational and Behavioral Statistics 40 (2015) 604-634: approximate Hotelling).
    Of two arms it is `cr2_difference`, squared; with every cluster once in every arm it is Hotelling's T².
    """
    if not isinstance(arms, Mapping) or len(arms) < 2:
        raise ConfigurationError("arms", "a mapping of two or more names to `Clustered` is needed")
    ask, cells = (
        Inference(confidence),
        Cells.of(nan, **{f"arms[{k!r}]": v for k, v in arms.items()}),
    )
    told: Told = {
        "test": "CR2 Wald",
        "method": "cluster-robust CR2, approximate Hotelling's T²",
        "estimand": "whether the means of the arms differ",
        "estimate": math.nan,
        "interval": (math.nan, math.nan),
        "n": cells.counts,
        "arms": tuple(arms),
    }
    if min(cells.counts) < 2:
        reason = f"needs two clusters in each arm, has {', '.join(map(str, cells.counts))}"
        return ask.undecided(reason, _noted(cells), **told)
    return _wald(cells, ask, told | {"notes": _noted(cells)})


def _wald(cells: Cells, ask: Inference, told: Told) -> Result:
    """Every arm's mean against the first's."""
    means, scale, scores = _scores(cells)
    contrasts = np.eye(len(means))[1:] - np.eye(len(means))[0]
    with np.errstate(all="ignore"):  # of infinite values
        robust = contrasts @ scores @ scores.T @ contrasts.T
    reason = _singular(robust)
    if reason:
        return ask.undecided(reason, told.pop("notes"), **told)
    apart = contrasts @ means
    return _hotelling(
        float(apart @ np.linalg.solve(robust, apart)),
        len(contrasts),
        _joint_df(scale, cells.sizes, contrasts),
        ask,
        told,
    )


def _noted(cells: Cells) -> tuple[str, ...]:
    rows = ", ".join(f"{row:.0f}" for row in cells.sizes.sum(axis=1))
    return *cells.notes, f"n counts clusters, of {rows} values"


def _singular(robust: Floats) -> str:
    if not np.isfinite(robust).all():
        return "a value is not finite"
    full = np.linalg.matrix_rank(robust, hermitian=True) == len(robust)
    return "" if full else "the clusters' means do not vary, or too few clusters"


def _hotelling(statistic: float, q: int, eta: float, ask: Inference, told: Told) -> Result:
    below = eta - q + 1
    if below <= 0:
        return ask.undecided("too few clusters", told.pop("notes"), **told)
    f = statistic * below / (eta * q)
    return ask.result(
        statistic=f, df=(q, below), p_value=float(special().fdtrc(q, below, f)), **told
    )


def _joint_df(scale: Floats, sizes: Floats, contrasts: Floats) -> float:
    """η = q (q + 1) / Σ var(d_st): of the scaled covariance's entries under independent errors."""
    weights = contrasts.T @ np.linalg.solve(contrasts / sizes.sum(axis=1) @ contrasts.T, contrasts)
    diagonal = scale**2 * sizes
    vectors = scale * sizes / np.sqrt(sizes.sum(axis=1))[:, None]
    crossed = diagonal @ (vectors**2).T
    inner = diagonal @ diagonal.T - crossed - crossed.T + (vectors @ vectors.T) ** 2
    own = np.diag(weights)
    q = len(contrasts)
    return float(q * (q + 1) / (inner * (weights**2 + np.outer(own, own))).sum())


def intraclass_correlation(
    sampled: Clustered, *, confidence: float = 0.95, nan: NanPolicy = "error"
) -> Result:
    """The share of the variance that lies between clusters: what planning repeats needs (`MeansDesign`).

    ICC(1) of the one-way random model by analysis of variance, with the limits of F (Shrout & Fleiss,
    Psychological Bulletin 86 (1979) 420-428); with unequal clusters these are approximate.
    """
    values, labels, notes = wanted("values", sampled, Clustered).rows("values", nan)
    ask = Inference(confidence)
    sizes, between, within = _squares(values, labels)
    df = len(sizes) - 1, len(values) - len(sizes)
    told: Told = {
        "test": "intraclass correlation",
        "method": "ICC(1), one-way random effects, limits of F",
        "estimand": "share of variance between clusters",
        "n": (len(sizes),),
    }
    if min(df) < 1 or not within > 0 or not math.isfinite(between):
        reason = "needs two clusters, one with two values, that vary within"
        return ask.undecided(reason, notes, estimate=math.nan, **told)
    size = (len(values) - float((sizes**2).sum()) / len(values)) / df[0]
    statistic = (between / df[0]) / (within / df[1])
    quantiles = special().fdtri(*df, 1 - ask.tail), 1.0, special().fdtri(*df, ask.tail)
    low, estimate, high = (
        (ratio - 1) / (ratio + size - 1) for ratio in (statistic / q for q in quantiles)
    )
    return ask.result(
        statistic=statistic,
        df=df,
        p_value=float(special().fdtrc(*df, statistic)),
        estimate=estimate,
        interval=(float(low), float(high)),
        notes=notes,
        **told,
    )


def _squares(values: Floats, labels: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    """Sizes of the clusters, sums of squares between and within them."""
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    with np.errstate(all="ignore"):
        centred = values - values.mean() if len(values) else values
        means = np.bincount(index, weights=centred, minlength=len(sizes)) / sizes
        within = float(((centred - means[index]) ** 2).sum())
    return sizes, float((sizes * means**2).sum()), within


def _tested(cells: Cells, contrast: Floats, ask: Inference, told: Told) -> Result:
    told |= {"method": _METHOD, "n": cells.counts}
    means, scale, by_arm = _scores(cells)
    with np.errstate(all="ignore"):
        estimate = float(contrast @ means) + (cells.centre if len(contrast) == 1 else 0.0)
        scores = contrast @ by_arm
    notes = _noted(cells)
    if min(cells.counts) < 2:
        told.pop("null", None)
        reason = f"needs two clusters in each arm, has {' and '.join(map(str, cells.counts))}"
        return ask.undecided(reason, notes, estimate=estimate, **told)
    error = math.sqrt(float(scores @ scores))
    if not math.isfinite(error) or error == 0:
        told.pop("null", None)
        reason = "a value is not finite" if error else "the clusters' means do not vary"
        return ask.undecided(reason, notes, estimate=estimate, **told)
    return from_t(ask, error, _df(scale, cells.sizes), estimate=estimate, notes=notes, **told)


def _scores(cells: Cells) -> tuple[Floats, Floats, Floats]:
    """The arms' means about the centre, and by arm and cluster: the factor of residuals, and their sums times it."""
    rows = cells.sizes.sum(axis=1)
    with np.errstate(all="ignore"):
        means = cells.sums.sum(axis=1) / rows
        scale = 1 / (rows[:, None] * np.sqrt(1 - cells.sizes / rows[:, None]))
        return means, scale, scale * (cells.sums - means[:, None] * cells.sizes)


def _df(scale: Floats, sizes: Floats) -> float:
    """(Σλ)² / Σλ² of the scores' covariance D − Σ u u', a vector u for each arm."""
    diagonal = (scale**2 * sizes).sum(axis=0)
    vectors = scale * sizes / np.sqrt(sizes.sum(axis=1))[:, None]
    inner = vectors @ vectors.T
    trace = diagonal.sum() - np.trace(inner)
    squares = diagonal @ diagonal - 2 * (vectors**2 @ diagonal).sum() + (inner**2).sum()
    return float(trace**2 / squares)
