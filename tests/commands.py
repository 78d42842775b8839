"""The command line as it is typed, without a process for each call."""

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from crucible_telemetry.cli import main


def crucible(*words, cwd):
    """The command line in this process: its exit code, and what it wrote, as `subprocess.run` gives them."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["crucible", *map(str, words)])
        try:
            main()
        except SystemExit as ending:
            code = ending.code
    said = f"{code}\n" if isinstance(code, str) else ""  # which Python prints as it ends
    return subprocess.CompletedProcess(
        words, 1 if said else code or 0, out.getvalue(), err.getvalue() + said
    )
