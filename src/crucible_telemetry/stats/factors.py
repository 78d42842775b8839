"""Two factors and their interaction, by statsmodels. PURE."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stats.arguments import floats
from crucible_telemetry.stats.extra import pandas, special, statsmodels
from crucible_telemetry.stats.inference import Inference
from crucible_telemetry.stats.noncentral import f_limits
from crucible_telemetry.stats.result import Effect, Result, Told


def two_way_anova(
    values: ArrayLike, a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95
) -> tuple[Result, Result, Result]:
    """Factor `a`, factor `b` and their interaction, with type II sums of squares; partial eta² and omega².

    `a` and `b` label every value. Every combination needs values, and some two; otherwise a
    ConfigurationError, or results that say why there is no test.
    """
    kept, ask = floats("values", values), Inference(confidence)
    if not np.isfinite(kept).all():
        raise ConfigurationError("values", "holds NaN or infinities")
    codes, levels = _codes({"a": a, "b": b}, len(kept))
    cells = np.bincount(codes[0] * levels[1] + codes[1], minlength=levels[0] * levels[1])
    if not cells.all():
        raise ConfigurationError("b", "some combination of a and b has no values")
    df = (levels[0] - 1, levels[1] - 1, (levels[0] - 1) * (levels[1] - 1))
    left = len(kept) - len(cells)
    squares, error = _sums_of_squares(kept, *codes)
    told: Told = {
        "test": "two-way ANOVA",
        "method": "ordinary least squares, type II sums of squares (statsmodels)",
        "n": (len(kept),),
    }
    found = [
        _effect(square, error, (of, left), ask, told | {"arms": (name,)})
        for name, square, of in zip(("a", "b", "a × b"), squares, df, strict=True)
    ]
    return found[0], found[1], found[2]


def _codes(
    factors: dict[str, ArrayLike], length: int
) -> tuple[list[NDArray[Any]], tuple[int, int]]:
    codes, levels = [], []
    for name, labels in factors.items():
        array = np.asarray(labels)
        if array.shape != (length,):
            raise ConfigurationError(name, f"has shape {array.shape}, ({length},) is needed")
        known, code = np.unique(array, return_inverse=True)
        if len(known) < 2:
            raise ConfigurationError(name, f"needs two levels, has {len(known)}")
        codes.append(code)
        levels.append(len(known))
    return codes, (levels[0], levels[1])


def _sums_of_squares(
    values: NDArray[np.float64], a: NDArray[Any], b: NDArray[Any]
) -> tuple[tuple[float, float, float], float]:
    # Centred and scaled to the spread, so that an offset or a unit costs no digits.
    centre, spread = values.mean(), values.std() or 1.0
    data = pandas().DataFrame({"y": (values - centre) / spread, "a": a, "b": b})
    model = statsmodels("formula.api").ols("y ~ C(a) * C(b)", data).fit()
    if model.df_resid == 0:
        return (math.nan, math.nan, math.nan), 0.0
    table = statsmodels("stats.anova").anova_lm(model, typ=2)["sum_sq"] * spread**2
    first, second, both, error = (float(square) for square in table.to_numpy())
    return (first, second, both), error


def _effect(square: float, error: float, df: tuple[int, int], ask: Inference, told: Told) -> Result:
    told |= {"estimand": "partial eta²", "df": df}
    if df[1] == 0 or error <= 0:
        reason = "one value in each combination" if df[1] == 0 else "nothing varies within"
        return ask.undecided(reason, estimate=math.nan, **told | {"interval": (0.0, 1.0)})
    variance = error / df[1]
    statistic = square / df[0] / variance
    low, high = f_limits(statistic, df, ask)
    interval = low / (low + told["n"][0]), high / (high + told["n"][0])
    spread = square - df[0] * variance
    omega = spread / (spread + told["n"][0] * variance)
    return ask.result(
        statistic=statistic,
        p_value=float(special().fdtrc(*df, statistic)),
        estimate=square / (square + error),
        interval=interval,
        effect_size=Effect("partial omega²", omega, interval),
        **told,
    )
