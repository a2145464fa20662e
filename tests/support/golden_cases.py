"""Golden cases: where they lie, and which belong to parts of evalkit that are still to come."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("EVALKIT_GOLDEN") or Path(__file__).resolve().parents[3] / "shared" / "golden")

# Patterns of case names, and what they wait for.
LATER = {
    "ProGAN's own metrics (sliced Wasserstein distance, MS-SSIM)": ("metrics/progan_swd_msssim*",),
    "StyleGAN-XL, Projected GAN and Diffusion-GAN": ("sgxl_*", "pg_*", "dgan_*"),
}  # fmt: skip


class Golden:
    """One case's arrays. Every output must be compared, or named as one that is not to be."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self._arrays = {name: file[name] for name in file.files}
        self._open = {name for name in self._arrays if name.startswith("out__")}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def number(self, name: str) -> int:
        return int(self._arrays[name])

    def outputs(self, pattern: str) -> list[tuple[np.ndarray, tuple[str, ...]]]:
        """Outputs whose whole name fits, with the groups of the pattern; they count as compared."""
        found = []
        for name in sorted(self._open):
            if match := re.fullmatch(f"out__(?:{pattern})", name):
                self._open.discard(name)
                found.append((self._arrays[name], match.groups()))
        return found

    def compare(
        self, pattern: str, compute: Callable[..., Any], *, rtol: float = 0.0, atol: float = 0.0
    ) -> None:
        """Holds ``compute(*groups)`` against every output that fits the pattern."""
        for expected, groups in self.outputs(pattern):
            got = np.asarray(compute(*groups))
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol, err_msg=f"{pattern} {groups}")

    def informative(self, pattern: str, why: str) -> None:
        """Outputs that the set itself calls informative; ``why`` is for the reader."""
        assert why
        self.outputs(pattern)

    def finish(self) -> None:
        assert not self._open, f"outputs that no rule compares: {sorted(self._open)}"


def find_cases(folder: Path = FOLDER) -> dict[str, Path]:
    """All cases by name: ``metrics/<file>`` for the arrays of the metrics, else the folder's name."""
    if not folder.is_dir():
        return {}
    found = {f"metrics/{path.stem}": path for path in sorted((folder / "metrics").glob("*.npz"))}
    found.update({path.parent.name: path for path in sorted(folder.glob("*/case.json"))})
    return found


def fitting(name: str, patterns: Any) -> list[str]:
    """The patterns that fit a case's name."""
    return [pattern for pattern in patterns if fnmatchcase(name, pattern)]


def waits_for(name: str) -> str | None:
    """What a case waits for, or None where it is to be handled now."""
    for what, patterns in LATER.items():
        if fitting(name, patterns):
            return what
    return None
