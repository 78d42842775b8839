"""Where something ran: what an archive says of its surroundings, so that it can be run again years later."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

GIT_S: Final = 5.0


def environment() -> dict[str, Any]:
    """Git commit of the working folder, Python, installed packages, machine; takes some tens of ms."""
    return {
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
        },
    }


def _git() -> dict[str, Any] | None:
    """The commit, and whether files differ from it; None outside a repository or without git."""
    try:
        commit = _asked("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_asked("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _asked(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words, no shell
        ["git", *words],  # noqa: S607 - the user's own git
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_S,
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
