"""The temporary file of what neither memory nor the keep can take."""

import subprocess
import sys
from pathlib import Path

import pytest

FILLING = """
import resource, signal, sys
from make import columns
from crucible_telemetry.stores.blocks import encoded
from crucible_telemetry.stores.spill import Spill

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
first, second = columns(100), columns(100, 101)
sizes, (_, most) = [len(encoded(one)) for one in (first, second)], resource.getrlimit(resource.RLIMIT_FSIZE)
spill = Spill()
there = spill.put(first)
for short in (1, sizes[1] // 2, sizes[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (sum(sizes) - short, most))
    try:
        spill.put(second)
    except OSError:
        assert spill.get(there).payload.rows() == first.payload.rows()
    else:
        raise AssertionError("there was no room")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
again = spill.put(second)
assert spill.get(again).payload.rows() == second.payload.rows()
assert spill.get(there).payload.rows() == first.payload.rows()
spill.clear()
print("whole")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of a file there")
def test_what_was_spilled_is_read_while_the_disk_has_no_room_for_more():
    run = subprocess.run(
        [sys.executable, "-c", FILLING],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout == "whole\n", run.stderr
