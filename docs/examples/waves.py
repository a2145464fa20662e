"""A generator in closed form, measured for path length and equivariance through the public adapter.

``python docs/examples/waves.py`` prints what three of them give, and so does ``evalkit run --model
docs/examples/waves.py:Waves --metrics ppl_mini,equivariance --num 64`` of one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import evalkit


class Waves:
    """Sines whose frequencies are latents: they move with their input, but for what sticks to the columns."""

    z_dim = 6

    def __init__(self, sticking: float = 0.01) -> None:
        """Takes how strong the pattern is that does not move."""
        self.sticking = sticking

    def __call__(self, z: Tensor, transform: Tensor | None = None) -> Tensor:
        """Images ``(n, 3, 64, 64)`` in [-1, 1]; ``transform`` is the inverse transform of the picture."""
        place = (torch.arange(64) + 0.5) / 64 - 0.5
        y, x = torch.meshgrid(place, place, indexing="ij")
        m = torch.eye(3) if transform is None else transform
        u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        f = 3 * torch.tanh(z)[:, :, None, None]
        channels = [torch.sin(2 * math.pi * (f[:, c] * u + f[:, 3 + c] * v) + c) for c in range(3)]
        return 0.7 * torch.stack(channels, dim=1) + self.sticking * torch.cos(0.9 * torch.arange(64))


if __name__ == "__main__":
    for sticking in (0.001, 0.01, 0.1):
        model = evalkit.adapt(Waves(sticking), name=f"waves, {sticking:g} of them stick")
        records = evalkit.evaluate(model=model, metrics="ppl_mini,equivariance", num=64, output=None)
        print(model.name, {record.metric: f"{record.value:.2f}" for record in records})
