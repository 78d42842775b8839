"""Archives and checkpoints that come back into a lab."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import anyio
import msgspec
import numpy as np
from msgspec.structs import replace

from crucible_telemetry.collect.reader import ExperimentReader
from crucible_telemetry.collect.spec import State
from crucible_telemetry.collect.trials import Trials
from crucible_telemetry.errors import ConfigurationError, CrucibleError, UnreadableFile
from crucible_telemetry.experiment import Experiment
from crucible_telemetry.export.depots import depot_at
from crucible_telemetry.export.manifest import Manifest
from crucible_telemetry.export.unpacking import Archive
from crucible_telemetry.lab.durable import here
from crucible_telemetry.lab.records import Record, at_rest, packed, spec_of, trial_of, unpacked
from crucible_telemetry.lab.starting import Starting
from crucible_telemetry.stores.base import Store
from crucible_telemetry.stores.memory import SEGMENT_ROWS
from crucible_telemetry.stores.own import kept_of, name_of
from crucible_telemetry.stores.segments import taken
from crucible_telemetry.stores.spelling import Spelling

T = TypeVar("T")
ON_EXISTING: Final = ("error", "new")
MOST_TRIALS: Final = 2**31
"""Trial numbers of an archive lie below: those of this process go on above them, in 32 bits."""
Storage = Mapping[str, Any] | None


class _Whole:
    """What is written of a restored experiment beside its events, once these are there."""

    waits = False

    def __init__(self, record: bytes, trials: tuple[tuple[int, bytes], ...]) -> None:
        self._told = record, trials

    def look(self) -> None:
        """It is complete."""

    def __call__(
        self, numbers: set[int], upto_seq: int
    ) -> tuple[bytes, tuple[tuple[int, bytes], ...]]:
        return self._told

    def written(self) -> None:
        """Nothing more comes."""


class Restoring(Starting):
    """The half of a lab that takes archives in. See `Lab`."""

    _restoring: anyio.Lock

    async def restore(
        self,
        url: str | os.PathLike[str],
        *,
        on_existing: str = "error",
        storage: Storage = None,
    ) -> Experiment:
        """Bring an archive, or the checkpoint of a process that died, back into this lab, bit for bit.

        All hashes, seqs and counts are verified first: `StoreDamaged` names the events that are missing,
        `UnreadableFile` says why something is no archive; nothing of it is kept then. An id that is there
        already is an error, or gets a new one with ``on_existing="new"``. It has the state it was archived in;
        what a checkpoint holds is interrupted. Options that are code are to be given again by who
        reopens it; `export_on_exit` is not taken over.
        """
        self._check_open("restore")
        if on_existing not in ON_EXISTING:
            raise ConfigurationError(
                "on_existing", f"want one of {', '.join(ON_EXISTING)}, not {on_existing!r}"
            )
        archive = Archive(await depot_at(url, storage))
        manifest = await archive.open()
        # One at a time: what is begun twice is there once.
        async with self._restoring:
            experiment_id = manifest.id
            if await self._is_there(experiment_id):
                if on_existing == "error":
                    raise ConfigurationError(
                        "on_existing",
                        f"experiment {experiment_id!r} is in this lab already; 'new' gives it a new id",
                    )
                experiment_id = self._new_id(manifest.name)
            return await self._restored(archive, experiment_id)

    async def _is_there(self, experiment_id: str) -> bool:
        """Whether it is here, or another lab has put it there since this one looked."""
        if experiment_id in self._experiments or self._durable is None:
            return experiment_id in self._experiments
        return any(found.kept.id == experiment_id for found in await self._durable.look())

    async def _restored(self, archive: Archive, experiment_id: str) -> Experiment:
        data, words = await archive.experiment()
        record, reader = _known(archive, experiment_id, data)
        trials = tuple(await archive.trials())
        _know_trials(archive, reader.trials, trials)
        store = self._stores.new(experiment_id, reader)
        try:
            await self._fill(store, archive, Spelling(reader, words))
            await self._finish(store, record, trials)
        except BaseException:
            await store.close(delete=True)
            raise
        experiment = self._taken_in(record, reader, store, State(record.state))
        await experiment.flush()
        return experiment

    async def _fill(self, store: Store, archive: Archive, spelling: Spelling) -> None:
        """The events into a store, a part at a time; nobody sees the experiment yet."""
        kept = kept_of(store)
        if self._durable is not None and kept is not None:
            await self._durable.keep.forget(kept.id)  # what an attempt that was killed left
            self._durable.writer.members[kept.id] = kept
        async for part in archive.blocks():
            columns = spelling.localised(part)
            for at in range(0, len(columns), SEGMENT_ROWS):
                store.append(taken(columns, np.arange(at, min(at + SEGMENT_ROWS, len(columns)))))
            await store.commit()
        await archive.verify()
        archive.check()

    async def _finish(
        self, store: Store, record: Record, trials: tuple[tuple[int, bytes], ...]
    ) -> None:
        """Write the record: with it the experiment is there."""
        kept = kept_of(store)
        if self._durable is None or kept is None:
            return
        record = replace(record, store=name_of(store))
        kept.news = _Whole(packed(record), trials)
        try:
            trouble = await kept.settled()
            if trouble is not None:
                raise trouble
        finally:
            self._durable.writer.members.pop(kept.id, None)
            kept.news = None


async def verified(url: str | os.PathLike[str], storage: Storage = None) -> Manifest:
    """Read all of an archive without keeping anything; raises what `Restoring.restore` would."""
    archive = Archive(await depot_at(url, storage))
    manifest = await archive.open()
    data, _ = await archive.experiment()
    _, reader = _known(archive, manifest.id, data)
    _know_trials(archive, reader.trials, tuple(await archive.trials()))
    async for _ in archive.blocks():
        """Each is decoded and looked through."""
    await archive.verify()
    archive.check()
    return manifest


def _known(archive: Archive, experiment_id: str, data: bytes) -> tuple[Record, ExperimentReader]:
    """The record of an archive, and what reads its rows."""

    def made() -> tuple[Record, ExperimentReader]:
        record = at_rest(unpacked(data), here())
        if record.name != archive.manifest.name:
            raise ValueError("the record is of another experiment")
        return record, ExperimentReader(experiment_id, spec_of(record, {}), Trials())

    return _parsed(archive, "its record", made)


def _know_trials(
    archive: Archive, trials: Trials, packed_trials: tuple[tuple[int, bytes], ...]
) -> None:
    def learn() -> None:
        for number, data in packed_trials:
            record, own = trial_of(data)
            if record.number != number or not 0 < number < MOST_TRIALS:
                raise ValueError(f"trial {number} says it is {record.number}")
            trials.restore(record, own)

    _parsed(archive, "its trials", learn)


def _parsed(archive: Archive, what: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except RecursionError:
        reason = "nested too deep"
    except (ValueError, LookupError, TypeError, msgspec.MsgspecError, CrucibleError) as error:
        reason = str(error)
    raise UnreadableFile(archive.url, None, f"{what}: {reason}")
