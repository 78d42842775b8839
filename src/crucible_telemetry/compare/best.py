"""How far each arm is from the best of the others, from the differences of pairs by whatever method. PURE."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from crucible_telemetry.stats.arguments import Floats
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.result import Result


def with_the_best(
    names: Sequence[str],
    difference: Callable[[int, int, Inference], Result],
    best: Literal["largest", "smallest"],
    confidence: float,
) -> tuple[Result, ...]:
    """Each arm minus the best of the others: Hsu's constrained intervals, by Bonferroni instead of a law.

    All of them follow from as many one-sided statements as the best arm has others; where each of these errs
    with an equal part of the error they hold together, however the arms depend on each other (Hsu, Multiple
    Comparisons, 1996, 4.1). `difference(i, j, ask)` is arm j minus arm i.
    """
    k, sign = len(names), 1.0 if best == "largest" else -1.0
    each = Inference(1 - 2 * (1 - confidence) / (k - 1))
    found = {(i, j): difference(i, j, each) for i, j in combinations(range(k), 2)}
    ahead, low, high = _ahead(k, found, sign)
    n = [*(found[i, k - 1].n[0] for i in range(k - 1)), found[k - 2, k - 1].n[1]]
    lower, upper = _constrained(
        np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    )
    return tuple(
        Result(
            test="comparison with the best",
            method=f"Hsu's constrained intervals, Bonferroni over {k - 1} differences, "
            f"the {best} is best",
            estimand=f"difference from the {best} of the others",
            estimate=float(sign * ahead[i].min()) + 0.0,
            interval=(lower[i], upper[i]) if sign > 0 else (0.0 - upper[i], 0.0 - lower[i]),
            confidence=confidence,
            arms=(names[i],),
            n=(n[i],),
        )
        for i in range(k)
    )


def _ahead(
    k: int, found: Mapping[tuple[int, int], Result], sign: float
) -> tuple[Floats, Floats, Floats]:
    """How far the arm of a row is ahead of that of a column, with its limits; the diagonals are infinite."""
    ahead, low, high = (np.full((k, k), np.inf) for _ in range(3))
    for (i, j), of in found.items():
        ahead[j, i] = sign * of.estimate
        ahead[i, j] = -ahead[j, i]
        limits = sorted(sign * limit for limit in of.interval)
        (low[j, i], high[j, i]), (low[i, j], high[i, j]) = limits, (-limits[1], -limits[0])
    return ahead, low, high


def _constrained(low: Floats, high: Floats) -> tuple[list[float], list[float]]:
    """Limits of each arm minus the best of the others; the largest is best, the diagonals are infinite."""
    upper = np.maximum(0.0, high.min(axis=1))
    still = upper > 0
    lower = np.minimum(0.0, np.where(still, low, np.inf).min(axis=1))
    return (lower + 0.0).tolist(), (upper + 0.0).tolist()
