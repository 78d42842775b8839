"""Random programs that emit events: made from a seed, as plain data.

A program is a tree of `Node`s. Which experiment an event belongs to follows from the tree alone; the
interpreter (`interpreter.py`) hands that down as an argument, never through a context variable.
"""

from dataclasses import dataclass
from random import Random

NAMES = ("a.x", "b.y", ("a", "z"))
MAILBOXES = (8192, 8192, 64, 4)

SYNC_KINDS = {
    "emit": 6, "span": 3, "trial": 2, "scope": 3, "home_span": 1, "function": 1, "generator": 2,
    "bound_elsewhere": 1, "current": 1,
}  # fmt: skip
ASYNC_KINDS = SYNC_KINDS | {
    "gather": 3, "group": 2, "anyio_group": 1, "to_thread": 2, "executor": 2, "bare_executor": 1,
    "thread": 2, "bare_thread": 1, "worker": 3, "async_generator": 4, "soon": 2, "from_thread": 1,
    "done_callback": 2, "outlives": 3, "cancelled": 2, "coroutine": 1, "bound_coroutine": 2, "life": 2,
    "crash": 1, "shared_scope": 1,
}  # fmt: skip
# A cancellation inside one of these ends its span as an exception, at a moment the tree does not tell.
UNCANCELLED = frozenset({"async_generator", "coroutine"})
LEAVES = frozenset({"emit", "current", "life", "crash"})


@dataclass(frozen=True)
class Node:
    """One step: what it does, to which experiment, in which of several ways, and what is inside."""

    kind: str
    k: int = 0
    how: int = 0
    bodies: tuple[tuple["Node", ...], ...] = ()


@dataclass(frozen=True)
class Plan:
    """Options of one experiment."""

    capture: str = "scope"
    events: tuple[str, ...] | None = None
    mailbox_size: int = 8192
    filtered: bool = False


@dataclass(frozen=True)
class Program:
    """The experiments and what is done; the first experiments are scoped, process-wide ones come last."""

    seed: int
    plans: tuple[Plan, ...]
    body: tuple[Node, ...]
    scoped: int

    def __str__(self) -> str:
        return "\n".join([f"program {self.seed}: {self.plans}", *_lines(self.body, 1)])


def make(seed: int) -> Program:
    """The program of a seed."""
    rng = Random(seed)
    scoped = rng.choice((2, 2, 3))
    plans = [_plan(rng, "scope") for _ in range(scoped)]
    # While a process-wide one listens every emit takes the careful way: most programs have none.
    plans += [_plan(rng, "process") for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    maker = _Maker(rng, scoped, len(plans))
    return Program(seed, tuple(plans), maker.body(4, sync=False, least=2), scoped)


def _plan(rng: Random, capture: str) -> Plan:
    events = rng.choice((None, None, None, ("a.*",)))
    return Plan(capture, events, rng.choice(MAILBOXES), filtered=rng.random() < 0.15)


class _Maker:
    def __init__(self, rng: Random, scoped: int, experiments: int) -> None:
        self.rng, self.scoped, self.experiments = rng, scoped, experiments
        self.left = 60
        self.cancelled = 0

    def body(self, depth: int, *, sync: bool, least: int = 1) -> tuple[Node, ...]:
        return tuple(self.node(depth, sync=sync) for _ in range(self.rng.randint(least, 3)))

    def node(self, depth: int, *, sync: bool) -> Node:
        self.left -= 1
        kinds = SYNC_KINDS if sync else ASYNC_KINDS
        if depth <= 0 or self.left <= 0:
            kinds = {kind: weight for kind, weight in kinds.items() if kind in LEAVES}
        if self.cancelled:
            kinds = {kind: weight for kind, weight in kinds.items() if kind not in UNCANCELLED}
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        reach = self.experiments if kind in ("life", "crash") else self.scoped
        k, how = self.rng.randrange(reach), self.rng.randrange(12)
        return Node(kind, k, how, self._bodies(kind, depth - 1, sync=sync))

    def _bodies(self, kind: str, depth: int, *, sync: bool) -> tuple[tuple[Node, ...], ...]:
        if kind in LEAVES:
            return ()
        in_thread = kind in (
            "to_thread", "executor", "bare_executor", "thread", "bare_thread", "soon", "from_thread",
            "done_callback", "function", "bound_elsewhere",
        )  # fmt: skip
        if kind in ("generator", "async_generator"):
            # Steps of the generator, and what its consumer does between them.
            sync = sync or kind == "generator"
            inside = [self.body(min(depth, 2), sync=sync) for _ in range(2)]
            return (*inside, self.body(min(depth, 1), sync=sync))
        several = ("gather", "group", "anyio_group", "shared_scope", "thread", "executor")
        count = self.rng.randint(2, 3) if kind in several else 1
        self.cancelled += kind == "cancelled"
        bodies = tuple(self.body(depth, sync=sync or in_thread) for _ in range(count))
        self.cancelled -= kind == "cancelled"
        return bodies


def _lines(body: tuple[Node, ...], depth: int) -> list[str]:
    lines = []
    for node in body:
        lines.append(f"{'  ' * depth}{node.kind} k={node.k} how={node.how}")
        for inner in node.bodies:
            lines += [*_lines(inner, depth + 1), f"{'  ' * depth}-"]
    return lines
