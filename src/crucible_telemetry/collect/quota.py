"""`stop_at_sample_size`: admission closes at N started, and those in flight end. PURE."""

from crucible_telemetry.events.catalog import known


class Quota:
    """Counts what starts: trials if there are any, else operations of the pool (llm calls if any).

    Asked once per trial and per span, by the emitter; events outside both count when they end an
    operation.
    """

    __slots__ = ("_llm", "operations", "size", "trials")

    def __init__(self, size: int) -> None:
        self.size = size
        self.trials: set[int] = set()
        self.operations = 0
        self._llm = False

    @property
    def spent(self) -> bool:
        """Whether nothing new may start."""
        return max(len(self.trials), 0 if self.trials else self.operations) >= self.size

    def admits(self, name: str, trial: int, *, starts: bool) -> bool:
        """Whether an event may come in that is in this trial, or starts or ends an operation."""
        if trial:
            if trial not in self.trials and len(self.trials) < self.size:
                self.trials.add(trial)
            return trial in self.trials
        if self.spent:
            return False
        row = known(name)
        if starts or row.ends:
            self._count(llm=row.category == "llm")
        return True

    def _count(self, *, llm: bool) -> None:
        if llm and not self._llm:
            self._llm, self.operations = True, 0
        if llm or not self._llm:
            self.operations += 1
