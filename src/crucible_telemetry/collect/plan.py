"""In which order trials run: by design, reproducible, the same items in every arm."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self, TypeVar

import anyio

from crucible_telemetry.collect.trial import Trial
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.events.odd import encodable
from crucible_telemetry.events.scope import mix
from crucible_telemetry.runtime.loops import LoopHandle

E = TypeVar("E")
ORDERS: Final = ("interleaved", "random", "sequential")


def order_trials(
    experiments: Sequence[E], items: Iterable[object], repeats: int, order: str, seed: int | None
) -> list[tuple[E, str, int]]:
    """(experiment, item, repeat) of every trial.

    ``"interleaved"``: item by item, the arms side by side in an order shuffled within each pair, so that
    drift in time meets all arms alike; the items keep their order unless there is a `seed`.
    ``"random"``: everything shuffled. ``"sequential"``: one arm after the other.
    """
    names = _names(items)
    _check_arms(experiments)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise ConfigurationError("seed", f"want a whole number, not {seed!r}")
    if order not in ORDERS:
        raise ConfigurationError("order", f"want one of {', '.join(ORDERS)}, not {order!r}")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigurationError("repeats", f"want a whole number ≥ 1, not {repeats!r}")
    if order == "sequential":
        return [(e, item, r) for e in experiments for r in range(repeats) for item in names]
    key = mix((seed or 0) & (2**64 - 1))
    if order == "random":
        everything = [(e, item, r) for e in experiments for r in range(repeats) for item in names]
        return _shuffled(everything, key)
    rounds = [_shuffled(names, key ^ mix(r)) if seed is not None else names for r in range(repeats)]
    return [
        (experiment, item, r)
        for r, in_round in enumerate(rounds)
        for at, item in enumerate(in_round)
        for experiment in _shuffled(list(experiments), key ^ mix(r * 1_000_003 + at))
    ]


def _names(items: Iterable[object]) -> list[str]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise ConfigurationError("items", f"want a list of items, not {items!r}")
    names = [encodable(str(item)) for item in items]
    if len(set(names)) < len(names):
        raise ConfigurationError(
            "items", "an item comes twice: it is what pairs trials, so it must be unique"
        )
    return names


def _check_arms(experiments: Sequence[object]) -> None:
    if not experiments:
        raise ConfigurationError("experiments", "want at least one")
    if len({id(experiment) for experiment in experiments}) < len(experiments):
        raise ConfigurationError("experiments", "an experiment comes twice: each is one arm")


def _shuffled(values: list[Any], key: int) -> list[Any]:
    """The values in the order of the hash of key and place: the same on every machine and version."""
    at = sorted(range(len(values)), key=lambda place: mix(key ^ mix(place + 1)))
    return [values[place] for place in at]


class TrialPlan:
    """An async iterator over trials to run; see `Lab.trials`. `remaining` is how many are still to come."""

    def __init__(
        self, plan: Sequence[tuple[Any, str, int]], concurrency: int, *, skip_done: bool
    ) -> None:
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise ConfigurationError("concurrency", f"want a whole number ≥ 1, not {concurrency!r}")
        self._plan = list(reversed(plan))
        self._skip_done = skip_done
        self._places = anyio.Semaphore(concurrency)

    @property
    def remaining(self) -> int:
        """Trials not yet handed out, those that will be skipped included."""
        return len(self._plan)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Trial:
        if not self._plan:
            raise StopAsyncIteration
        # The place first: while it is waited for, other workers take trials and experiments end.
        await self._places.acquire()
        while self._plan:
            experiment, item, repeat = self._plan.pop()
            if not self._skips(experiment, item, repeat):
                trial: Trial = experiment._planned_trial(item, repeat, self._releaser())
                return trial
        self._places.release()
        raise StopAsyncIteration

    def _releaser(self) -> Callable[[], None]:
        """Gives a place back on the loop that waits for places: a trial may end in any thread."""
        loop, release = LoopHandle.current(), self._places.release

        def give_back() -> None:
            if loop.is_here():
                release()
            else:
                loop.run_soon(release)

        return give_back

    def _skips(self, experiment: Any, item: str, repeat: int) -> bool:
        done = self._skip_done and experiment._trials.is_done(item, repeat)
        return done or not experiment._takes_trials
