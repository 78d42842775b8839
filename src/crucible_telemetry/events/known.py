"""The one table of known events that is in use; a registration puts another in its place. PURE."""

from typing import Final

from crucible_telemetry.events.fields import FIELDS
from crucible_telemetry.events.rows import EventInfo, Table
from crucible_telemetry.events.standard import STANDARD


class Catalog:
    """Holds the table. Who keeps what a table said compares it with `table` (`is`) before using it."""

    __slots__ = ("table",)

    def __init__(self, table: Table) -> None:
        self.table = table


CATALOG: Final = Catalog(Table({row.name: row for row in STANDARD}, FIELDS))


def known(name: str) -> EventInfo:
    """What is known of a dotted event name, registered or not; never fails."""
    return CATALOG.table.info(name)
