"""`async with lab.experiment(…)`."""

from collections.abc import Mapping
from typing import Any

from crucible_telemetry.experiment import Experiment, ExperimentScope


class RunningExperiment:
    """See `Lab.experiment`."""

    def __init__(self, lab: Any, name: str, options: Mapping[str, Any]) -> None:
        self._lab, self._name, self._options = lab, name, dict(options)
        self._experiment: Experiment | None = None
        self._scope: ExperimentScope | None = None

    async def __aenter__(self) -> Experiment:
        self._experiment = await self._lab.start_experiment(self._name, **self._options)
        self._scope = self._experiment.scope()
        self._scope.__enter__()
        return self._experiment

    async def __aexit__(self, *_: object) -> None:
        if self._scope is not None:
            self._scope.__exit__()
        if self._experiment is not None:
            await self._experiment.stop()
