"""What supervisors are told and what they tell, as data."""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

from msgspec import Struct

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.runtime.loops import RootTask, Signal
from crucible_telemetry.runtime.restart import Backoff, Restart


class ChildSpec(Struct, frozen=True):
    """What a supervisor has to know of a child.

    `start` runs until the child is done, in an empty context. With `ready`, the next child is started
    when the child has set it, and an error before that is a failed start; without, when `start` has been
    entered. `shutdown_s`: how long the child may take to end when cancelled. `on_gone` is called whenever
    the child is down and no restart is planned, perhaps more than once; it must not raise.
    """

    id: str
    start: Callable[[], Awaitable[None]]
    restart: Restart = Restart.PERMANENT
    shutdown_s: float = 5.0
    backoff: Backoff | None = None
    ready: Signal | None = None
    on_gone: Callable[[], None] | None = None


class Report(Enum):
    """What a supervisor tells of."""

    STARTED = "child_started"
    CRASHED = "child_crashed"
    RESTARTING = "child_restarting"
    STOPPED = "child_stopped"
    ABANDONED = "child_abandoned"
    GAVE_UP = "gave_up"


class SupervisorEvent(Struct, frozen=True):
    """One report: `error` for a crash, a stop that failed and giving up; `delay_s` before a restart."""

    kind: Report
    supervisor: str
    child: str
    error: BaseException | None = None
    delay_s: float | None = None


class Node(Struct, frozen=True):
    """A supervisor or child as it was when asked; ``print(node)`` draws the tree.

    `state`: new, starting, running, waiting (for its restart), ended. `abandoned`: tasks that did not end
    in time and still run. `error`: the latest crash (drawn by its type: its text may quote anything).
    """

    name: str
    state: str
    restarts: int = 0
    abandoned: int = 0
    error: BaseException | None = None
    children: tuple["Node", ...] = ()

    def _line(self) -> str:
        parts = [self.name, self.state]
        parts += [f"restarted {self.restarts}×"] if self.restarts else []
        parts += [f"{self.abandoned} abandoned"] if self.abandoned else []
        parts += [type(self.error).__name__] if self.error else []
        return " · ".join(parts)

    def _lines(self) -> list[str]:
        lines = [self._line()]
        for child in self.children:
            last = child is self.children[-1]
            first, *rest = child._lines()
            lines.append(("└── " if last else "├── ") + first)
            lines += [("    " if last else "│   ") + line for line in rest]
        return lines

    def __str__(self) -> str:
        return "\n".join(self._lines())


class Slot:
    """A child's place: outlives its runs, which are numbered so that old news is known as old."""

    __slots__ = (
        "abandoned", "due_s", "error", "restarts", "root", "run", "since_s", "spec", "stillborn", "streak",
    )  # fmt: skip

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.root: RootTask | None = None
        self.run = self.restarts = self.streak = 0
        self.due_s: float | None = None
        self.since_s = 0.0
        self.stillborn = False
        self.error: BaseException | None = None
        self.abandoned: list[RootTask] = []

    def state(self) -> str:
        """The state as `Node` has it."""
        if self.root is not None:
            return "running"
        return "ended" if self.due_s is None else "waiting"

    def node(self) -> Node:
        """The place as it is now, with everything below."""
        # A supervisor below is started by its bound method `run`; that leads to its own tree.
        tree = getattr(getattr(self.spec.start, "__self__", None), "tree", None)
        below = tree().children if tree else ()
        lost = sum(not root.done for root in self.abandoned)
        return Node(self.spec.id, self.state(), self.restarts, lost, self.error, below)


def distinct(specs: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    """The specs, if no two have one id; otherwise ConfigurationError."""
    ids = [spec.id for spec in specs]
    for child_id in ids:
        if ids.count(child_id) > 1:
            raise ConfigurationError("id", f"two children are called {child_id!r}")
    return tuple(specs)
