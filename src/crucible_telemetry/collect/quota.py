"""`stop_at_sample_size`: admission closes at N started, and those in flight end. PURE."""

from collections.abc import Iterable

from crucible_telemetry.events.known import known
from crucible_telemetry.events.mailbox import Tally


class Quota:
    """Counts what starts: trials if there are any, else operations of the pool (llm calls if any).

    Asked once per trial and per span, by the emitter; events outside both count when they end an
    operation.
    """

    __slots__ = ("_all", "_llm", "_places", "size", "trials")

    def __init__(self, size: int) -> None:
        self.size = size
        self.trials: dict[int, bool] = {}
        # Places are drawn in one C call each: threads that start together draw different ones.
        self._places, self._all, self._llm = Tally(), Tally(), Tally()

    def go_on(self, trials: Iterable[int], operations: tuple[int, int]) -> None:
        """Count in what an earlier process ended: trials by number, (all, llm) operations."""
        self.trials = dict.fromkeys(trials, True)
        for tally, count in zip(
            (self._places, self._all, self._llm), (len(self.trials), *operations), strict=True
        ):
            for _ in range(count):
                tally.add()

    @property
    def operations(self) -> int:
        """Operations of the pool that asked to start."""
        return self._llm.value or self._all.value

    @property
    def spent(self) -> bool:
        """Whether nothing new may start."""
        return (len(self.trials) if self.trials else self.operations) >= self.size

    def admits(self, name: str, trial: int, *, starts: bool) -> bool:
        """Whether an event may come in that is in this trial, or starts or ends an operation."""
        if trial:
            if trial not in self.trials and self._places.add() < self.size:
                self.trials[trial] = True
            return trial in self.trials
        if self.spent:
            return False
        row = known(name)
        if not (starts or row.ends):
            return True
        llm = row.category == "llm"
        pool = self._llm if llm or self._llm.value else self._all
        if not llm and pool is self._llm:
            return True  # beside the pool
        return pool.add() < self.size
