"""``crucible archive``, ``restore``, ``prune``: experiments that leave a lab for good keeping, and come back."""

import re
from functools import partial
from typing import Annotated, Final

import typer

from crucible_telemetry.cli.labs import moment
from crucible_telemetry.cli.output import Column, errors, print_rows, run, say, size_of
from crucible_telemetry.cli.sources import Chosen, LabUrl, chosen, is_lab, written
from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.lab import Lab
from crucible_telemetry.lab.archiving import Pruned
from crucible_telemetry.lab.restoring import verified
from crucible_telemetry.metrics.rollups import DAY_S

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_AGE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])").fullmatch
_PRUNED: Final = (
    Column("experiment"),
    Column("events", right=True),
    Column("bytes", right=True),
    Column("ended, UTC", right=True),
    Column("why", folds=True),
)


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
    work = partial(_archive, lab, experiment, url, events_as)
    say(run(work, "archiving", left=f"{url} holds no part of it"))


async def _archive(url: str, wanted: str, to: str, kind: str) -> str:
    async with written(url) as lab:
        one = chosen(lab, wanted)
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
    work = partial(_restore, lab, url, new_id=new_id)
    say(run(work, "restoring", left=f"nothing of {url} is in the lab"))


async def _restore(url: str, archive_url: str, *, new_id: bool) -> str:
    if not is_lab(url):  # a bad archive leaves no empty lab
        await verified(archive_url)
    async with Lab(url) as lab:
        try:
            one = await lab.restore(archive_url, on_existing="new" if new_id else "error")
        except ConfigurationError as error:
            if error.option != "on_existing":
                raise
            raise ConfigurationError("--new-id", error.reason) from None
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
    """Delete the data of experiments that ended long ago and are archived; says which and why, and asks."""
    days = _seconds(older_than) / DAY_S
    work = partial(_prune, lab, days, archived_only=not not_archived)
    found = run(partial(work, dry_run=True), "looking")
    if not found:
        kind = "experiment" if not_archived else "archived experiment"
        say(f"nothing to delete: no {kind} ended more than {older_than} ago")
        return
    print_rows(_PRUNED, [_cells(one, older_than) for one in found])
    total = _total(found)
    if dry_run:
        say(f"{total} would be deleted; nothing was")
        return
    if not yes and not _sure(total):
        errors().print("nothing was deleted; --yes deletes without asking")
        raise typer.Exit(1)
    gone = run(partial(work, dry_run=False), "deleting", left="list shows what is still there")
    say(f"{_total(gone)} deleted{'' if '://' in lab else f'; {lab} uses the space again'}")


def _total(found: list[Pruned]) -> str:
    experiments = "experiment" if len(found) == 1 else "experiments"
    size = size_of(sum(one.bytes or 0 for one in found))
    return f"{len(found):,} {experiments} of {sum(one.events for one in found):,} events, {size}"


def _sure(total: str) -> bool:
    try:
        return typer.confirm(f"Delete {total} for good?")
    except typer.Abort:  # nobody is there to answer
        return False


def _cells(one: Pruned, older_than: str) -> tuple[str, ...]:
    kept = "archived" if one.state == "archived" else f"{one.state}, not archived"
    size = "" if one.bytes is None else size_of(one.bytes)
    why = f"{kept}, over {older_than} old"
    return one.id, f"{one.events:,}", size, moment(one.ended_us), why


async def _prune(url: str, days: float, **options: bool) -> list[Pruned]:
    async with written(url) as lab:
        return await lab.prune(days, **options)


def _seconds(age: str) -> float:
    found = _AGE(age.strip())
    if found is None or not float(found[1]):
        raise ConfigurationError("--older-than", f"want an age as in 90d or 12h, not {age!r}")
    return float(found[1]) * _UNITS_S[found[2]]


def add(app: typer.Typer) -> None:
    """Add the commands."""
    for command, example in (
        (archive, "crucible archive runs.db prompt-a kept/prompt-a"),
        (restore, "crucible restore runs.db s3://bucket/prompt-a"),
        (prune, "crucible prune runs.db --older-than 90d --dry-run"),
    ):
        app.command(no_args_is_help=True, epilog=f"Example: {example}")(command)
