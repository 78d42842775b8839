"""The handle users hold: `handle` its life, `questions` what can be asked of it, `scopes` how to be inside."""

from crucible_telemetry.experiment.handle import Experiment, current_experiment
from crucible_telemetry.experiment.scopes import ExperimentScope, ExperimentSpan

__all__ = ["Experiment", "ExperimentScope", "ExperimentSpan", "current_experiment"]
