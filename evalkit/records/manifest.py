"""How a result came about: versions, commit, machine, command line and timings. Standard library only."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("evalkit", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "pillow")


@functools.cache
def git_commit(folder: Path) -> str | None:
    """The commit ``folder`` is at, with ``+changes`` where its tree is not clean.

    None outside a checkout, and where ``folder`` holds nothing that git tracks: a package installed in a
    virtual environment inside somebody's project is not at that project's commit.
    """
    git = ["git", "-C", str(folder)]
    try:
        tracked = subprocess.run(
            [*git, "ls-files", "."], capture_output=True, text=True, timeout=10, check=True
        )
        if not tracked.stdout.strip():
            return None
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can move a number."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def provenance(
    *, device: str, timings: Mapping[str, float], weights_file: str, argv: Sequence[str] | None = None
) -> dict[str, Any]:
    """The provenance of a record made now by this process.

    Args:
        device: Where the network ran, as a person would name it.
        timings: Seconds by part of the work.
        weights_file: File the weights were read from.
        argv: Command line; this process's own where not given.
    """
    package = Path(__file__).resolve().parent.parent
    return {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "evalkit_commit": git_commit(package),
        "working_folder_commit": git_commit(Path.cwd()),
        "device": device,
        "weights_file": weights_file,
        "seconds": {name: round(value, 3) for name, value in timings.items()},
        "argv": list(sys.argv if argv is None else argv),
    }
