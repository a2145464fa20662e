"""What the benchmarks share: the machine's name, a Markdown table, and where results go."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("evalkit", "torch", "torchvision", "numpy", "scipy", "pillow", "torch-fidelity", "clean-fid")


def machine() -> str:
    """Processor, cores and the versions that decide speed."""
    import numpy
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{name}, {os.cpu_count()} cores{gpu}; torch {torch.__version__}, numpy {numpy.__version__}"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def save(folder: Path, name: str, text: str, rows: object) -> None:
    """Prints ``text`` and files it as Markdown, with the rows and how they came about as JSON beside it."""
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    body = {
        "machine": machine(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "rows": rows,
    }
    (folder / f"{name}.json").write_text(json.dumps(body, indent=1) + "\n")
