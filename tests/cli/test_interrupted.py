"""Commands in a process of their own: a closed pipe ends the demo quietly, a signal leaves what is whole."""

import json
import signal
import subprocess
import sys
import time

import anyio
import pytest
from waiting import until

import crucible_telemetry as ct

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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The file of a lab whose one experiment, with a trial, takes seconds to write."""
    path = tmp_path_factory.mktemp("lab") / "runs.db"

    async def fill():
        async with ct.Lab(path) as lab, lab.experiment("long") as exp, exp.trial(item="a"):
            for i in range(60_000):
                await ct.execute("a.b", {"n": i}, {"text": f"{i}" * 20})

    anyio.run(fill)
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("export", "{lab}", "long", "--to", "{out}/long.csv"),
        ("archive", "{lab}", "long", "{out}/kept", "--format", "jsonl"),
        ("archive", "{lab}", "long", "{out}/kept"),
    ],
    ids=lambda words: " ".join((words[0], *words[5:])),
)
def test_ctrl_c_leaves_nothing_half_and_says_so(lab, tmp_path, words):
    given = [word.format(lab=lab, out=tmp_path) for word in words]
    with subprocess.Popen(
        [sys.executable, "-c", CODE, *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: any(path.is_file() for path in tmp_path.rglob("*")))
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert told.startswith("interrupted; ")
    assert told.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
