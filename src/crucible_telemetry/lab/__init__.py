"""The lab: `lab` its life and its tree, `registry` experiments by id, `unheard` what nobody took."""

from crucible_telemetry.lab.lab import Lab
from crucible_telemetry.lab.leaving import CloseReport

__all__ = ["CloseReport", "Lab"]
