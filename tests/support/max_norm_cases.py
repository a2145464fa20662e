"""Golden cases whose tensors are compared by their largest difference (format ``sg-golden-1``)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from golden_cases import FOLDER, fitting


def facts_of(name: str) -> dict[str, Any]:
    """What a case says of itself."""
    return json.loads((FOLDER / name / "case.json").read_text(encoding="utf-8"))


def names_of(pattern: str, kind: str) -> list[str]:
    """Names of the cases below the golden folder that fit and are of a kind."""
    found = sorted(path.parent.name for path in FOLDER.glob("*/case.json"))
    return [name for name in found if fitting(name, (pattern,)) and facts_of(name).get("kind") == kind]


class MaxNormCase:
    """One case. Every output must be compared."""

    def __init__(self, name: str) -> None:
        self.folder: Path = FOLDER / name
        self.facts = facts_of(name)
        self.tensors = load_file(self.folder / "io.safetensors")
        weights = self.folder / "weights.safetensors"
        self.weights = load_file(weights) if weights.exists() else {}
        self._open = {key for key in self.tensors if key.startswith("out.")}

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """Weights below a prefix, without it."""
        return {n.removeprefix(prefix): t for n, t in self.weights.items() if n.startswith(prefix)}

    def tolerance(self, name: str) -> tuple[float, float]:
        for pattern, (atol, rtol) in self.facts.get("tol_overrides", {}).items():
            if fnmatchcase(name, pattern):
                return atol, rtol
        return self.facts["atol"], self.facts["rtol"]

    def check(self, name: str, got: torch.Tensor | float) -> None:
        """Holds one output to the case's own tolerance."""
        want = self.tensors[name].double()
        value = torch.as_tensor(got).detach().double()
        assert value.shape == want.shape, f"{name}: shape {tuple(value.shape)}, not {tuple(want.shape)}"
        atol, rtol = self.tolerance(name)
        off, allowed = float((value - want).abs().max()), atol + rtol * float(want.abs().max())
        assert off <= allowed, f"{name}: off by {off:.3e}, allowed are {allowed:.3e}"
        self._open.discard(name)

    def compare(self, pattern: str, compute: Callable[..., torch.Tensor | float]) -> int:
        """Holds ``compute(*groups)`` against every output that fits the pattern; returns how many did."""
        found = [
            (name, m) for name in sorted(self._open) if (m := re.fullmatch(f"out\\.(?:{pattern})", name))
        ]
        for name, match in found:
            self.check(name, compute(*match.groups()))
        return len(found)

    def finish(self) -> None:
        assert not self._open, f"outputs that no rule compares: {sorted(self._open)}"


@contextmanager
def recorded(network: torch.nn.Module) -> Iterator[dict[str, Any]]:
    """What every module of a network returned last, by its name."""
    found: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output))
        for name, module in network.named_modules()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def gradients(loss: torch.Tensor, network: torch.nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    """Gradients of a scalar by parameter; zero where the parameter has no influence."""
    names = dict(network.named_parameters())
    found = torch.autograd.grad(loss, list(names.values()), allow_unused=True)
    return {
        prefix + name: torch.zeros_like(names[name]) if value is None else value
        for name, value in zip(names, found, strict=True)
    }
