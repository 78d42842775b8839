"""The verbs of an experiment that pack it for good keeping."""

from collections.abc import Mapping
from datetime import timedelta
from os import PathLike
from typing import Any

from crucible_telemetry.export.manifest import Manifest


class Archives:
    """See `Experiment`; the lab does the work."""

    id: str
    _lab: Any

    async def archive(
        self,
        url: str | PathLike[str],
        *,
        format: str = "parquet",  # noqa: A002 - the word users know
        storage: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Pack everything into one archive: a folder, ``s3://bucket/prefix``, ``gs://`` or ``az://``; see `export.manifest`.

        Events, trials, options, counts and the environment (git commit, packages, machine); `Lab.restore` brings
        them back bit for bit. `format`: what the copies for people are, ``"parquet"`` or ``"jsonl"``. `storage`:
        settings of the object store beside those in the environment. The experiment must have ended. Each
        file is read again and compared; only then it is `archived`. Local data stays, see `cleanup`. An
        archive of this experiment that is there already is replaced in one step.
        """
        found: Manifest = await self._lab.archive(self.id, url, format=format, storage=storage)
        return found

    async def checkpoint(
        self,
        url: str | PathLike[str],
        *,
        every: timedelta | float | None = None,
        format: str = "parquet",  # noqa: A002 - the word users know
        storage: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Pack what there is into an archive, now and (timedelta, or seconds) `every` so often while it runs.

        Each time only what has come since is written, and the manifest is replaced in one step; whatever kills
        the process, `Lab.restore` reads the last one that was finished, as an interrupted experiment. It
        ends with the experiment, by a last checkpoint; `archive` to the same place makes it the archive.
        """
        found: Manifest = await self._lab.checkpoint(
            self.id, url, every=every, format=format, storage=storage
        )
        return found
