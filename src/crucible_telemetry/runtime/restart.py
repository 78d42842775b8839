"""Who restarts, in which company, after how long, and how often is too often. PURE.

The meaning is that of Erlang/OTP's ``supervisor``; back-off is an addition. Times are seconds of any
clock that never steps back.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError


class Strategy(Enum):
    """Which children go down and up together when one of them fails."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class Restart(Enum):
    """Whether a child that ended is started again: always, after a crash, never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Intensity(Struct, frozen=True):
    """How much is too much: more than `restarts` restarts within `period_s` seconds."""

    restarts: int = 3
    period_s: float = 5.0

    def __post_init__(self) -> None:
        if self.restarts < 0:
            raise ConfigurationError("restarts", f"{self.restarts} is negative")
        if not self.period_s > 0:
            raise ConfigurationError("period_s", f"{self.period_s} is not above zero")


class Backoff(Struct, frozen=True):
    """Waits that grow: `first_s` seconds, each `factor` times the one before, at most `max_s`.

    Waits longer than the supervisor's `period_s` never spend its budget: then a child is tried for ever.
    """

    first_s: float = 0.1
    factor: float = 2.0
    max_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.first_s <= self.max_s:
            raise ConfigurationError("first_s", f"{self.first_s} is not in 0 … {self.max_s}")
        if not self.factor >= 1:
            raise ConfigurationError("factor", f"{self.factor} is below one")

    def delay_s(self, nth: int) -> float:
        """Seconds before the `nth` restart in a row (the first is 1)."""
        try:
            return min(self.first_s * self.factor ** (nth - 1), self.max_s)
        except OverflowError:
            return self.max_s


DEFAULT_INTENSITY: Final = Intensity()


def wants_restart(restart: Restart, *, crashed: bool) -> bool:
    """Whether a child that ended by itself is started again."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return crashed
        case Restart.TEMPORARY:
            return False


def affected(strategy: Strategy, children: Sequence[str], failed: str) -> Sequence[str]:
    """The children to stop and start again, in start order. Stop them in reverse."""
    at = children.index(failed)
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return children[at : at + 1]
        case Strategy.ONE_FOR_ALL:
            return children
        case Strategy.REST_FOR_ONE:
            return children[at:]


class RestartBudget:
    """The restarts of one supervisor within its period; holds at most `restarts` + 1 times."""

    __slots__ = ("_intensity", "_spent_s")

    def __init__(self, intensity: Intensity) -> None:
        self._intensity = intensity
        self._spent_s: deque[float] = deque(maxlen=intensity.restarts + 1)

    def spend(self, now_s: float) -> bool:
        """Count a restart at `now_s`; False when it is one too many.

        A restart exactly `period_s` ago still counts, as it does in OTP.
        """
        spent_s, intensity = self._spent_s, self._intensity
        spent_s.append(now_s)
        while now_s - spent_s[0] > intensity.period_s:
            spent_s.popleft()
        return len(spent_s) <= intensity.restarts
