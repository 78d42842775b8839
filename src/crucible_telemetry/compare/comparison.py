"""What comparing experiments answers: one frozen value that prints, tabulates and draws itself. PURE."""

import html
import math
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from crucible_telemetry.stats.result import Result, number, p_text


class ArmFigures(Struct, frozen=True, kw_only=True):
    """One arm as it was compared: `value` is the comparison's `figure` (mean, rate, p50 …) in `unit`.

    `units` (trials, or calls) of `items` items (None: not known); `failed` and `unfinished` (cancelled,
    timed out or still open) count units; `without_value`: units left out; `unpaired_items`: items left out.
    """

    id: str
    name: str
    condition: str
    role: str
    value: float
    units: int
    items: int | None
    failed: int
    unfinished: int
    without_value: int
    unpaired_items: int


class Finding(Struct, frozen=True, kw_only=True):
    """One metric's result, why this method, and (among several) its p-value corrected for them."""

    metric: str
    result: Result
    why: str = ""
    p_adjusted: float = math.nan


class Curve(Struct, frozen=True, eq=False):
    """An arm's share at or below each value (`of_successes`: succeeded by then), for drawing; 1,000 steps at most.

    It is known up to `until`: for ever where something never succeeds.
    """

    name: str
    values: tuple[float, ...]
    shares: tuple[float, ...]
    of_successes: bool = False
    until: float = math.inf


class Comparison(Struct, frozen=True, kw_only=True):
    """Experiments compared by one primary metric; differences are treatment minus control, in `unit`.

    `primary` answers the question: of two arms their difference, of several whether any differ (then
    `pairs` says which, `best` how far each is from the best of the others). `quantiles`: of times; `beside`:
    figures that do not decide (times of successes alone); `secondary`: further metrics, corrected for their
    number by `correction`; `attempts`: the metric by attempt where trials were retried. `notes` hold for all.
    """

    metric: str
    unit: str
    unit_kind: str
    confidence: float
    arms: tuple[ArmFigures, ...]
    primary: Finding
    figure: str = "value"
    pairs: tuple[Finding, ...] = ()
    best: tuple[Result, ...] = ()
    quantiles: tuple[Result, ...] = ()
    beside: tuple[Result, ...] = ()
    secondary: tuple[Finding, ...] = ()
    correction: str = "holm"
    attempts: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()

    @property
    def result(self) -> Result:
        """The primary result."""
        return self.primary.result

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists, text and numbers; NaN and infinities stay floats. Curves are left out."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        del plain["curves"]
        return plain

    def to_markdown(self) -> str:
        """Headings, a table of the arms, and a table of the results."""
        lines = [f"### {self._title}", "", *_markdown(self._arm_rows()), ""]
        lines += [f"{self.primary.result.estimand}. {self._method}", ""]
        lines += _markdown([_HEAD, *(row for _, row in self._result_rows())])
        notes = [f"- {note}" for note in self._all_notes()]
        return "\n".join([*lines, *(["", *notes] if notes else [])])

    def __str__(self) -> str:
        rows = [_HEAD, *(row for _, row in self._result_rows())]
        return "\n".join(
            [
                self._title,
                *_aligned(self._arm_rows()),
                "",
                f"{self.primary.result.estimand}",
                self._method,
                "",
                *_aligned(rows),
                *(f"note: {note}" for note in self._all_notes()),
            ]
        )

    def _repr_html_(self) -> str:
        parts = [f"<h4>{html.escape(self._title)}</h4>", _table(self._arm_rows())]
        parts.append(
            f"<p>{html.escape(self.primary.result.estimand)}. {html.escape(self._method)}</p>"
        )
        parts.append(_table([_HEAD, *(row for _, row in self._result_rows())]))
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self._all_notes())
        return "".join([*parts, f"<ul>{notes}</ul>" if notes else ""])

    def plot(self) -> Any:
        """A matplotlib figure: estimates with intervals, and how the values are distributed (extra ``[plot]``)."""
        from crucible_telemetry.compare.plot import drawn  # noqa: PLC0415 - optional, and it needs this module

        return drawn(self)

    @property
    def _title(self) -> str:
        return f"{self.metric} ({self.unit or 'no unit'}): treatment − control"

    @property
    def _method(self) -> str:
        result = self.primary.result
        return f"{result.test}: {result.method}. Chosen since {self.primary.why}."

    def _arm_rows(self) -> list[list[str]]:
        head = [
            "arm",
            "role",
            f"{self.unit_kind}s",
            "items",
            "failed",
            "unfinished",
            "left out",
            self.figure,
        ]
        return [head, *(_arm_row(arm) for arm in self.arms)]

    def _result_rows(self) -> Iterator[tuple[str, list[str]]]:
        yield "primary", _row(f"{self.metric}: any arm" if self.pairs else self.metric, self.result)
        for finding in self.pairs:
            yield "pair", _row(" → ".join(finding.result.arms), finding.result, finding.p_adjusted)
        quantiles = [one for one in self.quantiles if one.estimand != self.result.estimand]
        for result in (*self.best, *quantiles, *self.beside):
            about = f" ({result.arms[0]})" if len(result.arms) == 1 else ""
            yield (
                "beside",
                _row(result.estimand.removesuffix(", treatment − control") + about, result),
            )
        for finding in self.secondary:
            yield "secondary", _row(finding.metric, finding.result, finding.p_adjusted)
        for finding in self.attempts:
            yield "attempts", _row(f"{finding.metric} by attempt", finding.result)

    def _all_notes(self) -> list[str]:
        found = [*self.notes, *self.primary.result.notes]
        for name, finding in (("", f) for f in (*self.pairs, *self.secondary, *self.attempts)):
            found += [f"{finding.metric}{name}: {note}" for note in finding.result.notes]
        for result in (*self.quantiles, *self.beside):
            found += result.notes
        return list(dict.fromkeys(found))


_HEAD = ["", "estimate", "interval", "p", "p adjusted", "n"]


def _row(name: str, result: Result, p_adjusted: float = math.nan) -> list[str]:
    low, high = result.interval
    known = not math.isnan(low)
    return [
        name,
        number(result.estimate) if known or not math.isnan(result.estimate) else "",
        f"{number(low)} to {number(high)}" if known else "",
        p_text(result.p_value).removeprefix("p = ").removeprefix("p "),
        p_text(p_adjusted).removeprefix("p = ").removeprefix("p "),
        ", ".join(map(str, result.n)),
    ]


def _arm_row(arm: ArmFigures) -> list[str]:
    left = f"{arm.without_value}" + (f" + {arm.unpaired_items} items" if arm.unpaired_items else "")
    items = "?" if arm.items is None else f"{arm.items}"
    counts = [f"{arm.units}", items, f"{arm.failed}", f"{arm.unfinished}", left]
    return [arm.name, arm.role, *counts, number(arm.value)]


def _markdown(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def _aligned(rows: list[list[str]]) -> list[str]:
    used = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
    widths = {at: max(len(row[at]) for row in rows) for at in used}
    return ["  ".join(row[at].ljust(widths[at]) for at in used).rstrip() for row in rows]


def _table(rows: list[list[str]]) -> str:
    """HTML of the columns that hold something."""
    used = [at for at in range(len(rows[0])) if any(row[at] for row in rows[1:])]
    lines = [
        "".join(_cell("td" if place else "th", row[at], at) for at in used)
        for place, row in enumerate(rows)
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _cell(tag: str, text: str, at: int) -> str:
    side = "right" if at else "left"
    return f"<{tag} style='text-align:{side}'>{html.escape(text)}</{tag}>"
