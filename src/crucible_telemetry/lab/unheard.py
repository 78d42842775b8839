"""Events that no experiment took while one ran: counted by name, told of once and at the end."""

from collections.abc import Callable
from typing import Final

from crucible_telemetry.events.mailbox import Tally, log
from crucible_telemetry.events.odd import plain_key
from crucible_telemetry.events.routes import count_unheard

MAX_NAMES: Final = 1024
OTHER: Final = "(other)"


class Unheard:
    """The unheard events of one lab; `matters` says whether some experiment runs at all."""

    def __init__(self, matters: Callable[[], bool]) -> None:
        self._matters = matters
        self._tallies: dict[str, Tally] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How many, by name; beyond 1,024 names together."""
        return {name: tally.value for name, tally in list(self._tallies.items())}

    def listen(self, *, on: bool) -> None:
        """Begin or end counting."""
        count_unheard(self._note, on=on)

    def _note(self, name: str) -> None:
        if not self._matters():
            return
        known = self._tallies
        first, name = not known, plain_key(name)
        if name not in known and len(known) >= MAX_NAMES:
            name = OTHER
        known.setdefault(name, Tally()).add()
        if first:  # after it is known: a logging handler may emit, and be as unheard
            log.warning(
                "event %r reached no experiment although one runs; lab.unheard counts such events",
                name,
            )

    def tell(self) -> None:
        """Say at the end how many there were."""
        counts = self.counts
        if counts:
            names = ", ".join(sorted(counts)[:5])
            log.warning("%d events reached no experiment: %s", sum(counts.values()), names)
