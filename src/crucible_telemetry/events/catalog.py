"""The catalog of known events: ``ct.catalog``. PURE.

::

    ct.catalog.event_info("ensemble.predict.stop").unit            # "us"
    ct.catalog.register("my_rag.retrieve.*", category="retrieval", unit="ms", fields={"recall": "share"})

A row says in which unit a plain ``duration`` comes, whether the event ends an operation and whether
that wraps others, and which fields it has (`Event.fields`). What nobody registered is captured all the
same: nanoseconds, and an end if its last part says so. Rows are asked when an event is taken in, so
register before you measure; events stored before keep the figures they have.
"""

from typing import Final

from crucible_telemetry.events.fields import FIELDS
from crucible_telemetry.events.known import Catalog, EventInfo, Table
from crucible_telemetry.events.standard import STANDARD

CATALOG: Final = Catalog(Table({row.name: row for row in STANDARD}, FIELDS))


def known(name: str) -> EventInfo:
    """What is known of a dotted event name, registered or not; never fails."""
    return CATALOG.table.info(name)
