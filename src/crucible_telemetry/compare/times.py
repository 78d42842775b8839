"""Time to success by item: restricted means and quantiles of censored times, whatever the design. PURE.

Each unit's influence on a Kaplan–Meier figure is known in closed form (the infinitesimal jackknife), so
that repeats and pairs go by ordinary sums over items: an uncensored restricted mean is exactly the mean of
min(time, horizon), with all that pairs and clusters need.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from crucible_telemetry.compare.design import Arm, Design
from crucible_telemetry.stats.arguments import Floats
from crucible_telemetry.stats.inference import Inference, t_below, t_quantile
from crucible_telemetry.stats.quantiles import joint, needed_n, places, turned_p_value
from crucible_telemetry.stats.result import Interval, Result, Told
from crucible_telemetry.stats.survival import ASSUMPTION, Censored, SurvivalCurve, kaplan_meier


def curve_of(arm: Arm, confidence: float = 0.95) -> SurvivalCurve:
    """The arm's Kaplan–Meier curve, as if its units were independent."""
    return kaplan_meier(censored(arm), confidence=confidence)


def censored(arm: Arm) -> Censored:
    """The arm's times as `ct.stats` takes them."""
    return Censored(
        arm.values, arm.observed if arm.observed is not None else np.isfinite(arm.values)
    )


def restricted(arm: Arm, horizon: float) -> Floats:
    """Pseudo-values of min(time, horizon), one a unit: their mean is the area under the curve.

    Andersen, Hansen & Klein, Lifetime Data Analysis 10 (2004) 335-350, by the infinitesimal jackknife.
    """
    curve = curve_of(arm)
    inside = curve.times < horizon
    edges = np.concatenate([[0.0], curve.times[inside], [horizon]])
    areas = np.diff(edges) * np.concatenate([[1.0], curve.survival[inside]])
    after = np.cumsum(areas[::-1])[::-1][1:]  # the area that lies behind each success
    moved = _influence(arm, curve, int(inside.sum()), after)
    return float(areas.sum()) + moved


def _influence(arm: Arm, curve: SurvivalCurve, events: int, weight: Floats) -> Floats:
    """Units times Σ weight × (hazard while at risk − own success), over the first `events` successes."""
    times, observed = arm.values, censored(arm).observed
    at, at_risk = curve.times[:events], curve.at_risk[:events]
    left = (
        at_risk - curve.events[:events]
    )  # the derivative of log(1 − hazard); nobody left: nothing moves
    weight = np.where(left > 0, weight * at_risk / np.maximum(left, 1), 0.0)
    risk = np.concatenate([[0.0], np.cumsum(weight * curve.events[:events] / at_risk**2)])
    own = np.concatenate([[0.0], weight / at_risk])
    passed = np.searchsorted(at, times, "right")
    succeeded = np.asarray(observed) & (passed > 0) & (times <= (at[-1] if events else -1))
    moved: Floats = len(arm) * (risk[passed] - np.where(succeeded, own[passed], 0.0))
    return moved


class _Quantile(Struct, frozen=True, eq=False):
    """One arm's quantile: how many independent units its curve is worth there, and each item's influence."""

    curve: SurvivalCurve
    q: float
    estimate: float
    worth: float
    by_item: Floats

    @classmethod
    def of(cls, arm: Arm, q: float) -> "_Quantile":
        curve = curve_of(arm)
        estimate = reached(curve, q)
        events = int(np.searchsorted(curve.times, estimate, "right"))
        left = float(curve.survival[events - 1]) if events else 1.0
        moved = _influence(arm, curve, events, np.full(events, left)) / len(arm)
        by_item = arm.item_sums(moved)
        items = len(by_item)
        variance = float((by_item**2).sum()) * items / max(items - 1, 1)
        done = 1 - left
        worth = done * (1 - done) / variance if variance > 0 else float(items)
        return cls(curve, q, estimate, min(worth, float(len(arm))), by_item)

    def limits(self, tail: float) -> Interval:
        """Times at the places that bound the quantile of `worth` values.

        What it is worth is itself estimated: the error is Student's, a degree of freedom less than items.
        """
        n, df = max(self.worth, 1.0), max(len(self.by_item) - 1, 1)
        low, high = places(n, self.q, t_below(t_quantile(tail, df)))
        return (
            0.0 if math.isinf(low) else between(self.curve, (low - 0.5) / n, beyond=False),
            math.inf if math.isinf(high) else between(self.curve, (high - 0.5) / n, beyond=True),
        )


def reached(curve: SurvivalCurve, share: float) -> float:
    """The first time by which this share has succeeded; infinite when the curve never gets there."""
    at = np.flatnonzero(curve.survival <= (1 - share) + 1e-12)
    return float(curve.times[at[0]]) if len(at) else math.inf


def between(curve: SurvivalCurve, share: float, *, beyond: bool) -> float:
    """The time at a share that lies between two successes, each in the middle of its step, by a straight line.

    After the last success it is the time of this, or `beyond` it never where something has not succeeded.
    """
    done = 1 - curve.survival
    if not len(done) or share > done[-1] + 1e-12:
        return math.inf
    middle = (done + np.concatenate([[0.0], done[:-1]])) / 2
    if share > middle[-1]:
        return math.inf if beyond and done[-1] < 1 - 1e-12 else float(curve.times[-1])
    return float(np.interp(share, middle, curve.times))


def quantile_difference(design: Design, q: float, ask: Inference) -> Result:
    """The difference of a quantile of time to success, items as pairs or clusters.

    Each arm's limits lie between order statistics of as many values as its curve is worth over items (Korn &
    Graubard, Survey Methodology 24 (1998) 193-201, in spirit), see `quantiles.places`; the difference combines them by MOVER with the correlation
    of the arms over common items (Zou, Psychological Methods 12 (2007) 399-413).
    """
    control, treatment = (_Quantile.of(arm, q) for arm in design.arms)
    together = _correlation(design, control, treatment)
    told: Told = {
        "test": "quantile difference of time to success",
        "method": "order statistics of the effective n on the Kaplan–Meier curves, MOVER over items",
        "estimand": f"difference of p{100 * q:.10g} of time to success, treatment − control",
        "estimate": _minus(treatment.estimate, control.estimate),
        "n": tuple(len(np.unique(a.items)) if a.items is not None else len(a) for a in design.arms),
    }

    def limits(tail: float) -> Interval:
        return _limits(control, treatment, together, tail)

    notes = _needed(design, (control, treatment), q, ask)
    return ask.result(
        interval=ask.sides(limits(ask.tail)),
        p_value=turned_p_value(told["estimate"], limits, ask.alternative),
        notes=(*notes, ASSUMPTION) if any_censored(design) else notes,
        **told,
    )


def any_censored(design: Design) -> bool:
    """Whether some unit was cut off before it succeeded or failed."""
    return any(
        bool((~np.asarray(censored(arm).observed) & np.isfinite(arm.values)).any())
        for arm in design.arms
    )


def _correlation(design: Design, control: _Quantile, treatment: _Quantile) -> float:
    if not design.paired:
        return 0.0
    spread = math.sqrt(float((control.by_item**2).sum() * (treatment.by_item**2).sum()))
    return float(control.by_item @ treatment.by_item) / spread if spread else 0.0


def _limits(control: _Quantile, treatment: _Quantile, together: float, tail: float) -> Interval:
    if math.isinf(control.estimate) or math.isinf(treatment.estimate):
        tail, together = tail / 2, 0.0  # Bonferroni: limits of both hold together
        (c_low, c_high), (t_low, t_high) = control.limits(tail), treatment.limits(tail)
        low, high = t_low - c_high if t_low < math.inf else -math.inf, _minus(t_high, c_low)
        low = math.inf if math.isinf(t_low) and math.isfinite(c_high) else low
        return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)
    (c_low, c_high), (t_low, t_high) = control.limits(tail), treatment.limits(tail)
    apart = treatment.estimate - control.estimate
    down = joint(treatment.estimate - t_low, c_high - control.estimate, together)
    up = joint(t_high - treatment.estimate, control.estimate - c_low, together)
    return apart - down, apart + up


def _minus(one: float, other: float) -> float:
    return math.nan if math.isinf(one) and one == other else one - other


def _needed(
    design: Design, arms: tuple[_Quantile, _Quantile], q: float, ask: Inference
) -> tuple[str, ...]:
    least = needed_n(q, ask.confidence, ask.alternative)
    return tuple(
        f"{arm.name}: its {len(arm)} units are worth n = {found.worth:.0f} for p{100 * q:.10g}, whose "
        f"limits are finite from n = {least} on"
        for arm, found in zip(design.arms, arms, strict=True)
        if found.worth < least
    )


def success_only(design: Design) -> tuple[Arm, ...]:
    """The units that succeeded, with their times."""
    kept: list[NDArray[np.bool_]] = [np.asarray(censored(arm).observed) for arm in design.arms]
    return tuple(arm.rows(rows) for arm, rows in zip(design.arms, kept, strict=True))
