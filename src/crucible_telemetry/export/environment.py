"""Where something ran: what an archive says of its surroundings, so that it can be run again years later."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from crucible_telemetry import __version__

ASKED_S: Final = 5.0


def environment() -> dict[str, Any]:
    """Version of this library, git commit of the working folder, Python, installed packages, machine; takes some tens of ms."""
    return {
        "crucible_telemetry": __version__,
        "git": _git(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "build": sys.version,
        },
        "packages": _packages(),
        "machine": {
            "system": platform.platform(),
            "architecture": platform.machine(),
            "processor": _processor(),
            "processors": os.cpu_count(),
            "memory_bytes": _memory_bytes(),
            "gpus": _gpus(),
        },
    }


def _git() -> dict[str, Any] | None:
    """The commit, and whether files differ from it; None outside a repository or without git."""
    try:
        commit = _asked("git", "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_asked("git", "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _gpus() -> list[str]:
    """Name, memory and driver of each of NVIDIA's, as their own tool has it; none where it is not there."""
    fields = "--query-gpu=name,memory.total,driver_version"
    try:
        return _asked("nvidia-smi", fields, "--format=csv,noheader").splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def _asked(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words, no shell; the user's own programs
        words, capture_output=True, text=True, check=True, timeout=ASKED_S
    )
    return done.stdout.strip()


def _packages() -> dict[str, str]:
    found = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return dict(sorted((name, version) for name, version in found.items() if name))


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, None)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
