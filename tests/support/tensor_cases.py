"""Golden cases of networks that state a tolerance for every element of their outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from golden_cases import FOLDER, fitting


def names_of(*patterns: str) -> list[str]:
    """Names of the cases below the golden folder that fit."""
    found = sorted(path.parent.name for path in FOLDER.glob("*/case.json"))
    return [name for name in found if fitting(name, patterns)]


class TensorCase:
    """One case. Every output must be compared, or named as one that is not to be."""

    def __init__(self, name: str) -> None:
        folder: Path = FOLDER / name
        self.facts: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        self.arrays = load_file(folder / "io.safetensors")
        weights = folder / "weights.safetensors"
        self.weights = load_file(weights) if weights.exists() else {}
        self._open = {n for n, facts in self.facts["tensors"].items() if facts["kind"] == "output"}

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.facts["kwargs"]

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Weights below a prefix, without it."""
        return {n.removeprefix(prefix): a for n, a in self.weights.items() if n.startswith(prefix)}

    def outputs(self, pattern: str) -> list[tuple[str, tuple[str, ...]]]:
        """Outputs still open whose whole name fits, with the groups of the pattern."""
        found = []
        for name in sorted(self._open):
            if match := re.fullmatch(pattern, name):
                found.append((name, match.groups()))
        return found

    def check(self, name: str, got: torch.Tensor | np.ndarray) -> None:
        """Holds one output to the case's own tolerance."""
        facts = self.facts["tensors"][name]
        value = got.detach().numpy() if isinstance(got, torch.Tensor) else got
        assert list(value.shape) == facts["shape"], f"{name}: shape {value.shape}, not {facts['shape']}"
        np.testing.assert_allclose(
            value, self.arrays[name], rtol=facts["rtol"], atol=facts["atol"], err_msg=name
        )
        self._open.discard(name)

    def compare(self, pattern: str, compute: Callable[..., torch.Tensor | np.ndarray]) -> None:
        """Holds ``compute(*groups)`` against every output that fits the pattern."""
        for name, groups in self.outputs(pattern):
            self.check(name, compute(*groups))

    def check_most(
        self, pattern: str, arrays: Mapping[str, np.ndarray], *, share: float, slack: float
    ) -> int:
        """Holds outputs, named by the pattern's group, to their tolerances, but for a share of all entries.

        Args:
            pattern: Of whole names; its group is a key of ``arrays``.
            arrays: What was computed.
            share: How many of all entries may miss their tolerance.
            slack: By how much, at most.

        Returns:
            How many outputs there were.
        """
        entries, missed = 0, 0
        found = self.outputs(pattern)
        for name, (key,) in found:
            facts, want = self.facts["tensors"][name], self.arrays[name]
            assert arrays[key].shape == want.shape, f"{name}: shape {arrays[key].shape}, not {want.shape}"
            off = np.abs(arrays[key].astype(np.float64) - want) - facts["rtol"] * np.abs(want) - facts["atol"]
            assert off.max() <= slack, (
                f"{name}: misses its tolerance by {off.max():.3e}, allowed are {slack:.3e}"
            )
            entries, missed = entries + off.size, missed + int((off > 0).sum())
            self._open.discard(name)
        assert missed <= share * entries, f"{pattern}: {missed} of {entries} entries miss their tolerance"
        return len(found)

    def gradients(self, prefix: str, arrays: dict[str, np.ndarray]) -> None:
        """Holds gradients by official name against all outputs ``grad.<prefix><name>``."""
        for name, (tail,) in self.outputs(f"grad\\.{prefix}(.*)"):
            self.check(name, arrays[tail])

    def left(self) -> frozenset[str]:
        """Outputs that were not compared yet."""
        return frozenset(self._open)

    def reopen(self, names: frozenset[str]) -> None:
        """Takes back that these outputs were compared."""
        self._open |= names

    def finish(self) -> None:
        assert not self._open, f"outputs that no rule compares: {sorted(self._open)}"


def gradients_of(
    loss: torch.Tensor, network: torch.nn.Module, to_theirs: Callable[[dict[str, torch.Tensor]], Any]
) -> Any:
    """Gradients of a scalar with respect to all parameters, named and laid out by ``to_theirs``."""
    names = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(names.values()), allow_unused=True)
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    for name, value in zip(names, found, strict=True):
        if value is not None:  # a block without influence at this level of detail has none
            state[name] = value
    return to_theirs(state)
