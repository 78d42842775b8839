"""A batch of rows as they were emitted → what is kept of it: wanted? → private → enriched → columns.

Everything here is decided before anything is stored, and nothing here has an effect outside the drain,
so a batch may be prepared again after a crash.
"""

from collections import Counter
from collections.abc import Sequence
from math import inf, isfinite
from typing import Any, Final

import numpy as np

from crucible_telemetry.collect.batch import Batch
from crucible_telemetry.collect.figures import figures
from crucible_telemetry.collect.layouts import Layout, Layouts, by_unit, is_span
from crucible_telemetry.collect.pricing import Pricer
from crucible_telemetry.collect.progress import Prepared
from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.schema import Schema
from crucible_telemetry.collect.wanted import FLAGGED, Guard, count_marks
from crucible_telemetry.collect.words import LIMIT
from crucible_telemetry.events.columns import (
    MARKED,
    Columns,
)
from crucible_telemetry.events.enrich import Plan, constant, models
from crucible_telemetry.events.event import GENERIC_SHAPE
from crucible_telemetry.events.privacy import only_counts
from crucible_telemetry.events.sensitive import suspicious
from crucible_telemetry.events.shape import HEADER, decode_rows, dictionaries, encode
from crucible_telemetry.garbage import uncollected

_PLAIN: Final = frozenset({int, str, bool, float, type(None), bytes})


class Preparer:
    """Prepares the batches of one experiment. Used under the drain's lock only."""

    def __init__(
        self, reader: ExperimentReader, guard: Guard, pricer: Pricer | None = None
    ) -> None:
        self.reader, self.guard, self._pricer = reader, guard, pricer
        self._layouts = Layouts(redacts=guard.redacts)

    @property
    def calls_users(self) -> bool:
        """Whether users' code runs on each event: filters, strategies, enrichers, redaction, streamed metrics."""
        spec = self.guard.spec
        streamed = any(hasattr(metric, "add") for metric in spec.custom_metrics.values())
        return self.guard.chooses or bool(spec.enrichers or spec.redact or streamed)

    @uncollected
    def prepare(self, given: Sequence[bytes], first_seq: int, consumed: int) -> Prepared:
        """Decode, choose, protect and enrich; `consumed` is carried through.

        Raises what decoding or our own code raises; users' callables are guarded one by one.
        """
        rows = list(given)
        marks: Counter[str] = Counter()
        taken = len(rows)
        decoded = decode_rows(rows)
        filtered = sampled_out = 0
        if self.guard.chooses:
            keep, filtered, sampled_out = self.guard.choose(decoded, consumed, marks)
            rows = [rows[i] for i in keep]
            decoded = [decoded[i] for i in keep]
        unredacted: list[int] = []
        if self.guard.spec.redact is not None:
            unredacted = self._rewrite(rows, decoded, marks)
        columns = self._columns(rows, decoded, first_seq, marks) if rows else None
        if columns is not None and unredacted:
            columns.flags[unredacted] |= MARKED
        beyond = {} if columns is None else self._beyond(columns, decoded)
        return Prepared(consumed, taken, columns, filtered, sampled_out, 0, marks, beyond=beyond)

    def priced(self, prepared: Prepared) -> Prepared | None:
        """See `Pricer.priced`; as it is where nothing is to be priced."""
        if prepared.priced or self._pricer is None:
            return prepared
        return self._pricer.priced(prepared)

    def _beyond(
        self, columns: Columns, decoded: list[list[Any]]
    ) -> dict[int, tuple[str | None, str | None]]:
        """(provider, model) of the rows whose model has no number of its own."""
        if not self.reader.models.full:
            return {}
        names: dict[int, tuple[str | None, str | None]] = {}
        for at in np.flatnonzero(columns.model == LIMIT).tolist():
            name, measurements, metadata = dictionaries(decoded[at])
            plan = Plan(name, list(measurements), list(metadata))
            named = models([(v,) for v in (*measurements.values(), *metadata.values())], plan)
            names[at] = (None, None) if named is None else (named[0][0], named[1][0])
        return names

    def _rewrite(
        self, rows: list[bytes], decoded: list[list[Any]], marks: "Counter[str]"
    ) -> list[int]:
        """Put what the user's `redact` lets stand in place of each row, so that figures come from that too.

        Returns the positions of the rows at which it failed.
        """
        failed: list[int] = []
        for at, row in enumerate(decoded):
            rows[at], wrong = self.guard.rewritten(row, marks)
            failed += [at] if wrong else []
        decoded[:] = decode_rows(rows)
        return failed

    def _columns(
        self, rows: list[bytes], decoded: list[list[Any]], first_seq: int, marks: "Counter[str]"
    ) -> Columns:
        shapes = [row[1] for row in decoded]
        groups: list[tuple[int, list[int] | None]]
        if shapes.count(shapes[0]) == len(shapes) and shapes[0] != GENERIC_SHAPE:
            groups = [(shapes[0], None)]
        else:
            places: dict[int, list[int]] = {}
            for i, shape in enumerate(shapes):
                places.setdefault(shape, []).append(i)
            groups = list(places.items())
        out = Batch(len(rows))
        self._layouts.refresh()
        for shape, at in groups:
            if shape == GENERIC_SHAPE:
                for i in at or ():
                    self._generic(rows, decoded[i], i, out, marks)
                continue
            for layout, some in by_unit(self._layouts.of_shape(shape), decoded, at):
                chosen = decoded if some is None else [decoded[i] for i in some]
                self._group(rows, layout, chosen, some, out, marks)
        return out.columns(first_seq, rows, shapes)

    def _group(
        self,
        rows: list[bytes],
        layout: Layout,
        decoded: list[list[Any]],
        at: list[int] | None,
        out: Batch,
        marks: "Counter[str]",
    ) -> None:
        header, values = _transposed(decoded)
        found = figures(layout.plan, values, len(decoded), self.reader, marks)
        out.put(at, header, found)
        if layout.schema is not None:
            self._check(layout.schema, decoded, at, out, marks)
        if self.guard.looks_at_all:
            for i, row in enumerate(decoded):
                self._protect(rows, row, i if at is None else at[i], out, marks)
            return
        touched: dict[int, bool] = {}
        for position, column in enumerate(values):
            if self._is_delicate(layout, position, column, marks):
                self._redact(layout.plan.keys[position], position, decoded, touched, marks)
        for i, marked in touched.items():
            # The keys are as they were, and so is the shape: only the values are written again.
            place = i if at is None else at[i]
            rows[place] = encode(decoded[i])
            if marked:
                out.marked.append(place)

    @staticmethod
    def _check(
        schema: Schema,
        decoded: list[list[Any]],
        at: list[int] | None,
        out: Batch,
        marks: "Counter[str]",
    ) -> None:
        """Mark the rows that are not as their registered types say."""
        misfits = schema.misfits([dictionaries(row)[1:] for row in decoded])
        marks["schema"] += len(misfits)
        out.marked += misfits if at is None else [at[i] for i in misfits]

    def _redact(
        self,
        key: str,
        position: int,
        decoded: list[list[Any]],
        touched: dict[int, bool],
        marks: "Counter[str]",
    ) -> None:
        """Replace what may not be kept in one column; `touched` gets the rows, and whether one is marked."""
        place = HEADER + position
        left: set[str] = set()  # texts it leaves as they are: words such as a finish reason
        for i, row in enumerate(decoded):
            value = row[place]
            if type(value) in _FLAT_NUMBERS or (type(value) is str and value in left):
                continue
            kept = self.guard.redacted(key, value, marks)
            marked = type(kept) in (dict, list) and count_marks(kept, marks)
            if marked or kept != value:
                row[place] = kept
                touched[i] = touched.get(i, False) or marked
            elif type(value) is str:
                left.add(value)

    def _is_delicate(
        self, layout: Layout, position: int, column: Sequence[Any], marks: "Counter[str]"
    ) -> bool:
        """Whether a column needs a closer look: a sensitive key, containers, odd types."""
        kind = type(column[0])
        if kind in _PLAIN and kind is not float and constant(column):
            if kind is str:
                return self._is_replaced(layout, position, column[0])
            return position in layout.sensitive and kind not in _FLAT_NUMBERS
        kinds = set(map(type, column))
        if float in kinds:
            _count_nan(column if kinds <= _REAL else _floats(column), marks)
        if position in layout.sensitive:
            return not kinds <= _FLAT_NUMBERS and not only_counts(column)
        if str in kinds and self.guard.redacts and suspicious(_joined(column, kinds)):
            return True
        return not kinds <= _PLAIN and not only_counts(column)

    def _is_replaced(self, layout: Layout, position: int, text: str) -> bool:
        """Whether privacy keeps another text than this; most that it looks at are a word it leaves."""
        if not self.guard.redacts or not (position in layout.sensitive or suspicious(text)):
            return False
        return bool(self.guard.redacted(layout.plan.keys[position], text, Counter()) != text)

    def _protect(
        self, rows: list[bytes], row: list[Any], at: int, out: Batch, marks: "Counter[str]"
    ) -> None:
        """Redact one row, let enrichers add to it, encode it again."""
        encoded, shape, new_marks = self.guard.protect(row)
        marks.update(new_marks)
        rows[at] = encoded
        out.shape[at] = shape
        if not FLAGGED.isdisjoint(new_marks):
            out.marked.append(at)

    def _generic(
        self, rows: list[bytes], row: list[Any], at: int, out: Batch, marks: "Counter[str]"
    ) -> None:
        """A row that carries its own keys: a plan of its own, remembered while there is room."""
        name, measurements, metadata = dictionaries(row)
        layout = self._layouts.of_keys(name, list(measurements), list(metadata))
        if layout.of_span is not None and is_span(row):
            layout = layout.of_span
        values = [(value,) for value in (*measurements.values(), *metadata.values())]
        header = [(item,) for item in row[:HEADER]]
        out.put([at], header, figures(layout.plan, values, 1, self.reader, marks))
        out.names[at] = name
        if layout.schema is not None:
            self._check(layout.schema, [row], [at], out, marks)
        found: Counter[str] = Counter()
        delicate = [self._is_delicate(layout, i, v, found) for i, v in enumerate(values)]
        if any(delicate) or self.guard.looks_at_all:
            self._protect(rows, row, at, out, marks)  # which counts by itself
        else:
            marks.update(found)


_FLAT_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_TEXT: Final = {str}
_REAL: Final = frozenset({int, float, bool})


def _floats(column: Sequence[Any]) -> list[float]:
    return [value for value in column if type(value) is float]


def _count_nan(column: Sequence[Any], marks: "Counter[str]") -> None:
    """NaN and infinities are kept as they are, and counted; a sum tells whether there are any."""
    if not isfinite(sum(column)):
        marks["nan"] += sum(1 for value in column if value != value)  # noqa: PLR0124 - NaN
        marks["infinite"] += sum(1 for value in column if value in (inf, -inf))


def _joined(column: Sequence[Any], kinds: set[type]) -> str:
    """All texts of a column as one, so that looking for something in them is one search."""
    return "\n".join(column if kinds == _TEXT else [v for v in column if type(v) is str])


def _transposed(decoded: list[list[Any]]) -> tuple[list[Any], list[Any]]:
    columns = list(zip(*decoded, strict=True))
    return columns[:HEADER], columns[HEADER:]
