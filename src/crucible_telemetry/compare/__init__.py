"""Experiments compared: units, design, method, result; what `Lab.compare_experiments` and ``crucible compare`` do.

::

    gathering  asks each experiment: trials, columns, summary → its `Units` (a row a trial, or a call)
    units      PURE trials and calls as rows        measures  PURE  columns → a number a unit
    custom     users' own metrics, unit by unit
    metric     PURE names of what is compared       design    PURE  which items are in which arm
    method     PURE design and kind → a test of `ct.stats`; times: time to success, some of it censored
    resampled  PURE the bootstrap, where asked for
    several, omnibus, best  PURE more than two arms; refusals  PURE  what would not be honest
    comparison PURE the result, as text, table, dictionary; plot: as a picture
    run        all of it, the arithmetic in a thread
"""

from crucible_telemetry.compare.comparison import Comparison
from crucible_telemetry.compare.run import compare

__all__ = ["Comparison", "compare"]
