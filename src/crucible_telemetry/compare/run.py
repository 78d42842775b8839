"""Experiments in, a `Comparison` out; the arithmetic runs in a worker thread, so that no loop is blocked."""

import math
from collections.abc import Sequence
from functools import partial
from numbers import Real
from typing import Any, Final, Literal, get_args

import anyio.to_thread
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from crucible_telemetry.compare import refusals, times
from crucible_telemetry.compare.comparison import ArmFigures, Comparison, Curve, Finding
from crucible_telemetry.compare.design import Arm, Design, Pairing, designed
from crucible_telemetry.compare.gathering import Gathered, gathered
from crucible_telemetry.compare.method import Chosen, figure_name, figure_of, quantile, two_arms
from crucible_telemetry.compare.metric import Metric, metric_of
from crucible_telemetry.compare.resampled import Resampling, resampled, seed_of
from crucible_telemetry.compare.several import Several, Wanted, several_arms
from crucible_telemetry.compare.units import CENSORED, Units
from crucible_telemetry.errors import ComparisonError, ConfigurationError
from crucible_telemetry.events.event import Outcome
from crucible_telemetry.experiment.questions import Questions
from crucible_telemetry.stats.corrections import benjamini_hochberg, holm
from crucible_telemetry.stats.inference import Inference, with_notes
from crucible_telemetry.stats.result import Alternative, Result
from crucible_telemetry.stats.survival import SurvivalCurve
from crucible_telemetry.stores.base import Where

Correction = Literal["holm", "bh"]
_QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
_STEPS: Final = 1000


class Question(Struct, frozen=True, kw_only=True):
    """What is asked of the experiments; see `Lab.compare_experiments`."""

    metric: str
    control: str | None = None
    secondary: tuple[str, ...] = ()
    correction: Correction = "holm"
    pairing: Pairing | None = None
    confidence: float = 0.95
    alternative: Alternative = "two-sided"
    horizon_s: float | None = None
    bootstrap: Resampling | None = None

    @property
    def ask(self) -> Inference:
        """Confidence and alternative."""
        return Inference(self.confidence, self.alternative)

    @property
    def horizon_ms(self) -> float | None:
        """The horizon of restricted means."""
        return None if self.horizon_s is None else 1000 * self.horizon_s


def asked(metric: str, options: dict[str, Any]) -> Question:
    """The question, checked; ConfigurationError names an option that is wrong."""
    known = Question.__struct_fields__
    for name in options:
        if name not in known or name == "metric":
            raise ConfigurationError(name, f"unknown option; known are {', '.join(known[1:])}")
    options = dict(options)
    secondary = _metrics(metric, options.pop("secondary", ()))
    question = Question(metric=metric, secondary=secondary, **options)
    _check_choice("correction", question.correction, get_args(Correction))
    for name, choices in (("pairing", get_args(Pairing)), ("bootstrap", get_args(Resampling))):
        if getattr(question, name) is not None:
            _check_choice(name, getattr(question, name), choices)
    horizon = question.horizon_s
    if horizon is not None and not (isinstance(horizon, Real) and 0 < horizon < math.inf):
        raise ConfigurationError("horizon_s", f"{horizon!r} is no time above zero")
    Inference(question.confidence, question.alternative)
    return question


def _check_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ConfigurationError(name, f"{given!r} is none of {', '.join(choices)}")


def _metrics(primary: str, names: Any) -> tuple[str, ...]:
    """Names of secondary metrics, each asked for once."""
    if not isinstance(names, (list, tuple)) or not all(isinstance(one, str) for one in names):
        raise ConfigurationError("secondary", f"want a list of metrics, not {names!r}")
    twice = [one for place, one in enumerate(names) if one in (primary, *names[:place])]
    if twice:
        raise ConfigurationError("secondary", f"{twice[0]!r} is asked for twice")
    return tuple(names)


async def compare(
    experiments: Sequence[Questions], question: Question, where: Where | None = None
) -> Comparison:
    """Compare experiments, the control first; see `Lab.compare_experiments`."""
    if len(experiments) < 2:
        raise ComparisonError(
            question.metric, f"two experiments are needed, not {len(experiments)}"
        )
    if question.bootstrap is not None and len(experiments) > 2:
        raise ConfigurationError("bootstrap", f"is of two arms, not {len(experiments)}")
    ordered = _control_first(experiments, question.control)
    custom = frozenset[str]().union(*(one._custom.names for one in ordered))
    metrics = [metric_of(name, custom) for name in (question.metric, *question.secondary)]
    arms = [await gathered(one, where, metrics) for one in ordered]
    return await anyio.to_thread.run_sync(partial(compared, arms, question, metrics))


def _control_first(experiments: Sequence[Questions], control: str | None) -> list[Questions]:
    if control is None:
        return list(experiments)
    chosen = [one for one in experiments if control in (one.id, one.name)]
    if len(chosen) != 1:
        ids = ", ".join(one.id for one in experiments)
        raise ConfigurationError("control", f"{control!r} is not one of {ids}")
    return [*chosen, *(one for one in experiments if one is not chosen[0])]


def compared(arms: Sequence[Gathered], question: Question, metrics: Sequence[Metric]) -> Comparison:
    """Everything but the reading; `metrics`: what the question's names mean, the primary first."""
    return _Asked(arms, question, metrics[0], metrics[1:]).comparison()


class _Asked(Struct, frozen=True):
    gathered: Sequence[Gathered]
    question: Question
    metric: Metric
    further: Sequence[Metric]

    def comparison(self) -> Comparison:
        metric, question = self.metric, self.question
        refusals.check(metric, self.gathered)
        design, kind = self.design(metric)
        primary, pairs, best = self.primary(design, kind)
        two = len(design.arms) == 2
        curves = [times.curve_of(arm) if kind == "time" else None for arm in design.arms]
        return Comparison(
            metric=metric.name,
            unit=metric.unit,
            unit_kind=self.gathered[0].units.kind,
            confidence=question.confidence,
            arms=tuple(
                self.figures(one, design, place, figure_of(kind, design, place, *self.at))
                for place, one in enumerate(self.gathered)
            ),
            figure=figure_name(kind, *self.at),
            primary=primary,
            pairs=pairs,
            best=best,
            quantiles=self.quantiles(design) if two and kind == "time" and metric.q is None else (),
            beside=self.successes(design) if two and kind == "time" else (),
            secondary=self.secondary(),
            correction=question.correction,
            attempts=self.attempts(),
            notes=(*refusals.notes_on(metric, self.gathered, design.losses), *design.notes),
            curves=tuple(map(_curve, design.arms, curves)) if kind in ("mean", "time") else (),
        )

    @property
    def at(self) -> tuple[float | None, float | None]:
        """The quantile asked for, if one is, and the horizon of restricted means."""
        return self.metric.q, self.question.horizon_ms

    def design(self, metric: Metric, units: Sequence[Units] | None = None) -> tuple[Design, str]:
        """The arms of a metric as a design, and the kind of figure it is."""
        chosen: Sequence[Units | None] = [None] * len(self.gathered) if units is None else units
        found = [one.arm(metric, of) for one, of in zip(self.gathered, chosen, strict=True)]
        names = [arm.name for arm, _ in found]
        if len(set(names)) < len(names):
            names = [one.id for one in self.gathered]
        rate = all(is_rate for _, is_rate in found)
        arms = [
            Arm(name, arm.values, arm.items, arm.observed, arm.below)
            for name, (arm, _) in zip(names, found, strict=True)
        ]
        return designed(metric.name, arms, self.question.pairing), "rate" if rate else metric.kind

    def primary(
        self, design: Design, kind: str
    ) -> tuple[Finding, tuple[Finding, ...], tuple[Result, ...]]:
        """The answer; of several arms also their pairs, and the comparison with the best."""
        name = self.metric.name
        if len(design.arms) == 2:
            one = self.chosen(self.metric, design, kind)
            return Finding(metric=name, result=one.result, why=one.why), (), ()
        found = self.several(self.metric, design, kind)
        pairs = tuple(
            Finding(metric=name, result=one.result, why=one.why, p_adjusted=p)
            for one, p in found.pairs
        )
        omnibus = found.omnibus
        return Finding(metric=name, result=omnibus.result, why=omnibus.why), pairs, found.best

    def several(self, metric: Metric, design: Design, kind: str) -> Several:
        wanted = Wanted(
            kind=kind,
            ask=self.question.ask,
            against_control=self.question.control is not None,
            best="smallest" if metric.is_cost else "largest",
            q=metric.q,
            horizon=self.question.horizon_ms,
        )
        return several_arms(design, wanted)

    def chosen(self, metric: Metric, design: Design, kind: str) -> Chosen:
        if len(design.arms) > 2:
            return self.several(metric, design, kind).omnibus
        found = two_arms(
            kind, design, self.question.ask, q=metric.q, horizon=self.question.horizon_ms
        )
        if self.question.bootstrap is None:
            return found
        seed = seed_of(metric.name, [one.id for one in self.gathered])
        return resampled(metric.name, kind, design, found, (self.question.bootstrap, seed))

    def secondary(self) -> tuple[Finding, ...]:
        """Further metrics, corrected for their number."""
        found = []
        for metric in self.further:
            refusals.check(metric, self.gathered)
            design, kind = self.design(metric)
            chosen = self.chosen(metric, design, kind)
            result = with_notes(
                chosen.result, *refusals.unlike(self.gathered, design.losses), *design.notes
            )
            found.append(Finding(metric=metric.name, result=result, why=chosen.why))
        return corrected(found, self.question.correction)

    def attempts(self) -> tuple[Finding, ...]:
        """The same metric by attempt, where trials were retried."""
        if not any(one.retried for one in self.gathered):
            return ()
        design, kind = self.design(self.metric, [one.attempts() for one in self.gathered])
        chosen = self.chosen(self.metric, design, kind)
        return (Finding(metric=self.metric.name, result=chosen.result, why=chosen.why),)

    def quantiles(self, design: Design) -> tuple[Result, ...]:
        return tuple(quantile(design, q, self.question.ask) for q in _QUANTILES)

    def successes(self, design: Design) -> tuple[Result, ...]:
        """Times of successes alone, with a warning where the arms fail differently often."""
        only = times.success_only(design)
        rates = [1 - len(left) / len(arm) for left, arm in zip(only, design.arms, strict=True)]
        if not any(rates):
            return ()
        try:
            kept = designed(
                self.metric.name, only, "intersection" if design.paired else "independent"
            )
        except ComparisonError:  # an arm, or every pair, is without a success
            return ()
        found = two_arms("mean", kept, self.question.ask).result
        told = ", ".join(
            f"{rate:.2%} of {arm.name}" for rate, arm in zip(rates, design.arms, strict=True)
        )
        warning = f"times of successes alone are not of the same operations: {told} did not succeed"
        notes = found.notes + ((warning,) if len(set(rates)) > 1 else ())
        estimand = f"{found.estimand.removesuffix(', treatment − control')}, successes alone"
        return (replace(found, estimand=estimand, notes=notes),)

    def figures(self, one: Gathered, design: Design, place: int, value: float) -> ArmFigures:
        outcome, losses = one.units.outcome, design.losses[place]
        return ArmFigures(
            id=one.id,
            name=design.arms[place].name,
            condition=one.condition,
            role="control" if place == 0 else "treatment",
            value=value,
            units=len(one.units),
            items=None if one.units.items is None else len(np.unique(one.units.items)),
            failed=int((outcome == Outcome.ERROR).sum()),
            unfinished=int(np.isin(outcome, CENSORED).sum()),
            without_value=losses[0],
            unpaired_items=losses[1],
        )


def corrected(findings: Sequence[Finding], correction: str) -> tuple[Finding, ...]:
    """The findings with p-values corrected for their number; those without one stay without."""
    there = [f for f in findings if not math.isnan(f.result.p_value)]
    method = holm if correction == "holm" else benjamini_hochberg
    adjusted = iter(method([f.result.p_value for f in there]).tolist()) if there else iter(())
    return tuple(
        f if math.isnan(f.result.p_value) else replace(f, p_adjusted=next(adjusted))
        for f in findings
    )


def _curve(arm: Arm, curve: SurvivalCurve | None) -> Curve:
    """The empirical distribution, or of times one minus the Kaplan–Meier curve."""
    if curve is not None:
        values, shares = curve.times, 1 - curve.survival
    else:
        values = np.sort(arm.values)
        shares = np.arange(1, len(values) + 1) / len(values)
    at = np.unique(np.linspace(0, max(len(values) - 1, 0), min(len(values), _STEPS)).astype(int))
    return Curve(
        arm.name, tuple(values[at].tolist()), tuple(shares[at].tolist()),
        curve is not None, math.inf if curve is None else curve.last_seen,
    )  # fmt: skip
