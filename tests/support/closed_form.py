"""Generators whose pictures are formulas: what metrics of latents and of equivariance must say of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIDE = 48


class Waves:
    """Sines with latent frequencies, and a pattern that sticks to the columns of the picture."""

    z_dim = 6

    def __init__(self, sticking: float = 0.01, side: int = SIDE) -> None:
        self.sticking, self.side = sticking, side

    def __call__(self, z: Tensor, transform: Tensor | None = None) -> Tensor:
        place = (torch.arange(self.side) + 0.5) / self.side - 0.5
        y, x = torch.meshgrid(place, place, indexing="ij")
        m = torch.eye(3) if transform is None else transform
        u, v = m[0, 0] * x + m[0, 1] * y + m[0, 2], m[1, 0] * x + m[1, 1] * y + m[1, 2]
        f = 3 * torch.tanh(z)[:, :, None, None]
        waves = [torch.sin(2 * math.pi * (f[:, c] * u + f[:, 3 + c] * v) + c) for c in range(3)]
        return 0.7 * torch.stack(waves, dim=1) + self.sticking * torch.cos(0.9 * torch.arange(self.side))


def waves() -> Waves:
    """A factory, for ``--model``."""
    return Waves()
