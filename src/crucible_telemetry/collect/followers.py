"""Who hears of what an experiment has collected: subscribers and streaming metrics."""

from collections.abc import Callable

from crucible_telemetry.collect.progress import Prepared
from crucible_telemetry.events.columns import Columns

Tell = Callable[[Columns], None]


class Followers(dict[int, Tell]):
    """Those who are shown each committed batch, by id; each once, even when a crash came between."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0
        """`seq` of the last event that all were shown."""

    def follow(self, tell: Tell) -> None:
        """Call this with each committed batch. One change of a dict: threads and finalisers may do it."""
        self[id(tell)] = tell

    def leave(self, tell: Tell) -> None:
        """Call it no longer."""
        self.pop(id(tell), None)

    def tell(self, prepared: Prepared | None, stored: int) -> None:
        """Show them the last batch, if it is committed (`stored`: the last seq that is) and they have not seen it."""
        columns = None if prepared is None else prepared.columns
        if columns is None or not self._told < columns.last_seq <= stored:
            return
        for tell in list(self.values()):
            tell(columns)
        # Last: a crash among them tells all of them again, which each of them bears.
        self._told = columns.last_seq
