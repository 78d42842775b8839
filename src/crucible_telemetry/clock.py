"""The only place that reads a clock: wall time for events, monotonic time for durations.

Timers are not here: they use ``anyio.current_time()``, which tests turn by hand.
"""

import time

wall_ns = time.time_ns
"""Nanoseconds since the Unix epoch, UTC; may step back or forward."""

monotonic_ns = time.perf_counter_ns
"""Nanoseconds of a clock that never steps; its zero means nothing."""


def wall_us() -> int:
    """Microseconds since the Unix epoch, UTC: the unit events are stamped with."""
    return wall_ns() // 1000
