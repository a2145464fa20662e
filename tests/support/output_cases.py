"""Golden cases whose arrays are ``in.*``, ``noise.*`` and ``out.*``, with one tolerance for all outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from golden_cases import FOLDER


class OutputCase:
    """One case. Every output must be compared, or named as one that is not to be."""

    def __init__(self, name: str) -> None:
        folder = FOLDER / name
        self.facts: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        arrays, weights = folder / "io.safetensors", folder / "weights.safetensors"
        self.arrays = load_file(arrays) if arrays.exists() else {}
        self.weights = load_file(weights) if weights.exists() else {}
        self._open = {key for key in self.arrays if key.startswith("out.")}

    @property
    def hyper(self) -> dict[str, Any]:
        return self.facts["hyper"]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """Weights below a prefix, without it."""
        return {n.removeprefix(prefix): a for n, a in self.weights.items() if n.startswith(prefix)}

    def numbered(self, prefix: str) -> list[torch.Tensor]:
        """The arrays ``PREFIX0``, ``PREFIX1`` … that there are, in order."""
        found = {
            int(n[len(prefix) :]): a
            for n, a in self.arrays.items()
            if re.fullmatch(rf"{re.escape(prefix)}\d+", n)
        }
        return [found[index] for index in sorted(found)]

    def tolerance(self, name: str) -> tuple[float, float]:
        """Relative and absolute tolerance of one output."""
        for pattern, facts in self.facts.get("tolerance_by_tensor", {}).items():
            if fnmatchcase(name, pattern):
                return facts["rtol"], facts["atol"]
        return self.facts["rtol"], self.facts["atol"]

    def check(
        self, name: str, got: torch.Tensor | np.ndarray, tolerance: tuple[float, float] | None = None
    ) -> None:
        """Holds one output, without its ``out.``, to a tolerance: the case's own where none is given."""
        name = f"out.{name}"
        want = self.arrays[name]
        value = got.detach().numpy() if isinstance(got, torch.Tensor) else np.asarray(got)
        assert value.shape == tuple(want.shape), f"{name}: shape {value.shape}, not {tuple(want.shape)}"
        rtol, atol = tolerance or self.tolerance(name)
        np.testing.assert_allclose(value, want.numpy(), rtol=rtol, atol=atol, err_msg=name)
        self._open.discard(name)

    def compare(
        self, pattern: str, compute: Callable[..., Any], tolerance: tuple[float, float] | None = None
    ) -> None:
        """Holds ``compute(*groups)`` against every output whose name after ``out.`` fits the pattern."""
        for name in sorted(self._open):
            if match := re.fullmatch(rf"out\.{pattern}", name):
                self.check(name.removeprefix("out."), compute(*match.groups()), tolerance)

    def finish(self) -> None:
        assert not self._open, f"outputs that no rule compares: {sorted(self._open)}"
