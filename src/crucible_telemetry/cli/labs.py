"""``crucible list``, ``archive``, ``restore``, ``prune``: the experiments of a lab that lasts."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import anyio
import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from crucible_telemetry.cli.exports import AsJson
from crucible_telemetry.cli.output import console
from crucible_telemetry.cli.sources import Chosen, LabUrl, chosen, is_lab, viewed
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.lab import Lab
from crucible_telemetry.lab.archiving import Pruned
from crucible_telemetry.metrics.rollups import DAY_S

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_AGE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])").fullmatch


def list_lab(
    lab: LabUrl,
    *,
    state: Annotated[str | None, typer.Option(help="Only those running, stopped …")] = None,
    condition: Annotated[str | None, typer.Option(help="Only those of this condition.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only those with this tag.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the experiments of a lab in the order they were started."""
    rows = anyio.run(partial(_listed, lab, state=state, condition=condition, tags=tag))
    if as_json:
        for row in rows:
            typer.echo(msgspec.json.encode(row).decode())
    elif not rows:
        console().print("no experiments", highlight=False)
    else:
        console().print(_table(rows))


async def _listed(url: str, **filters: Any) -> list[dict[str, Any]]:
    async with viewed(url) as lab:
        return [await _row(one) for one in lab.list_experiments(**filters)]


async def _row(one: Experiment) -> dict[str, Any]:
    days = await one.windowed_metrics(DAY_S)  # from roll-ups, where there are any
    costs = [day.total_cost for day in days if day.total_cost is not None]
    return {
        "id": one.id, "name": one.name, "state": one.state.value, "condition": one.spec.condition,
        "tags": one.spec.tags, "events": one.counts.stored, "trials": len(await one.trials()),
        "started_us": one._life.started_us, "ended_us": one._life.ended_us,
        "active_seconds": round(one.active_seconds, 3), "cost_usd": sum(costs) if costs else None,
    }  # fmt: skip


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("experiment", overflow="fold")
    table.add_column("condition", overflow="fold")
    table.add_column("state", no_wrap=True)
    for title in ("events", "started, UTC", "active", "USD"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        cost = "" if row["cost_usd"] is None else f"{row['cost_usd']:,.4g}"
        when = moment(row["started_us"])
        table.add_row(
            row["id"], escape(row["condition"]), row["state"], f"{row['events']:,}",
            when, duration(row["active_seconds"]), cost,
        )  # fmt: skip
    return table


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


def archive(
    lab: LabUrl,
    experiment: Chosen,
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, or s3:// gs:// az://…")],
    *,
    events_as: Annotated[
        str, typer.Option("--format", metavar="parquet|jsonl", help="How events are written.")
    ] = "parquet",
) -> None:
    """Put an experiment that has ended into one archive, verified; it stays in the lab until it is pruned."""
    told = anyio.run(_archive, lab, experiment, url, events_as)
    console().print(told, highlight=False, markup=False, soft_wrap=True)


async def _archive(url: str, wanted: str, to: str, kind: str) -> str:
    async with _written(url) as lab:
        one = chosen(lab, wanted)
        with console().status(f"archiving {one.id}"):
            await one.archive(to, format=kind)
        return f"{one.id}: {one.counts.stored:,} events archived in {to}"


def restore(
    lab: LabUrl,
    url: Annotated[str, typer.Argument(metavar="URL", help="The archive, or a checkpoint.")],
    *,
    new_id: Annotated[
        bool, typer.Option("--new-id", help="Under a new id, where the lab has this one.")
    ] = False,
) -> None:
    """Bring an archive back into a lab (a new one, where there is no file), bit for bit."""
    told = anyio.run(_restore, lab, url, "new" if new_id else "error")
    console().print(told, highlight=False, markup=False, soft_wrap=True)


async def _restore(url: str, archive_url: str, on_existing: str) -> str:
    async with Lab(url) as lab:
        with console().status(f"restoring {archive_url}"):
            one = await lab.restore(archive_url, on_existing=on_existing)
        return f"{one.id}: {one.counts.stored:,} events restored, {one.state.value}"


def prune(
    lab: LabUrl,
    *,
    older_than: Annotated[str, typer.Option(metavar="AGE", help="Since they ended: 90d, 12h, 2w.")],
    not_archived: Annotated[
        bool, typer.Option("--not-archived", help="Also those that were never archived.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete the data of experiments that ended long ago and are archived; says which, and asks."""
    work = partial(_prune, lab, _seconds(older_than) / DAY_S, archived_only=not not_archived)
    found = anyio.run(partial(work, dry_run=True))
    for one in found:
        line = f"{one.id}  {one.state}  ended {moment(one.ended_us)}  {one.events:,} events"
        console().print(line, highlight=False, markup=False, soft_wrap=True)
    if dry_run or not found:
        console().print(f"{len(found)} to delete", highlight=False)
        return
    if not yes:
        typer.confirm(f"Delete {len(found)} for good?", abort=True)
    console().print(f"{len(anyio.run(partial(work, dry_run=False)))} deleted", highlight=False)


async def _prune(url: str, days: float, **options: bool) -> list[Pruned]:
    async with _written(url) as lab:
        return await lab.prune(days, **options)


def _written(url: str) -> Lab:
    """The lab there, to be changed; commands make none by a slip of the pen."""
    if not is_lab(url):
        raise ConfigurationError("LAB", f"{url} holds no lab")
    return Lab(url)


def _seconds(age: str) -> float:
    found = _AGE(age.strip())
    if found is None:
        raise ConfigurationError("--older-than", f"want an age as in 90d or 12h, not {age!r}")
    return float(found[1]) * _UNITS_S[found[2]]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list", no_args_is_help=True)(list_lab)
    for command in (archive, restore, prune):
        app.command(no_args_is_help=True)(command)
