"""``crucible list``: the experiments of a lab that lasts."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import typer

from crucible_telemetry.cli.exports import AsJson, print_json
from crucible_telemetry.cli.output import Column, errors, print_rows, run, say
from crucible_telemetry.cli.sources import LabUrl, viewed
from crucible_telemetry.errors import StoreDamaged, StoreRefused
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.metrics.rollups import DAY_S

T = TypeVar("T")
COLUMNS: Final = (
    Column("experiment"),
    Column("condition", folds=True),
    Column("state"),
    Column("events", right=True),
    Column("USD", right=True, spare=True),
    Column("started, UTC", right=True, spare=True),
    Column("active", right=True, spare=True),
)


def list_lab(
    lab: LabUrl,
    *,
    state: Annotated[str | None, typer.Option(help="Only those running, stopped …")] = None,
    condition: Annotated[str | None, typer.Option(help="Only those of this condition.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the experiments of a lab in the order they were started."""
    work = partial(_listed, lab, state=state, condition=condition, tags=tag)
    rows = run(work, "reading")
    if as_json:
        for row in rows:
            print_json(row)
    elif not rows:
        say("no experiments")
    else:
        print_rows(COLUMNS, [_cells(row) for row in rows])


async def _listed(url: str, **filters: Any) -> list[dict[str, Any]]:
    async with viewed(url) as lab:
        return [await _row(one) for one in lab.list_experiments(**filters)]


async def _row(one: Experiment) -> dict[str, Any]:
    return {
        "id": one.id, "name": one.name, "state": one.state.value, "condition": one.spec.condition,
        "tags": one.spec.tags, "events": one.counts.stored, "trials": await _told(_trials, one),
        "started_us": one._life.started_us, "ended_us": one._life.ended_us,
        "active_seconds": round(one.active_seconds, 3), "cost_usd": await _told(_cost, one),
    }  # fmt: skip


async def _told(ask: Callable[[Experiment], Awaitable[T | None]], one: Experiment) -> T | None:
    """The answer; None where what it needs is damaged, which standard error says."""
    try:
        return await ask(one)
    except (StoreDamaged, StoreRefused) as damage:
        errors().print(str(damage), soft_wrap=True)
        return None


async def _trials(one: Experiment) -> int | None:
    return len(await one.trials())


async def _cost(one: Experiment) -> float | None:
    """The sum over days, from roll-ups where there are any; None where nothing is priced."""
    days = await one.windowed_metrics(DAY_S)
    costs = [day.total_cost for day in days if day.total_cost is not None]
    return sum(costs) if costs else None


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    cost = "" if row["cost_usd"] is None else f"{row['cost_usd']:,.4g}"
    when, active = moment(row["started_us"]), duration(row["active_seconds"])
    return row["id"], row["condition"], row["state"], f"{row['events']:,}", cost, when, active


def moment(time_us: int) -> str:
    """``2026-11-21 13:29``, UTC."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """``8 h 05``, ``12 m 30``, ``4.2 s``."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    big, unit, small = (
        (whole // 60, "m", whole % 60) if whole < 3600 else (whole // 3600, "h", whole // 60 % 60)
    )
    return f"{big:,} {unit} {small:02}"


def add(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", no_args_is_help=True, epilog="Example: crucible list runs.db --json")(
        list_lab
    )
