"""Rows of the table of events, and how what is known of a name is found in them. PURE.

Rows are for one name or, ending in ``.*``, for all names below a prefix. A name takes each column from
the most specific row that fills it: its own, else the longest prefix's. What nobody registered is
captured all the same: its unit is nanoseconds, and its suffix says whether it ends an operation.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from crucible_telemetry.events.fields import Field

ENDINGS: Final = (
    "stop", "exception", "complete", "completed", "failed", "error", "timeout", "cancelled",
)  # fmt: skip
"""Last parts of a name that end an operation."""

NS_PER: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds in each unit a duration may come in."""

UNTYPED: Final = frozenset({"start", "exception"})
"""Last parts of names that the types of a prefix do not hold for: nothing was measured there yet."""
_MOST_FOUND: Final = 4096


class Row(Struct, frozen=True, kw_only=True):
    """What the table says of one name or prefix; None where a shorter prefix, or the rule, decides.

    The columns are those of `EventInfo`; `alias` is the canonical spelling of a name.
    """

    name: str
    category: str | None = None
    description: str | None = None
    unit: str | None = None
    latency_unit: str | None = None
    ends: bool | None = None
    wraps: int | None = None
    repeats: bool | None = None
    money: bool | None = None
    fields: tuple[Field, ...] | None = None
    alias: str | None = None
    measurements: Any = None
    metadata: Any = None


class EventInfo(Struct, frozen=True, kw_only=True):
    """What is known of one event.

    `name` as asked for, `canonical` the spelling that stands for all `spellings` of the same event
    (``Where(event=list(info.spellings))`` finds them all).
    `unit`: of a plain ``duration`` (``ns us ms s``); `latency_unit`: of a plain ``latency``, which is no
    duration where this is None. `ends`: whether it ends an operation. `wraps`: 0 for an operation that
    is counted itself, else how far outside it lies: of operations that report the same money the
    innermost is believed. `repeats`: it ends nothing, and repeats cost and tokens that another event of
    the operation may carry. `money`: whether a plain ``cost`` is US dollars. `fields`: see
    `Event.fields`. `measurements`, `metadata`: msgspec structs that type it, or None.
    """

    name: str
    category: str | None
    description: str
    unit: str
    latency_unit: str | None
    ends: bool
    wraps: int
    repeats: bool
    money: bool
    fields: tuple[Field, ...]
    canonical: str
    spellings: tuple[str, ...]
    measurements: Any = None
    metadata: Any = None
    listed: bool = False

    @property
    def suffix(self) -> str:
        """The last part of the name, as ``stop`` or ``exception``."""
        return self.name.rpartition(".")[2]

    @property
    def rank(self) -> int | None:
        """At which distance its cost and tokens are believed: 0 itself; None never."""
        if self.repeats:
            return 1
        return self.wraps if self.ends else None


class Table:
    """All rows at one moment: a value, but for what it remembers of the names it was asked for.

    A registration makes a new table, so who keeps what a table said compares the table (`is`).
    """

    __slots__ = ("_found", "fields_of", "rows", "spellings")

    def __init__(
        self, rows: Mapping[str, Row], fields_of: Mapping[str | None, tuple[Field, ...]]
    ) -> None:
        self.rows: dict[str, Row] = dict(rows)
        self.fields_of = dict(fields_of)
        """Fields of the events of a category whose rows name none."""
        self.spellings: dict[str, tuple[str, ...]] = {}
        for row in self.rows.values():
            if row.alias is not None:
                known = self.spellings.get(row.alias, (row.alias,))
                self.spellings[row.alias] = (*known, row.name)
        self._found: dict[str, EventInfo] = {}

    def with_rows(self, rows: Iterable[Row]) -> "Table":
        """With more rows, or other rows for the same names."""
        return Table({**self.rows, **{row.name: row for row in rows}}, self.fields_of)

    def without(self, names: Iterable[str]) -> "Table":
        """Without the rows of these names."""
        gone = frozenset(names)
        return Table({k: row for k, row in self.rows.items() if k not in gone}, self.fields_of)

    def info(self, name: str) -> EventInfo:
        """What is known of an event name; never fails."""
        found = self._found.get(name)
        if found is None:
            found = self._resolved(name)
            if len(self._found) < _MOST_FOUND:
                self._found[name] = found
        return found

    def _resolved(self, name: str) -> EventInfo:
        parts = name.split(".")
        prefixes = (".".join(parts[:n]) + ".*" for n in range(1, len(parts)))
        rows = [row for key in (*prefixes, name) if (row := self.rows.get(key)) is not None]

        def column(key: str, otherwise: Any) -> Any:
            given = (value for row in reversed(rows) if (value := getattr(row, key)) is not None)
            return next(given, otherwise)

        category = column("category", None)
        own = self.rows.get(name)
        canonical = name if own is None or own.alias is None else own.alias
        typed = own is not None or parts[-1] not in UNTYPED
        return EventInfo(
            name=name,
            category=category,
            description=column("description", ""),
            unit=column("unit", "ns"),
            latency_unit=column("latency_unit", None),
            ends=column("ends", parts[-1] in ENDINGS),
            wraps=column("wraps", 0),
            repeats=column("repeats", False),  # noqa: FBT003 - what stands where no row says
            money=column("money", True),  # noqa: FBT003
            fields=column("fields", self.fields_of.get(category, ())),
            canonical=canonical,
            spellings=self.spellings.get(canonical, (canonical,)),
            measurements=column("measurements", None) if typed else None,
            metadata=column("metadata", None) if typed else None,
            listed=bool(rows),
        )
