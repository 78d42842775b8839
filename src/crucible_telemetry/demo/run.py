"""The demo from start to end: replay, watch, compare, account, take away."""

import random
import threading
from pathlib import Path

import anyio
from msgspec import Struct
from rich.console import Console
from rich.live import Live
from rich.table import Table

from crucible_telemetry.demo import screen
from crucible_telemetry.demo.figures import Figures, figures, law, moments, reproduced
from crucible_telemetry.demo.replay import replay
from crucible_telemetry.demo.traces import Trace
from crucible_telemetry.errors import ExportError, install
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab import Lab
from crucible_telemetry.metrics.figures import Summary
from crucible_telemetry.stats import welch_t

REFRESH_S = 0.25
EXACT_SPEED = 20.0
"""Beyond it the time to the first token, and between tokens, is visibly longer than in the trace."""
LINE_S = 2.0
"""Without a terminal a line is printed this often, since lines stay."""


class Arm(Struct, frozen=True):
    """An experiment and the trace it replays."""

    exp: Experiment
    trace: Trace


async def start(lab: Lab, trace: Trace, condition: str, out: Path) -> Arm:
    """A running experiment for the trace, which hears only what is emitted in its own scope.

    However the demo ends, by Ctrl-C or SIGTERM too, what was collected is written to `out`.
    """
    exp = await lab.start_experiment(
        trace.name,
        condition=condition,
        capture="scope",
        hypothesis="the two providers answer equally fast",
        tags=["demo", "llmperf"],
        sample_size=len(trace.calls),
        export_on_exit=_file(trace, out),
    )
    return Arm(exp, trace)


def _file(trace: Trace, out: Path) -> Path:
    return out / f"{trace.name}.jsonl"


def shuffled(trace: Trace, seed: int | None) -> list[int]:
    """Positions of the calls: as recorded, or in an order that follows from the seed."""
    order = list(range(len(trace.calls)))
    if seed is not None:
        random.Random(seed).shuffle(order)  # noqa: S311 - an order of replay, no secret
    return order


def _now(arms: list[Arm], speed: float) -> dict[str, Figures]:
    return {arm.trace.name: figures(arm.exp.live(), speed) for arm in arms}


class Watch:
    """Shows the live figures until cancelled: a table that changes, or a line now and then."""

    def __init__(self, arms: list[Arm], speed: float, console: Console) -> None:
        self.arms, self.speed, self.console = arms, speed, console
        self.total = max(len(arm.trace.calls) for arm in arms)
        self.title = f"live at {speed:g}×, times as in the trace"

    async def run(self) -> None:
        """Read `exp.live()` of each experiment again and again; it costs the replay next to nothing."""
        if self.console.is_terminal:
            await self._table()
        else:
            await self._lines()

    async def _table(self) -> None:
        with Live(console=self.console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(self._current(), refresh=True)
                    await anyio.sleep(REFRESH_S)
            finally:
                live.update(self._current(), refresh=True)

    def _current(self) -> Table:
        return screen.live_table(_now(self.arms, self.speed), self.total, self.title)

    async def _lines(self) -> None:
        self.console.print(self.title)
        while True:
            await anyio.sleep(LINE_S)
            line = screen.live_line(_now(self.arms, self.speed), self.total)
            self.console.print(line, soft_wrap=True, highlight=False)


async def replay_all(arms: list[Arm], speed: float, seed: int | None, watch: Watch) -> None:
    """All traces at the same time in this event loop, watched until the last call has ended."""
    async with anyio.create_task_group() as watching:  # noqa: TID251 - the user's pipeline, not the lab's
        watching.start_soon(watch.run)
        async with anyio.create_task_group() as tasks:  # noqa: TID251 - the same
            for arm in arms:
                tasks.start_soon(replay, arm.exp, arm.trace, shuffled(arm.trace, seed), speed)
        watching.cancel_scope.cancel()


def show_summary(arm: Arm, summary: Summary, speed: float, console: Console) -> None:
    """What came of one arm, beside what its publishers report of the same calls."""
    shown = figures(summary, speed)
    title = (
        f"{arm.trace.name} ({arm.exp.spec.condition}): {shown.calls} calls, measured × {speed:g}"
    )
    console.print(screen.reproduced_table(reproduced(shown, arm.trace), title))


def show_difference(
    arms: list[Arm], summaries: list[Summary], speed: float, console: Console
) -> None:
    """Treatment minus control with an interval; the calls of two traces are no pairs, hence Welch."""
    control, treatment = (moments(summary, speed) for summary in summaries)
    published = [arm.trace.published.mean_s for arm in arms]
    try:
        result = welch_t(control, treatment)
    except ModuleNotFoundError as missing:
        if missing.name != "scipy":
            raise
        console.print(f"no interval without SciPy: {install('stats')}", markup=False)
        return
    console.print(screen.difference(result, published[1] - published[0]), highlight=False)


async def make_directory(out: Path) -> None:
    """Where the events will go; ExportError before anything is replayed when that cannot be."""
    try:
        await anyio.Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(str(out), error.strerror or str(error)) from error


def taken_away(arm: Arm, out: Path, console: Console) -> None:
    """Say where every stored event is a line of JSON since the stop; ExportError when that failed."""
    if arm.exp.export_error is not None:
        raise arm.exp.export_error
    console.print(f"events written to {_file(arm.trace, out)}", soft_wrap=True, highlight=False)


def accounted(arms: list[Arm], console: Console) -> bool:
    """Print where each arm's events went; False when one is missing from the sum."""
    laws = [law(arm.exp.counts) for arm in arms]
    for arm, (_, sentence) in zip(arms, laws, strict=True):
        console.print(f"{arm.trace.name}: {sentence}", highlight=False)
    return all(holds for holds, _ in laws)


def introduce(arms: list[Arm], speed: float, console: Console) -> None:
    """Say what is about to happen and how long it takes."""
    calls = " and ".join(f"{len(arm.trace.calls)} calls of {arm.trace.name}" for arm in arms)
    longest = max(
        sum(call.end_to_end_latency_s for call in arm.trace.calls) / arm.trace.published.concurrency
        for arm in arms
    )
    console.print(
        f"Published traces (LLMPerf leaderboard): {calls}, replayed at the same time in this process "
        f"as two experiments, {arms[0].trace.published.concurrency} calls at a time each; "
        f"about {longest / speed:.0f} s.",
        highlight=False,
    )
    if speed > EXACT_SPEED:
        console.print(
            f"Faster than {EXACT_SPEED:g}× short times are coarser: the event loop wakes up to a "
            "millisecond late, which is multiplied by the speed.",
            highlight=False,
        )


async def demo(
    traces: tuple[Trace, Trace], *, speed: float, out: Path, seed: int | None, console: Console
) -> bool:
    """Replay (control, treatment); True when every emitted event is accounted for.

    Takes the longer trace's time divided by `speed`; files in `out` are overwritten.
    """
    await make_directory(out)
    async with Lab(handle_signals=threading.current_thread() is threading.main_thread()) as lab:
        arms = [
            await start(lab, trace, condition, out)
            for trace, condition in zip(traces, ("control", "treatment"), strict=True)
        ]
        introduce(arms, speed, console)
        await replay_all(arms, speed, seed, Watch(arms, speed, console))
        for arm in arms:
            await arm.exp.stop()
        summaries = [await arm.exp.metrics() for arm in arms]
        for arm, summary in zip(arms, summaries, strict=True):
            show_summary(arm, summary, speed, console)
        show_difference(arms, summaries, speed, console)
        for arm in arms:
            taken_away(arm, out, console)
        return accounted(arms, console)
