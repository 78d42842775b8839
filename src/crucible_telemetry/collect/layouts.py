"""What the drain knows of a shape, remembered for as long as the catalog stays as it is. PURE."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.collect.schema import Schema, schema_of
from crucible_telemetry.events.enrich import Plan
from crucible_telemetry.events.known import CATALOG
from crucible_telemetry.events.sensitive import sensitive
from crucible_telemetry.events.shape import SHAPES

_MOST: Final = 4096


class Layout(Struct, frozen=True):
    """Where figures of a shape are read, and which values need a look.

    `sensitive`: positions of columns whose key is. `of_span`: for rows that a span of ours ended, where
    these are read otherwise. `schema`: the registered types, if any.
    """

    plan: Plan
    sensitive: tuple[int, ...]
    name: str
    schema: Schema | None = None
    of_span: "Layout | None" = None


class Layouts:
    """The layouts of one experiment's shapes."""

    def __init__(self, *, redacts: bool) -> None:
        self._redacts = redacts
        self._known: dict[Any, Layout] = {}
        self._table = CATALOG.table

    def refresh(self) -> None:
        """Forget everything if events were registered or unregistered since; once a batch."""
        if CATALOG.table is not self._table:
            self._table = CATALOG.table
            self._known.clear()

    def of_shape(self, shape: int) -> Layout:
        """The layout of a shape of the shape table."""
        layout = self._known.get(shape)
        if layout is None:
            known = SHAPES.by_id[shape]
            layout = self._made(known.name, known.measurement_keys, known.metadata_keys)
            self._remember(shape, layout)
        return layout

    def of_keys(self, name: str, numbers: Sequence[str], words: Sequence[str]) -> Layout:
        """The layout of rows that carry their own keys, remembered while there is room."""
        key = (name, *numbers, None, *words)
        layout = self._known.get(key)
        if layout is None:
            layout = self._made(name, numbers, words)
            self._remember(key, layout)
        return layout

    def _remember(self, key: Any, layout: Layout) -> None:
        if len(self._known) < _MOST:
            self._known[key] = layout

    def _made(self, name: str, numbers: Sequence[str], words: Sequence[str]) -> Layout:
        keys = (*numbers, *words)
        delicate = tuple(at for at, k in enumerate(keys) if self._redacts and sensitive(k))
        plan = Plan(name, numbers, words)
        schema = schema_of(plan.known)
        of_span = None
        if plan.known.unit != "ns":
            of_span = Layout(Plan(name, numbers, words, of_span=True), delicate, name, schema)
        return Layout(plan, delicate, name, schema, of_span)


Group = tuple[Layout, list[int] | None]
"""Rows that are read alike, by position; None for all of a batch."""


def by_unit(layout: Layout, decoded: list[list[Any]], at: list[int] | None) -> list[Group]:
    """One group, or two where the catalog's unit is not ns: our own spans measure in ns."""
    if layout.of_span is None:
        return [(layout, at)]
    places = range(len(decoded)) if at is None else at
    ours = [i for i in places if is_span(decoded[i])]
    others = [i for i in places if not is_span(decoded[i])]
    return [(which, some) for which, some in ((layout.of_span, ours), (layout, others)) if some]


def is_span(row: list[Any]) -> bool:
    """Whether a decoded row is the start or end of a span of ours: it has a span id of its own."""
    link = row[3]
    return link is not None and link[0] is not None
