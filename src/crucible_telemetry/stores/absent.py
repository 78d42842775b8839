"""What stands in the place of a store of one's own that nobody has given yet: it knows how much there is, not what."""

from collections.abc import AsyncIterator

from crucible_telemetry.errors import StoreRefused
from crucible_telemetry.events.columns import Columns
from crucible_telemetry.stores.base import Page, Position, Query
from crucible_telemetry.stores.kept import KeptStore


class AbsentStore:
    """A `Store` of an experiment whose lab keeps its record and trials (`beside`), and not its events."""

    def __init__(self, name: str, events: int, beside: KeptStore, why: str = "") -> None:
        self.name, self.beside, self._events = name, beside, events
        self._why = why or (
            "give that store again: Lab(url, store=...) to read, reopen(store=...) to go on"
        )

    @property
    def last_seq(self) -> int:
        """As the record has it."""
        return self._events

    def refused(self) -> StoreRefused:
        """Why nothing can be done with its events."""
        return StoreRefused(
            self.name, f"the events of experiment {self.beside.id!r} are there: {self._why}"
        )

    def append(self, columns: Columns) -> None:
        """Refused."""
        raise self.refused()

    async def commit(self) -> None:
        """Nothing to do: nothing is appended."""

    async def page(self, query: Query, after: Position | None, limit: int) -> Page:
        """Refused."""
        raise self.refused()

    async def count(self, query: Query) -> int:
        """Refused."""
        raise self.refused()

    async def columns(self, query: Query) -> AsyncIterator[Columns]:
        """Refused."""
        raise self.refused()
        yield  # an async generator

    async def close(self, *, delete: bool = False) -> None:
        """Let go of what stands beside; nothing is deleted of what is not here."""
        if delete:
            raise self.refused()
        await self.beside.close()
