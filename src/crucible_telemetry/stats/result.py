"""What every test answers: one frozen value that reads as a sentence, a table or a dictionary. PURE."""

import html
import math
from typing import Any, Literal

import msgspec
from msgspec import Struct

Alternative = Literal["two-sided", "less", "greater"]
Interval = tuple[float, float]
Told = dict[str, Any]
"""Fields of a result that are known before the data allow the rest."""

UNBOUNDED: Interval = (-math.inf, math.inf)


class Effect(Struct, frozen=True):
    """A standardised effect with its interval, at the confidence of the result it stands in."""

    name: str
    estimate: float
    interval: Interval

    def __str__(self) -> str:
        return f"{self.name} {number(self.estimate)} ({_from_to(self.interval)})"


class Result(Struct, frozen=True, kw_only=True):
    """One test or estimate; differences are *treatment minus control*, in the unit of the values.

    `estimand` says what is estimated; `interval` holds it at `confidence`, and is open on one side when
    `alternative` is ``"less"`` or ``"greater"``. `n` counts the units of each arm, in the order control,
    treatment (or of the arms as given). `df` holds none, one or two degrees of freedom. What the data do
    not allow is NaN (`statistic`, `p_value`, `estimate`) or an infinite limit, and `notes` says why; where
    a method has no statistic, p-value or interval of its own, they are NaN too.
    """

    test: str
    method: str
    estimand: str
    estimate: float
    interval: Interval
    n: tuple[int, ...]
    confidence: float = 0.95
    alternative: Alternative = "two-sided"
    statistic: float = math.nan
    df: tuple[float, ...] = ()
    p_value: float = math.nan
    effect_size: Effect | None = None
    arms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, text and numbers; NaN and infinities stay floats."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_markdown(self) -> str:
        """A table of two columns, one row for each thing known."""
        rows = [f"| {name} | {_cell(text)} |" for name, text in self._rows()]
        return "\n".join([f"| {_cell(self.test)} | |", "|---|---|", *rows])

    def __str__(self) -> str:
        about = f"{self.test} ({', '.join(self.arms)})" if self.arms else self.test
        known = (
            _equals("statistic", self.statistic),
            f"df = {', '.join(map(number, self.df))}" if self.df else "",
            p_text(self.p_value),
            f"n = {', '.join(map(str, self.n))}",
        )
        found = f"{self.estimand} = {number(self.estimate)}{self._interval(', ')}"
        lines = [
            f"{about}: {found} ({', '.join(filter(None, known))})",
            *([f"effect: {self.effect_size}"] if self.effect_size else []),
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        return f"<table><caption>{html.escape(self.test)}</caption>{rows}</table>"

    def _interval(self, before: str) -> str:
        if math.isnan(self.interval[0]):
            return ""
        return f"{before}{_percent(self.confidence)} interval {_from_to(self.interval)}"

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("arms", ", ".join(self.arms)),
            (self.estimand, number(self.estimate)),
            ("interval", self._interval("").replace(" interval", ":")),
            ("statistic", "" if math.isnan(self.statistic) else number(self.statistic)),
            ("degrees of freedom", ", ".join(map(number, self.df))),
            ("p-value", p_text(self.p_value).removeprefix("p = ").removeprefix("p ")),
            ("alternative", "" if math.isnan(self.p_value) else self.alternative),
            ("effect size", str(self.effect_size or "")),
            ("n", ", ".join(map(str, self.n))),
            ("method", self.method),
            *(("note", note) for note in self.notes),
        ]
        return [(name, text) for name, text in rows if text]


def number(value: float) -> str:
    """Four significant digits; infinities as signs, NaN as what it means."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.4g}".replace("-", "−")


def p_text(p_value: float) -> str:
    """``p = 0.042``, ``p < 0.001``, or nothing where there is none."""
    if math.isnan(p_value):
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _equals(name: str, value: float) -> str:
    return "" if math.isnan(value) else f"{name} = {number(value)}"


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _from_to(interval: Interval) -> str:
    return f"{number(interval[0])} to {number(interval[1])}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
