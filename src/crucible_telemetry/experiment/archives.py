"""The verbs of an experiment that pack it for good keeping."""

from collections.abc import Mapping
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
