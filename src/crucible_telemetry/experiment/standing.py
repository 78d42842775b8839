"""How an experiment stands: its state, its times, its counts."""

from crucible_telemetry.clock import monotonic_ns
from crucible_telemetry.collect.account import counts_of, health_of
from crucible_telemetry.collect.collector import Collector
from crucible_telemetry.collect.custom import CustomMetrics
from crucible_telemetry.collect.life import Life
from crucible_telemetry.collect.progress import Counts, Health
from crucible_telemetry.collect.spec import State


class Standing:
    """The verbs of an `Experiment` that neither wait nor change anything."""

    _collector: Collector
    _life: Life
    _custom: CustomMetrics
    _failure: BaseException | None

    @property
    def state(self) -> State:
        """One of running, paused, stopped, archived, interrupted, failed."""
        return self._life.state

    @property
    def failure(self) -> BaseException | None:
        """What a failed experiment failed of."""
        return self._failure

    @property
    def pause_count(self) -> int:
        """How often it was paused."""
        return self._life.pause_count

    @property
    def active_seconds(self) -> float:
        """Seconds it ran, pauses left out."""
        return self._life.seconds(State.RUNNING, monotonic_ns())

    @property
    def paused_seconds(self) -> float:
        """Seconds it was paused."""
        return self._life.seconds(State.PAUSED, monotonic_ns())

    @property
    def counts(self) -> Counts:
        """What became of every event offered; see `Counts`."""
        return counts_of(self._collector)

    def health(self) -> Health:
        """How collecting goes: lag, drain time, mailbox peak, what was replaced, what was quarantined."""
        return health_of(self._collector, self.state.value, self._custom.failed)
