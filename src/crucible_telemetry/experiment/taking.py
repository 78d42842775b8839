"""What of experiments goes into a file: their events, their trials, or both in files side by side."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Protocol

from crucible_telemetry.collect.spec import ExperimentSpec
from crucible_telemetry.collect.trials import TrialRecord
from crucible_telemetry.export.files import Target, beside, write_files
from crucible_telemetry.export.trials import TrialTable, trial_chunks
from crucible_telemetry.export.walk import Walk
from crucible_telemetry.export.writing import Wishes, chunks_of


class Taken(Protocol):
    """What of an experiment this needs."""

    id: str
    spec: ExperimentSpec

    async def trials(self) -> list[TrialRecord]:
        """All trials; an error where they cannot be known."""
        ...

    async def _known_trials(self) -> list[TrialRecord]:
        """Those that are known."""
        ...

    async def _moment(self, wishes: Wishes) -> Walk:
        """The events as they are now."""
        ...


async def content(
    experiments: Sequence[Taken], kind: str, wishes: Wishes
) -> AsyncGenerator[bytes, None]:
    """The content of one file: the events of all of them, or the trials."""
    if wishes.what == "trials":
        tables = [table_of(one, await one.trials()) for one in experiments]
        return trial_chunks(tables, kind, wishes)
    return chunks_of([await one._moment(wishes) for one in experiments], kind, wishes)


async def write(experiments: Sequence[Taken], target: Target, wishes: Wishes) -> Path:
    """Write the file, and the one of trials beside it where it is wished for and there are any; both or none."""
    kind = target.format.kind
    files = []
    if wishes.trials_too:
        # Before the events: those of a trial that has ended are all among them.
        tables = [table_of(one, await one._known_trials()) for one in experiments]
        if any(table.records for table in tables):
            files.append((beside(target), trial_chunks(tables, kind, wishes)))
    await write_files([*files, (target, await content(experiments, kind, wishes))])
    return target.path


def table_of(one: Taken, records: list[TrialRecord]) -> TrialTable:
    """Its trials, with whose they are."""
    return TrialTable(
        experiment_id=one.id,
        experiment_name=one.spec.name,
        condition=one.spec.condition,
        tags=one.spec.tags,
        records=records,
    )
