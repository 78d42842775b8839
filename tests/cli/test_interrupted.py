"""The demo in a process of its own: a closed pipe ends it quietly, a signal leaves what was collected."""

import json
import signal
import subprocess
import sys
import time

import pytest

CODE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from crucible_telemetry.cli import main
main()
"""


def begun(out):
    """A demo whose first line has been read."""
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "demo", "--out", str(out), "--speed", "40"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "Published traces" in process.stdout.readline()
    return process


def test_a_reader_that_leaves_ends_the_demo_without_a_word(tmp_path):
    process = begun(tmp_path)
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 130)])
def test_a_signal_leaves_the_events_that_were_collected(tmp_path, number, code):
    with begun(tmp_path) as process:
        time.sleep(0.7)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4  # events and, beside them, trials of both arms
    for file in files:
        assert [json.loads(line) for line in file.read_text().splitlines()]
